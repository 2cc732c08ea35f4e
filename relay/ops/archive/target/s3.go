package target

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// bucket is a target in S3, or in a store that speaks its protocol. There a file appears when
// its upload is completed, and the bytes of each request are checked against the digests that it
// is signed with.
type bucket struct {
	Spec
	client    *minio.Core
	transport *http.Transport
	parts     sync.Pool // of *[]byte, each a part
	readOnly  bool
	abandoned time.Duration
	log       *slog.Logger
}

const (
	// minPart is the smallest part of S3 that is not the last, and maxParts how many a file has.
	minPart  = 5 << 20
	maxParts = 10_000
	// s3Tries is how often a request is made, with about two seconds between the first and the
	// last. Longer outages are for the caller.
	s3Tries = 5
	// credentialsTimeout bounds the question for the credentials of the machine's role.
	credentialsTimeout = 10 * time.Second
)

func openS3(ctx context.Context, s Spec, o Options) (*bucket, error) {
	env := environ(o.Environ)
	endpoint, secure, err := env.endpoint()
	if err != nil {
		return nil, err
	}
	transport, err := env.transport(secure)
	if err != nil {
		return nil, err
	}
	b := &bucket{Spec: s, transport: transport, readOnly: o.ReadOnly, abandoned: o.Abandoned, log: o.Log}
	if b.abandoned == 0 {
		b.abandoned = 24 * time.Hour
	}
	size := max(minPart, (o.LargestFile+maxParts-1)/maxParts)
	b.parts.New = func() any { p := make([]byte, size); return &p }
	creds, err := env.credentials(ctx, transport)
	if err != nil {
		return nil, err
	}
	b.client, err = minio.NewCore(endpoint, &minio.Options{
		Creds: creds, Secure: secure, Region: env.first("AWS_REGION", "AWS_DEFAULT_REGION"), Transport: transport, MaxRetries: s3Tries,
	})
	if err != nil {
		return nil, fmt.Errorf("AWS_ENDPOINT_URL_S3 names no S3 store: %w", err)
	}
	if !o.ReadOnly {
		err = b.check(ctx)
	}
	if err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

// check finds out whether the bucket can be used, by a request whose errors say why not. It is
// no error if this user may not list it: what counts is s3:PutObject.
func (b *bucket) check(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the list
	for o := range b.client.ListObjectsIter(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.object(""), MaxKeys: 1}) {
		if minio.ToErrorResponse(o.Err).Code == minio.AccessDenied {
			return nil
		}
		return b.explain(ctx, "open", "s3:ListBucket", o.Err)
	}
	return nil
}

func (b *bucket) Location(key string) string { return b.location(key) }

func (b *bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

// object is the name of a key in the bucket.
func (b *bucket) object(key string) string {
	if b.prefix == "" {
		return key
	}
	return b.prefix + "/" + key
}

// The names of an object's metadata: the digest of the address it came from, and its own, which
// a file of several parts has not, since it is not known when an upload begins.
const (
	s3Source = "Source-Sha256"
	s3Digest = "Sha256"
)

func (b *bucket) Stat(ctx context.Context, key string) (Object, error) {
	info, err := b.client.StatObject(ctx, b.bucket, b.object(key), minio.StatObjectOptions{})
	if err != nil {
		return Object{}, b.explain(ctx, "look for", "s3:GetObject", err)
	}
	object := Object{Bytes: info.Size, SHA256: metadata(info, s3Digest)}
	if object.SHA256 == "" {
		if object, err = b.read(ctx, key); err != nil {
			return Object{}, b.explain(ctx, "read", "s3:GetObject", err)
		}
	}
	object.MediaType, object.IsFrom = info.ContentType, isFrom(metadata(info, s3Source))
	return object, nil
}

func (b *bucket) read(ctx context.Context, key string) (Object, error) {
	body, _, _, err := b.client.GetObject(ctx, b.bucket, b.object(key), minio.GetObjectOptions{})
	if err != nil {
		return Object{}, err
	}
	defer body.Close()
	return readAll(ctx, body)
}

// metadata finds a name however the store writes it.
func metadata(info minio.ObjectInfo, name string) string {
	for k, v := range info.UserMetadata {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// Get returns an io.ReadSeekCloser, which asks the store for no more than is read.
func (b *bucket) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	object, err := b.client.Client.GetObject(ctx, b.bucket, b.object(key), minio.GetObjectOptions{})
	if err == nil {
		_, err = object.Stat() // it asks at its first use only
	}
	if err != nil {
		return nil, b.explain(ctx, "read", "s3:GetObject", err)
	}
	return object, nil
}

// environ looks AWS_ variables up.
type environ []string

// first returns the first of some variables that is set, and not to nothing.
func (e environ) first(names ...string) string {
	for _, name := range names {
		for _, entry := range e {
			if n, value, ok := strings.Cut(entry, "="); ok && n == name && value != "" {
				return value
			}
		}
	}
	return ""
}

func (e environ) endpoint() (host string, secure bool, err error) {
	text := e.first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
	if text == "" {
		return "s3.amazonaws.com", true, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", false, errors.New("AWS_ENDPOINT_URL_S3 is no origin; write https://HOST or https://HOST:PORT, without a path and a user")
	}
	return u.Host, u.Scheme == "https", nil
}

func (e environ) transport(secure bool) (*http.Transport, error) {
	t, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, fmt.Errorf("connections to S3 cannot be made: %w", err)
	}
	file := e.first("AWS_CA_BUNDLE")
	if file == "" || !secure {
		return t, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("AWS_CA_BUNDLE cannot be read: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("AWS_CA_BUNDLE=%q has no certificate in PEM form", file)
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	return t, nil
}

// credentials are those of the variables, or of a file, or of the machine's role. It is an
// error if there are none, since requests without would be refused one by one.
func (e environ) credentials(ctx context.Context, t *http.Transport) (*credentials.Credentials, error) {
	id, secret := e.first("AWS_ACCESS_KEY_ID"), e.first("AWS_SECRET_ACCESS_KEY")
	if (id == "") != (secret == "") {
		return nil, errors.New("one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set, and the other is not: set both, or none")
	}
	if id != "" {
		return credentials.NewStaticV4(id, secret, e.first("AWS_SESSION_TOKEN")), nil
	}
	creds := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.FileAWSCredentials{Filename: e.first("AWS_SHARED_CREDENTIALS_FILE"), Profile: e.first("AWS_PROFILE")},
		&credentials.IAM{Client: &http.Client{Transport: t}},
	})
	ctx, cancel := context.WithTimeout(ctx, credentialsTimeout)
	defer cancel()
	value, err := creds.GetWithContext(&credentials.CredContext{Client: &http.Client{Transport: t}, Context: ctx})
	if err != nil || value.AccessKeyID == "" {
		return nil, errors.New("there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE for those in a file, or give this machine a role")
	}
	return creds, nil
}
