package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target/targettest"
)

// part is how much of a file S3 gets with one request.
const part = 5 << 20

// uploads counts those that have not ended.
func uploads(ctx context.Context, t *testing.T, s *s3Server, bucket string) (n int) {
	t.Helper()
	for u := range s.ListIncompleteUploads(ctx, bucket, "", true) {
		if u.Err != nil {
			t.Fatal(u.Err)
		}
		n++
	}
	return n
}

func TestS3Target(t *testing.T) {
	t.Parallel()
	targettest.Run(t, func(t *testing.T) targettest.Stand {
		s := startS3(t)
		s.MakeBucket(t.Context(), t, "files")
		return targettest.Stand{
			Name: "s3://files/of/apixo", Options: target.Options{Environ: s.Environ()}, Part: part,
			Leftovers: func(t *testing.T) int { return uploads(t.Context(), t, s, "files") }, Mixes: true,
		}
	})
}

// openS3 opens a target in a bucket with versions.
func openS3(t *testing.T, s *s3Server, environ ...string) (target.Target, error) {
	t.Helper()
	spec, err := target.Parse("s3://files/p")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := spec.Open(limited(t), target.Options{Environ: append(environ, s.Environ()...)})
	if err == nil {
		t.Cleanup(func() { _ = opened.Close() })
	}
	return opened, err
}

func putS3(ctx context.Context, at target.Target, key string, p []byte) error {
	_, err := at.Put(ctx, key, bytes.NewReader(p), target.Meta{Source: "https://h/x?signature=s", MediaType: "image/png"})
	return err
}

// The same file is stored once, in one part or in several, and what a program has begun that was
// killed is gone when the file is stored.
func TestS3StoresTheSameOnce(t *testing.T) {
	t.Parallel()
	ctx, s := limited(t), startS3(t)
	s.MakeBucket(ctx, t, "files")
	at, err := openS3(t, s)
	if err != nil {
		t.Fatal(err)
	}
	for key, size := range map[string]int{"task/01-small": 1000, "task/02-large": 2*part + 1} {
		p := bytes.Repeat([]byte{1}, size)
		core := minio.Core{Client: s.Client}
		if _, err := core.NewMultipartUpload(ctx, "files", "p/task/02-large", minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := putS3(ctx, at, key, p); err != nil {
				t.Fatal(err)
			}
		}
		var versions int
		for o := range s.ListObjectsIter(ctx, "files", minio.ListObjectsOptions{Prefix: "p/" + key, Recursive: true, WithVersions: true}) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			versions++
		}
		if versions != 1 {
			t.Errorf("%s is stored %d times", key, versions)
		}
		info, err := s.StatObject(ctx, "files", "p/"+key, minio.StatObjectOptions{})
		if err != nil || info.ContentType != "image/png" || strings.Contains(fmt.Sprint(info), "signature") {
			t.Errorf("%s is %+v, %v", key, info, err)
		}
	}
	if err := putS3(ctx, at, "task/02-large", make([]byte, 2*part+1)); err != nil {
		t.Fatal(err)
	}
	if n := uploads(ctx, t, s, "files"); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
}

// A part of a file is read without what is before it.
func TestS3IsReadFromAnywhere(t *testing.T) {
	t.Parallel()
	ctx, s := limited(t), startS3(t)
	s.MakeBucket(ctx, t, "files")
	at, err := openS3(t, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := putS3(ctx, at, "task/01-x", []byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	body, err := at.Get(ctx, "task/01-x")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	seeker, ok := body.(io.ReadSeeker)
	if !ok {
		t.Fatal("what is stored cannot be read from anywhere")
	}
	if _, err := seeker.Seek(-3, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if p, err := io.ReadAll(body); err != nil || string(p) != "789" {
		t.Errorf("the end is %q, %v", p, err)
	}
}

// What is wrong is said in words, with what to do, and without secrets.
func TestS3SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	ctx, s := limited(t), startS3(t)
	_, err := openS3(t, s)
	expectWords(t, err, "make the bucket files")
	s.MakeBucket(ctx, t, "files")
	_, err = openS3(t, s, "AWS_SECRET_ACCESS_KEY=wrong-secret")
	expectWords(t, err, "AWS_SECRET_ACCESS_KEY is not that of")
	_, err = openS3(t, s, "AWS_ACCESS_KEY_ID=unknown")
	expectWords(t, err, "does not know AWS_ACCESS_KEY_ID")
	_, err = openS3(t, s, "AWS_ENDPOINT_URL_S3=https://"+strings.TrimPrefix(s.Endpoint, "http://"))
	expectWords(t, err, "HTTP response to HTTPS client")
	_, err = openS3(t, s, "AWS_ENDPOINT_URL_S3="+s.Endpoint+"/path")
	expectWords(t, err, "without a path")
	at, err := openS3(t, s)
	if err != nil {
		t.Fatal(err)
	}
	s.Kill()
	expectWords(t, putS3(ctx, at, "task/01-x", nil), "is AWS_ENDPOINT_URL_S3 right")
	_, err = at.Stat(ctx, "task/01-x")
	expectWords(t, err, "is AWS_ENDPOINT_URL_S3 right")
	s.Restart(t)
	if err := putS3(ctx, at, "task/01-x", nil); err != nil {
		t.Errorf("the store is back, and the target is not: %v", err)
	}
}

func expectWords(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || errors.Is(err, target.ErrNotFound) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, and not: %s", err, want)
	}
	if err != nil && (strings.Contains(err.Error(), s3SecretKey) || strings.Contains(err.Error(), "wrong-secret")) {
		t.Errorf("a secret is shown: %v", err)
	}
}

// Credentials come from a file, too, and half of them are none.
func TestS3Credentials(t *testing.T) {
	t.Parallel()
	ctx, s := limited(t), startS3(t)
	s.MakeBucket(ctx, t, "files")
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[archive]\naws_access_key_id="+s3AccessKey+"\naws_secret_access_key="+s3SecretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec, err := target.Parse("s3://files")
	if err != nil {
		t.Fatal(err)
	}
	environ := []string{"AWS_ENDPOINT_URL=" + s.Endpoint, "AWS_SHARED_CREDENTIALS_FILE=" + file, "AWS_PROFILE=archive", "AWS_ACCESS_KEY_ID=", "AWS_REGION="}
	at, err := spec.Open(ctx, target.Options{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	if err := putS3(ctx, at, "task/01-x", nil); err != nil {
		t.Error(err)
	}
	_, err = spec.Open(ctx, target.Options{Environ: append(environ, "AWS_SECRET_ACCESS_KEY=s")})
	if err == nil {
		t.Error("half of the credentials are taken")
	}
}
