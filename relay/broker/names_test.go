package broker

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/internal/disk"
)

// namesBench is a store as nats-server lays it out, on a disk that forgets.
type namesBench struct {
	*testing.T
	disk  *disk.Mounted
	names *names
	store string
	msgs  string // the folder of the stream APIXO
}

func newNamesBench(t *testing.T) *namesBench {
	t.Helper()
	folder := t.TempDir()
	d, err := disk.New(1 << 20).Mount(folder)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	b := &namesBench{T: t, disk: d}
	b.must(err)
	t.Cleanup(func() { b.must(d.Close()) })
	b.store = filepath.Join(folder, "var", "data")
	b.must(makeFolder(b.store))
	b.names = newNames(b.store)
	b.msgs = filepath.Join(b.store, "jetstream", "$G", "streams", "APIXO", "msgs")
	b.must(os.MkdirAll(b.msgs, 0o700))
	return b
}

func (b *namesBench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// begin makes a file as nats-server does, and keeps its contents only.
func (b *namesBench) begin(name string) {
	b.Helper()
	f, err := os.Create(filepath.Join(b.msgs, name))
	b.must(err)
	b.must(f.Sync())
	b.must(f.Close())
}

func (b *namesBench) keep() {
	b.Helper()
	b.must(b.names.keep("APIXO"))
}

// has takes the power away and looks at what is there.
func (b *namesBench) has(names ...string) {
	b.Helper()
	_, err := b.disk.PowerLoss(nil)
	b.must(err)
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(b.msgs, name)); err != nil {
			b.Error(err)
		}
	}
}

func TestNamesAreKept(t *testing.T) {
	t.Parallel()
	b := newNamesBench(t)
	for _, name := range []string{"1.blk", "2.blk", "3.blk"} {
		b.begin(name)
		b.keep()
		b.has("1.blk", name)
	}
}

// A folder that was changed within the same second twice can tell the same time of
// change.
func TestNamesOfTheSameSecondAreKept(t *testing.T) {
	t.Parallel()
	b := newNamesBench(t)
	second := time.Now().Truncate(time.Second).Add(time.Second)
	for _, name := range []string{"1.blk", "2.blk"} {
		b.begin(name)
		b.must(os.Chtimes(b.msgs, second, second))
		b.keep()
	}
	b.has("1.blk", "2.blk")
}

// A purge gives a stream another folder under the old name.
func TestNamesOfAReplacedFolderAreKept(t *testing.T) {
	t.Parallel()
	b := newNamesBench(t)
	b.begin("1.blk")
	b.keep()
	past := time.Now().Add(-time.Hour) // its time of change is believed
	b.must(os.Chtimes(b.msgs, past, past))
	b.keep()
	old, msgs := b.msgs+".old", b.msgs
	b.msgs += ".new"
	b.must(os.Mkdir(b.msgs, 0o700))
	b.begin("2.blk")
	b.must(os.Chtimes(b.msgs, past, past)) // and is the same here
	b.must(os.Rename(msgs, old))
	b.must(os.Rename(b.msgs, msgs))
	b.msgs = msgs
	b.keep()
	b.has("2.blk")
}

func TestNamesOfNoStream(t *testing.T) {
	t.Parallel()
	b := newNamesBench(t)
	b.must(b.names.keep("IN_MEMORY"))
}

// Whoever removes the files of a running server does not stop it from writing to
// them.
func TestNamesThatWereRemoved(t *testing.T) {
	t.Parallel()
	b := newNamesBench(t)
	b.begin("1.blk")
	b.keep()
	b.must(os.RemoveAll(b.msgs))
	if err := b.names.keep("APIXO"); !errors.Is(err, errGone) {
		t.Errorf("keep says %v", err)
	}
	b.must(os.Mkdir(b.msgs, 0o700)) // as when the stream is made anew
	b.begin("1.blk")
	b.keep()
	b.must(b.names.health())
	b.has("1.blk")
}

// After an fsync that failed the next one would succeed, and keep nothing of what
// the failed one was for.
func TestNamesThatWereNotKept(t *testing.T) {
	t.Parallel()
	b := newNamesBench(t)
	b.begin("1.blk")
	b.disk.FailSyncs(syscall.EIO, 1)
	for range 2 {
		if err := b.names.keep("APIXO"); !errors.Is(err, syscall.EIO) {
			t.Errorf("keep says %v", err)
		}
	}
	if err := b.names.health(); !errors.Is(err, syscall.EIO) {
		t.Errorf("health says %v", err)
	}
}

func BenchmarkNames(b *testing.B) {
	store := b.TempDir()
	if err := os.MkdirAll(filepath.Join(store, "jetstream", "$G", "streams", "APIXO", "msgs"), 0o700); err != nil {
		b.Fatal(err)
	}
	n := newNames(store)
	for _, f := range n.newStream("APIXO").folders {
		past := time.Now().Add(-time.Hour) // as it is when no file is begun
		if err := os.Chtimes(f.path, past, past); err != nil {
			b.Fatal(err)
		}
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := n.keep("APIXO"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
