package durable

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/disk"
	"github.com/apixo-relay/apixo-relay/relay/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// bench is a store as nats-server lays it out, on a disk that forgets.
type bench struct {
	*testing.T
	disk   *disk.Mounted
	store  *Store
	folder string
	stream string // the folder of the stream APIXO
	msgs   string // and of its blocks
}

func newBench(t *testing.T) *bench {
	t.Helper()
	folder := t.TempDir()
	d, err := disk.New(1 << 20).Mount(folder)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	b := &bench{T: t, disk: d}
	b.must(err)
	t.Cleanup(func() {
		b.store.Close()
		b.must(d.Close())
	})
	b.folder = filepath.Join(folder, "var", "data")
	b.must(MakeFolder(b.folder))
	b.store = newStore(b.folder, func(string) {})
	b.stream = filepath.Join(b.folder, "jetstream", "$G", "streams", "APIXO")
	b.msgs = filepath.Join(b.stream, "msgs")
	b.must(os.MkdirAll(b.msgs, 0o700))
	return b
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// write appends to a file as nats-server does without sync_always.
func (b *bench) write(path, text string) {
	b.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	b.must(err)
	_, err = f.WriteString(text)
	b.must(err)
	b.must(f.Close())
}

func (b *bench) block(name string) string { return filepath.Join(b.msgs, name) }

// settle makes the stream's folders such that their times of change are believed.
func (b *bench) settle() {
	b.Helper()
	past := time.Now().Add(-time.Hour)
	b.must(os.Chtimes(b.msgs, past, past))
	b.must(os.Chtimes(b.stream, past, past))
	b.commit()
}

func (b *bench) commit() {
	b.Helper()
	b.must(b.store.Commit(b.Context(), "APIXO"))
}

// has takes the power away and looks at what is there.
func (b *bench) has(files map[string]string) {
	b.Helper()
	_, err := b.disk.PowerLoss(nil)
	b.must(err)
	for path, want := range files {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			b.Errorf("%s has %q, %v; want %q", path, got, err, want)
		}
	}
}

// What is written to the last block is durable, and so is what was written to one that
// was the last, also where several were begun since.
func TestCommitMakesBlocksDurable(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write(b.block("1.blk"), "a")
	b.settle()
	b.write(b.block("1.blk"), "b")
	b.commit()
	b.has(map[string]string{b.block("1.blk"): "ab"})
	b.settle()
	b.write(b.block("1.blk"), "c")
	for i := 2; i <= 11; i++ {
		b.write(b.block(fmt.Sprintf("%d.blk", i)), "x")
	}
	b.commit()
	b.settle()
	b.write(b.block("11.blk"), "y") // which is no 9.blk
	b.commit()
	b.has(map[string]string{b.block("1.blk"): "abc", b.block("2.blk"): "x", b.block("10.blk"): "x", b.block("11.blk"): "xy"})
}

// After the last block was removed, one before it may be the last.
func TestCommitAfterTheLastBlockWasRemoved(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, name := range []string{"1.blk", "2.blk"} {
		b.write(b.block(name), "x")
	}
	b.settle()
	b.must(os.Remove(b.block("2.blk")))
	b.write(b.block("1.blk"), "y")
	b.commit()
	b.has(map[string]string{b.block("1.blk"): "xy"})
}

// A folder that was changed within the same second twice can tell the same time of
// change.
func TestChangesOfTheSameSecond(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	second := time.Now().Truncate(time.Second).Add(time.Second)
	for _, name := range []string{"1.blk", "2.blk"} {
		b.write(b.block(name), "x")
		b.must(os.Chtimes(b.msgs, second, second))
		b.commit()
	}
	b.has(map[string]string{b.block("1.blk"): "x", b.block("2.blk"): "x"})
}

// A purge gives a stream another folder under the old name.
func TestReplacedFolder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write(b.block("1.blk"), "x")
	b.settle()
	past := time.Now().Add(-time.Hour)
	next := b.msgs + ".new"
	b.must(os.Mkdir(next, 0o700))
	b.write(filepath.Join(next, "2.blk"), "y")
	b.must(os.Chtimes(next, past, past)) // which tells the same as the old one
	b.must(os.Rename(b.msgs, b.msgs+".old"))
	b.must(os.Rename(next, b.msgs))
	b.commit()
	b.has(map[string]string{b.block("2.blk"): "y"})
}

func TestStreamWithoutFiles(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(b.store.Commit(t.Context(), "IN_MEMORY"))
}

// Whoever removes the files of a running server does not stop it from writing to
// them.
func TestFilesThatWereRemoved(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write(b.block("1.blk"), "x")
	b.commit()
	b.must(os.RemoveAll(b.msgs))
	if err := b.store.Commit(t.Context(), "APIXO"); !errors.Is(err, ErrGone) {
		t.Errorf("commit says %v", err)
	}
	b.must(os.Mkdir(b.msgs, 0o700)) // as when the stream is made anew
	b.write(b.block("1.blk"), "y")
	b.commit()
	b.must(b.store.Health())
	b.has(map[string]string{b.block("1.blk"): "y"})
}

// After an fsync that failed the next one would succeed, and keep nothing of what
// the failed one was for.
func TestFailedFsync(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*bench){
		"of a folder":         func(*bench) {},
		"of the last block":   func(b *bench) { b.settle() },
		"of a block replaced": func(b *bench) { b.settle(); b.write(b.block("2.blk"), "x") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.write(b.block("1.blk"), "x")
			prepare(b)
			b.write(b.block("1.blk"), "y")
			b.disk.FailSyncs(syscall.EIO, 1)
			for range 2 {
				if err := b.store.Commit(t.Context(), "APIXO"); !errors.Is(err, syscall.EIO) {
					t.Errorf("commit says %v", err)
				}
			}
			if err := b.store.Health(); !errors.Is(err, syscall.EIO) {
				t.Errorf("health says %v", err)
			}
		})
	}
}

// Whoever comes while an fsync is under way shares the next one, and that begins after
// what it has written.
func TestCallersShareACommit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write(b.block("1.blk"), "x")
	b.settle()
	fsyncing, release := b.hang()
	var mu sync.Mutex
	var shared []int
	b.store.Observe(func(waiting int, _ time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		shared = append(shared, waiting)
	})
	var callers sync.WaitGroup
	call := func() { callers.Go(func() { b.must(b.store.Commit(t.Context(), "APIXO")) }) }
	call()
	<-fsyncing
	for range 10 {
		call()
	}
	b.await(func() bool {
		next := b.store.streams["APIXO"].next
		return next != nil && next.waiting == 10
	})
	close(release)
	callers.Wait()
	if len(shared) != 2 || shared[0] != 1 || shared[1] != 10 {
		t.Errorf("the commits were shared by %v callers", shared)
	}
}

// hang makes each fsync take until release is closed, and tells of the first on fsyncing.
func (b *bench) hang() (fsyncing <-chan struct{}, release chan<- struct{}) {
	began, end := make(chan struct{}, 1), make(chan struct{})
	b.disk.SlowSyncs(func() time.Duration {
		select {
		case began <- struct{}{}:
		default:
		}
		<-end
		return 0
	})
	return began, end
}

// await waits until something of the store is so.
func (b *bench) await(ok func() bool) {
	b.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		b.store.mu.Lock()
		done := ok()
		b.store.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			b.Fatal("it does not come to that")
		}
	}
}

// A disk that hangs holds nobody beyond the time that he has.
func TestCommitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write(b.block("1.blk"), "x")
	fsyncing, release := b.hang()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-fsyncing; cancel() }()
	if err := b.store.Commit(ctx, "APIXO"); !errors.Is(err, context.Canceled) {
		t.Errorf("commit says %v", err)
	}
	close(release)
	b.commit()
	b.must(b.store.Health())
}

func BenchmarkCommit(b *testing.B) {
	folder := b.TempDir()
	msgs := filepath.Join(folder, "jetstream", "$G", "streams", "APIXO", "msgs")
	if err := os.MkdirAll(msgs, 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(msgs, "1.blk"), []byte("x"), 0o600); err != nil {
		b.Fatal(err)
	}
	s := newStore(folder, func(string) {})
	b.Cleanup(s.Close)
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			b.SetParallelism(callers)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := s.Commit(context.Background(), "APIXO"); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
