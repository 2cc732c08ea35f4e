package target

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// objectStore is a target in JetStream, in the format of its object stores (ADR-20), which every
// client of NATS reads.
//
// What Put has stored is in the stream: the chunks of a file, and then what makes them an object.
// A crash of this program or of the broker loses none of it. What a loss of power takes depends on
// the broker, as it does for events. The embedded one with RELAY_EMBEDDED_SYNC=always, which is the
// default, fsyncs each message of an object store before it acknowledges it, so that no webhook
// waits for more than its share of the disk. The names of new files it leaves to the file system
// (ext4, XFS and Btrfs keep them with the contents); those of the event stream it does not. With
// "interval", and by a nats-server without sync_interval: always, up to two minutes can be lost,
// unless several replicas keep the stream. Where that is not enough, s3: and file: are the targets.
//
// The package writes that format by itself: jetstream.ObjectStore.Put sends up to 4,000 chunks
// ahead, which is half a gigabyte of a broker's memory, out of one buffer that it has written the
// next chunk into when it must send one again (nats.go 1.55.0).
type objectStore struct {
	Spec
	js        jetstream.JetStream
	stream    jetstream.Stream
	chunk     int
	readOnly  bool
	abandoned time.Duration
	log       *slog.Logger
}

// maxChunk is how much of a file is in one message. Each costs an fsync and an answer.
const maxChunk = 512 << 10

// headroom is what a message can have besides its chunk.
const headroom = 8 << 10

func openObjectStore(ctx context.Context, s Spec, o Options) (*objectStore, error) {
	if o.JetStream == nil {
		return nil, fmt.Errorf("%s needs a connection to the broker", s)
	}
	t := &objectStore{Spec: s, js: o.JetStream, chunk: maxChunk, readOnly: o.ReadOnly, abandoned: o.Abandoned, log: o.Log}
	if t.abandoned == 0 {
		t.abandoned = time.Hour
	}
	if limit := int(o.JetStream.Conn().MaxPayload()) - headroom; limit < t.chunk {
		t.chunk = max(limit, 1)
	}
	ctx, cancel := request(ctx)
	defer cancel()
	stream, err := t.js.Stream(ctx, t.streamName())
	if errors.Is(err, jetstream.ErrStreamNotFound) && !o.ReadOnly {
		stream, err = t.create(ctx, o)
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("there is no object store %s: compare its name with 'nats object ls'", s.bucket)
	}
	if err != nil {
		return nil, t.explain(ctx, "open", "the object store", err)
	}
	t.stream = stream
	return t, nil
}

func (t *objectStore) create(ctx context.Context, o Options) (jetstream.Stream, error) {
	_, err := t.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
		Bucket: t.bucket, Description: "Files of APIXO's results, stored by apixo-relay archive",
		TTL: o.MaxAge, MaxBytes: o.MaxBytes, Replicas: o.Replicas, Storage: jetstream.FileStorage,
	})
	switch {
	case err == nil:
		t.log.Info("made the object store", "bucket", t.bucket, "max_age", o.MaxAge, "max_bytes", o.MaxBytes, "replicas", max(o.Replicas, 1))
	case !errors.Is(err, jetstream.ErrBucketExists): // another instance was faster
		return nil, err
	}
	return t.js.Stream(ctx, t.streamName())
}

// requestTimeout is how long the broker may take for one answer. It can have to fsync a chunk.
const requestTimeout = 15 * time.Second

func request(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, requestTimeout)
}

func (t *objectStore) streamName() string { return "OBJ_" + t.bucket }

func (t *objectStore) chunks(nuid string) string { return "$O." + t.bucket + ".C." + nuid }

func (t *objectStore) metas() string { return "$O." + t.bucket + ".M.>" }

func (t *objectStore) meta(key string) string {
	return "$O." + t.bucket + ".M." + base64.URLEncoding.EncodeToString([]byte(key))
}

func (t *objectStore) Location(key string) string { return t.location(key) }

// Close leaves the connection to its owner.
func (t *objectStore) Close() error { return nil }

// stored is an object with the sequence of the message that makes it one, 0 where there was
// never any.
type stored struct {
	jetstream.ObjectInfo
	sequence uint64
}

// sourceKey is the name in an object's metadata under which the digest of its address is, and
// mediaTypeKey that of the media type.
const (
	sourceKey    = "source-sha256"
	mediaTypeKey = "media-type"
)

// info returns what is stored at a key. Deleted is set where there is nothing, or nothing of
// this package's kind.
func (t *objectStore) info(ctx context.Context, key string) (s stored, err error) {
	ctx, cancel := request(ctx)
	defer cancel()
	m, err := t.stream.GetLastMsgForSubject(ctx, t.meta(key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		s.Deleted = true
		return s, nil
	}
	if err != nil {
		return s, t.explain(ctx, "read", t.location(key), err)
	}
	s.sequence = m.Sequence
	if err := json.Unmarshal(m.Data, &s.ObjectInfo); err != nil || s.digest() == "" {
		s.Deleted = true // such as a link
	}
	return s, nil
}

// digest returns the SHA-256 in hexadecimal digits, or nothing.
func (s stored) digest() string {
	text, ok := strings.CutPrefix(s.Digest, "SHA-256=")
	sum, err := base64.URLEncoding.DecodeString(text)
	if !ok || err != nil {
		return ""
	}
	return hex.EncodeToString(sum)
}

// whole reports whether all chunks of an object are there. An age limit takes them away one after
// the other, and a loss of power can have.
func (t *objectStore) whole(ctx context.Context, s stored) (bool, error) {
	if s.Chunks == 0 {
		return true, nil
	}
	ctx, cancel := request(ctx)
	defer cancel()
	subject := t.chunks(s.NUID)
	info, err := t.stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return false, t.explain(ctx, "read", t.location(s.Name), err)
	}
	return info.State.Subjects[subject] == uint64(s.Chunks), nil
}

func (t *objectStore) Stat(ctx context.Context, key string) (Object, error) {
	s, err := t.info(ctx, key)
	if err != nil {
		return Object{}, err
	}
	whole := false
	if !s.Deleted {
		if whole, err = t.whole(ctx, s); err != nil {
			return Object{}, err
		}
	}
	if !whole {
		return Object{}, fmt.Errorf("%s: %w", t.location(key), ErrNotFound)
	}
	return Object{Bytes: int64(s.Size), SHA256: s.digest(), MediaType: s.Metadata[mediaTypeKey], IsFrom: isFrom(s.Metadata[sourceKey])}, nil
}

// codes of the broker's errors that jetstream has no names for.
const (
	codeInsufficient  = 10023
	codeAccountFull   = 10002
	codeStoreFailed   = 10077 // the store has no room, by the limit of the stream or of the disk
	codeNoPermissions = "permissions violation"
)

// explain says what an error of the broker means for the archive.
func (t *objectStore) explain(ctx context.Context, what, where string, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	hint := ""
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == codeStoreFailed:
		hint = fmt.Sprintf("; the object store is full: see 'nats object info %[1]s', delete files, or raise its limit with 'nats stream edit %[2]s --max-bytes'", t.bucket, t.streamName())
	case errors.As(err, &api) && (api.ErrorCode == codeInsufficient || api.ErrorCode == codeAccountFull):
		hint = "; the broker has no room for JetStream: make room on its disk, or raise max_file_store or the account's limit"
	case errors.Is(err, jetstream.ErrStreamNotFound):
		hint = "; the object store is gone: start the archive again to have it made"
	case strings.Contains(strings.ToLower(err.Error()), codeNoPermissions):
		hint = "; let the broker's user do that (see the permissions of the user archive in deploy)"
	case errors.Is(err, context.DeadlineExceeded):
		hint = "; the broker does not answer: is it there, and may this user use the object store?"
	}
	return fmt.Errorf("the archive cannot %s %s: %w%s", what, where, err, hint)
}
