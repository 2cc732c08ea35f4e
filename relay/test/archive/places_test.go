package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// place is where an archive is told to store, and what is there is looked up by other software
// than the archive's.
type place interface {
	// To is its name for --to, Environ what programs need besides.
	To() string
	Environ() []string
	// Read returns the SHA-256 of each file by its key, and what else is there: parts of
	// files, or files more than once.
	Read(ctx context.Context, t testing.TB) (files map[string]string, leftovers []string)
	// Stored is how often each key was stored since Watch, where those are of these tasks,
	// whose ids begin with a letter.
	Watch(t testing.TB, tasks ...string)
	Stored(ctx context.Context, t testing.TB) map[string]int
}

// places are all that --to can name, by their names; each is empty.
func places(broker func(t testing.TB) string) map[string]func(t testing.TB) place {
	return map[string]func(t testing.TB) place{
		"file": func(t testing.TB) place { return &folder{dir: filepath.Join(t.TempDir(), "files")} },
		"nats": func(t testing.TB) place { return newObjectStore(t, broker(t)) },
		"s3":   func(t testing.TB) place { return newBucket(t) },
	}
}

func digest(r io.Reader) (string, error) {
	hash := sha256.New()
	_, err := io.Copy(hash, r)
	return hex.EncodeToString(hash.Sum(nil)), err
}

// folder is one on a disk.
type folder struct {
	dir     string
	renames *renames
}

func (f *folder) To() string        { return "file://" + f.dir }
func (f *folder) Environ() []string { return nil }

func (f *folder) Read(_ context.Context, t testing.TB) (files map[string]string, leftovers []string) {
	t.Helper()
	files = make(map[string]string)
	root := os.DirFS(f.dir)
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == watched {
			return err
		}
		if strings.HasPrefix(entry.Name(), ".") || !entry.Type().IsRegular() {
			leftovers = append(leftovers, path)
			return nil
		}
		file, err := root.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		files[path], err = digest(file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, leftovers
}

func (f *folder) Watch(t testing.TB, tasks ...string) { f.renames = watchRenames(t, f.dir, tasks) }

func (f *folder) Stored(context.Context, testing.TB) map[string]int { return f.renames.Counts() }

// objectStore is one in the broker. It is made by the archive.
type objectStore struct {
	bucket string
	js     jetstream.JetStream

	mu     sync.Mutex
	stored map[string][]time.Time
}

// unanswered is how long before its end a broker may not have answered what it was sent: that may
// be stored, or not, and then nobody is wrong to store it anew.
const unanswered = 5 * time.Second

func newObjectStore(t testing.TB, broker string) *objectStore {
	o := &objectStore{bucket: "files", stored: make(map[string][]time.Time)}
	o.js = natstest.JetStream(t, broker, nats.MaxReconnects(-1), nats.DisconnectErrHandler(func(*nats.Conn, error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		for key, times := range o.stored {
			o.stored[key] = slices.DeleteFunc(times, func(at time.Time) bool { return time.Since(at) < unanswered })
		}
	}))
	return o
}

func (o *objectStore) To() string        { return "nats:" + o.bucket }
func (o *objectStore) Environ() []string { return nil }

func (o *objectStore) Read(ctx context.Context, t testing.TB) (files map[string]string, leftovers []string) {
	t.Helper()
	files = make(map[string]string)
	store, err := o.js.ObjectStore(ctx, o.bucket)
	if err != nil {
		t.Fatal(err)
	}
	infos, err := store.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	for _, info := range infos {
		used["$O."+o.bucket+".C."+info.NUID] = true
		object, err := store.Get(ctx, info.Name)
		if err != nil {
			t.Fatal(err)
		}
		files[info.Name], err = digest(object)
		_ = object.Close()
		if err != nil {
			t.Errorf("the object %s cannot be read: %v", info.Name, err)
		}
	}
	stream, err := o.js.Stream(ctx, "OBJ_"+o.bucket)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter("$O."+o.bucket+".C.>"))
	if err != nil {
		t.Fatal(err)
	}
	for subject := range info.State.Subjects {
		if !used[subject] {
			leftovers = append(leftovers, subject)
		}
	}
	return files, leftovers
}

// Watch listens to what makes chunks an object, which each client publishes.
func (o *objectStore) Watch(t testing.TB, _ ...string) {
	t.Helper()
	subscription, err := o.js.Conn().Subscribe("$O."+o.bucket+".M.>", func(m *nats.Msg) {
		var info jetstream.ObjectInfo
		if json.Unmarshal(m.Data, &info) != nil {
			return
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.stored[info.Name] = append(o.stored[info.Name], time.Now())
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = subscription.Unsubscribe() })
}

func (o *objectStore) Stored(ctx context.Context, t testing.TB) map[string]int {
	t.Helper()
	if err := o.js.Conn().FlushWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	counts := make(map[string]int)
	for key, times := range o.stored {
		counts[key] = max(1, len(times))
	}
	return counts
}

// bucket is one in S3, in which the archive uses a prefix.
type bucket struct {
	*s3Server
	name string
}

func newBucket(t testing.TB) *bucket {
	t.Helper()
	b := &bucket{s3Server: startS3(t), name: "results"}
	b.MakeBucket(t.Context(), t, b.name)
	return b
}

const s3Prefix = "of/apixo"

func (b *bucket) To() string { return "s3://" + b.name + "/" + s3Prefix }

func (b *bucket) Read(ctx context.Context, t testing.TB) (files map[string]string, leftovers []string) {
	t.Helper()
	files = make(map[string]string)
	for o := range b.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		key, ok := strings.CutPrefix(o.Key, s3Prefix+"/")
		if !ok || !o.IsLatest {
			leftovers = append(leftovers, o.Key+" in version "+o.VersionID)
			continue
		}
		object, err := b.GetObject(ctx, b.name, o.Key, minio.GetObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		files[key], err = digest(object)
		_ = object.Close()
		if err != nil {
			t.Errorf("the object %s cannot be read: %v", o.Key, err)
		}
	}
	for u := range b.ListIncompleteUploads(ctx, b.name, "", true) {
		if u.Err != nil {
			t.Fatal(u.Err)
		}
		leftovers = append(leftovers, "an upload of "+u.Key)
	}
	return files, leftovers
}

func (b *bucket) Watch(testing.TB, ...string) {} // each version is kept

func (b *bucket) Stored(ctx context.Context, t testing.TB) map[string]int {
	t.Helper()
	stored, seen := make(map[string]int), make(map[string]bool)
	for o := range b.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		if !seen[o.VersionID] { // versitygw 1.8.0 lists the first of a thousand a second time
			stored[strings.TrimPrefix(o.Key, s3Prefix+"/")]++
		}
		seen[o.VersionID] = true
	}
	return stored
}
