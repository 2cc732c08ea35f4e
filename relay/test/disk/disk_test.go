package disk

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// bench is a mounted disk, used as programs use it.
type bench struct {
	*testing.T
	*Mounted
}

func newBench(t *testing.T) *bench {
	t.Helper()
	m, err := New(1 << 20).Mount(t.TempDir())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return &bench{t, m}
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) path(name string) string { return filepath.Join(b.folder, name) }

// write writes at the end of a file, which it makes, and fsyncs it or not.
func (b *bench) write(name, text string, sync bool) {
	b.Helper()
	f, err := os.OpenFile(b.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	b.must(err)
	_, err = io.WriteString(f, text)
	b.must(err)
	if sync {
		b.must(f.Sync())
	}
	b.must(f.Close())
}

func (b *bench) sync(folder string) {
	b.Helper()
	f, err := os.Open(b.path(folder))
	b.must(err)
	b.must(f.Sync())
	b.must(f.Close())
}

func (b *bench) has(name, want string) {
	b.Helper()
	text, err := os.ReadFile(b.path(name))
	b.must(err)
	if string(text) != want {
		b.Errorf("%s has %.40q, want %.40q", name, text, want)
	}
}

func (b *bench) hasNot(name string) {
	b.Helper()
	if _, err := os.Stat(b.path(name)); !errors.Is(err, os.ErrNotExist) {
		b.Errorf("%s is there: %v", name, err)
	}
}

func (b *bench) losePower() Loss {
	b.Helper()
	l, err := b.PowerLoss(nil)
	b.must(err)
	return l
}

func TestDataIsKeptByFsync(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("a", "kept", true)
	b.sync(".")
	b.write("a", " lost", false)
	b.has("a", "kept lost")
	if l := b.losePower(); l.Bytes != len(" lost") {
		t.Errorf("the loss is %+v", l)
	}
	b.has("a", "kept")
	b.must(os.Truncate(b.path("a"), 1))
	b.losePower()
	b.has("a", "kept")
}

func TestSynchronousWrites(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	f, err := os.OpenFile(b.path("a"), os.O_CREATE|os.O_WRONLY|os.O_SYNC, 0o600)
	b.must(err)
	_, err = io.WriteString(f, "kept")
	b.must(err)
	b.must(f.Close())
	b.sync(".")
	b.losePower()
	b.has("a", "kept")
}

func TestNamesAreKeptByTheirFolder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(os.MkdirAll(b.path("x/y"), 0o700))
	b.sync("x")
	b.sync(".")
	b.write("x/y/a", "nameless", true)
	b.losePower()
	b.hasNot("x/y/a")

	b.write("x/y/a", "first", true)
	b.sync("x/y")
	b.write("x/y/b", "second", true)
	b.must(os.Rename(b.path("x/y/b"), b.path("x/y/a")))
	b.has("x/y/a", "second")
	b.hasNot("x/y/b")
	b.losePower()
	b.has("x/y/a", "first")
	b.hasNot("x/y/b")

	b.must(os.Remove(b.path("x/y/a")))
	b.hasNot("x/y/a")
	b.losePower()
	b.has("x/y/a", "first")
	b.must(os.Remove(b.path("x/y/a")))
	b.sync("x/y")
	b.losePower()
	b.hasNot("x/y/a")
}

// What is not fsynced may survive, too, in any part of it.
func TestSomeSurvives(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("a", strings.Repeat("k", 1000), true)
	b.sync(".")
	b.write("a", strings.Repeat("n", 100*sector), false)
	l, err := b.PowerLoss(rand.New(rand.NewPCG(1, 1)))
	b.must(err)
	text, err := os.ReadFile(b.path("a"))
	b.must(err)
	survived := strings.Count(string(text), "n")
	if survived == 0 || l.Bytes == 0 || survived+l.Bytes != 100*sector || !strings.HasPrefix(string(text), strings.Repeat("k", 1000)) {
		t.Errorf("%d bytes of %d survived, the loss is %+v", survived, 100*sector, l)
	}
}

func TestItFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("a", "kept", true)
	b.sync(".")
	f, err := os.OpenFile(b.path("a"), os.O_WRONLY|os.O_APPEND, 0)
	b.must(err)
	b.FailSyncs(syscall.EIO, 1)
	_, err = io.WriteString(f, " written")
	b.must(err)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync says %v", err)
	}
	b.FailWrites(syscall.EIO, -1)
	if _, err := io.WriteString(f, " refused"); !errors.Is(err, syscall.EIO) {
		t.Errorf("write says %v", err)
	}
	b.FailWrites(0, 0)
	b.must(f.Close())
	b.has("a", "kept written")
	if n := b.Mounted.Failed(); n != 2 {
		t.Errorf("%d operations failed", n)
	}
	b.losePower()
	b.has("a", "kept")
}

func TestItIsFull(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	large := strings.Repeat("x", 1<<19)
	b.write("a", large, false)
	b.write("b", large, false)
	if err := os.WriteFile(b.path("c"), []byte("x"), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk says %v", err)
	}
	b.must(os.Rename(b.path("a"), b.path("b")))
	b.write("c", large, false)
	b.must(os.Remove(b.path("b")))
	b.write("d", large, false)
}
