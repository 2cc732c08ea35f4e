package broker

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// filesBench is an embedded broker with a stream in which something is stored.
type filesBench struct {
	*testing.T
	*Broker
	js     jetstream.JetStream
	data   string // RELAY_DATA_DIR
	stream string // folder
}

var streamConfig = jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}

// kinds are the brokers that have files, and where those are in RELAY_DATA_DIR.
var kinds = map[string]struct {
	open   func(*testing.T, config.Config) *Broker
	folder string
}{
	"always": {mustOpen, ""},
	"interval": {func(t *testing.T, cfg config.Config) *Broker {
		cfg.Embedded.Sync = config.SyncInterval
		return mustOpen(t, cfg)
	}, ""},
	"outbox": {func(t *testing.T, cfg config.Config) *Broker {
		b, err := OpenOutbox(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(t.Context()) })
		return b
	}, OutboxFolder},
}

func newFilesBench(t *testing.T, kind string) *filesBench {
	t.Helper()
	b := &filesBench{T: t, data: filepath.Join(t.TempDir(), "data")}
	b.Broker = kinds[kind].open(t, load(t, "RELAY_DATA_DIR="+b.data))
	b.stream = filepath.Join(b.data, kinds[kind].folder, "jetstream", "$G", "streams", "S")
	var err error
	b.js, err = jetstream.New(b.Conn())
	b.must(err)
	b.make()
	return b
}

func (b *filesBench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// make makes the stream, and stores something in it.
// storeFailed is the error code of a stream whose folder cannot be made.
const storeFailed jetstream.ErrorCode = 10049

func (b *filesBench) make() {
	b.Helper()
	// A server that still deletes the stream of that name says that it cannot make one.
	for {
		_, err := b.js.CreateStream(b.Context(), streamConfig)
		if refused, ok := errors.AsType[*jetstream.APIError](err); ok && refused.ErrorCode == storeFailed {
			continue
		}
		b.must(err)
		break
	}
	b.store()
	b.must(b.Commit(context.Background(), "S"))
	b.must(b.Health())
}

func (b *filesBench) store() {
	b.Helper()
	_, err := b.js.Publish(b.Context(), "s", []byte("something"))
	b.must(err)
}

func (b *filesBench) purge() {
	b.Helper()
	stream, err := b.js.Stream(b.Context(), "S")
	b.must(err)
	b.must(stream.Purge(b.Context()))
}

// Whatever makes the files go away, nothing more is kept, and the broker is not healthy.
func TestFilesThatGoAway(t *testing.T) {
	t.Parallel()
	for kind := range kinds {
		for what, away := range map[string]func(*filesBench) error{
			"the data folder is removed":  func(b *filesBench) error { return os.RemoveAll(b.data) },
			"it is moved away":            func(b *filesBench) error { return os.Rename(b.data, b.data+".old") },
			"its contents are removed":    func(b *filesBench) error { return removeContents(b.data) },
			"another one is in its place": func(b *filesBench) error { return replaceFolder(b.data) },
			"the stream is removed":       func(b *filesBench) error { return os.RemoveAll(b.stream) },
			"the store is moved away": func(b *filesBench) error {
				store := filepath.Join(b.data, kinds[kind].folder, "jetstream")
				return os.Rename(store, store+".old")
			},
			"the blocks are removed": func(b *filesBench) error { return removeContents(filepath.Join(b.stream, "msgs")) },
			"one of the blocks is removed": func(b *filesBench) error {
				b.beginBlocks(3)
				return os.Remove(filepath.Join(b.stream, "msgs", "2.blk"))
			},
		} {
			t.Run(kind+", "+what, func(t *testing.T) {
				t.Parallel()
				b := newFilesBench(t, kind)
				b.must(away(b))
				if err := b.Commit(context.Background(), "S"); err == nil {
					t.Error("what is stored now is taken for kept")
				}
				err := b.Health()
				if gone, ok := errors.AsType[*goneError](err); !ok || !strings.HasPrefix(gone.path, b.data) {
					t.Errorf("health: %v", err)
				}
			})
		}
	}
}

// Without its lock the folder may get another relay.
func TestLockThatGoesAway(t *testing.T) {
	t.Parallel()
	for kind := range kinds {
		b := newFilesBench(t, kind)
		b.must(os.Remove(filepath.Join(b.data, "relay.lock")))
		err := b.Health()
		if _, ok := errors.AsType[*goneError](err); !ok {
			t.Errorf("%s: health: %v", kind, err)
		}
	}
}

// beginBlocks stores so much that the stream has some blocks.
func (b *filesBench) beginBlocks(n int) {
	b.Helper()
	large := make([]byte, 1<<20-1<<10)
	for i := 0; ; i++ {
		blocks, err := filepath.Glob(filepath.Join(b.stream, "msgs", "*.blk"))
		b.must(err)
		if len(blocks) >= n {
			break
		}
		if i > 100 {
			b.Fatalf("there are %d blocks", len(blocks))
		}
		_, err = b.js.Publish(b.Context(), "s", large)
		b.must(err)
	}
	b.must(b.Commit(context.Background(), "S"))
}

func removeContents(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}

// replaceFolder puts a copy in the place of a folder.
func replaceFolder(dir string) error {
	return errors.Join(os.Rename(dir, dir+".old"), os.CopyFS(dir, os.DirFS(dir+".old")))
}

// Who moves the folder back has lost nothing.
func TestFilesThatComeBack(t *testing.T) {
	t.Parallel()
	b := newFilesBench(t, "interval")
	b.must(os.Rename(b.data, b.data+".old"))
	if err := b.Commit(context.Background(), "S"); err == nil {
		t.Error("what is stored now is taken for kept")
	}
	b.must(os.Rename(b.data+".old", b.data))
	b.must(b.Commit(context.Background(), "S"))
	b.must(b.Health())
}

// What an operator does through JetStream is no fault of the files.
func TestStreamThatAnOperatorDeletes(t *testing.T) {
	t.Parallel()
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := newFilesBench(t, kind)
			for range 3 {
				b.must(b.js.DeleteStream(t.Context(), "S"))
				b.must(b.Health())
				// The server takes the files away in the background.
				for b.Commit(context.Background(), "S") == nil {
					if err := t.Context().Err(); err != nil {
						t.Fatal("a stream that is not there keeps what it had")
					}
					time.Sleep(time.Millisecond)
				}
				b.make()
			}
			b.beginBlocks(2)
			b.purge()
			b.must(b.Health())
			b.store()
			b.must(b.Commit(context.Background(), "S"))
		})
	}
}

// A purge amid webhooks makes none of them fail.
func TestPurgesAmidMessages(t *testing.T) {
	t.Parallel()
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := newFilesBench(t, kind)
			const senders = 8
			done := make(chan struct{})
			var all sync.WaitGroup
			for range senders {
				all.Go(func() {
					for {
						select {
						case <-done:
							return
						default:
						}
						if _, err := b.js.Publish(t.Context(), "s", make([]byte, 64<<10)); err != nil {
							t.Error(err)
						}
						if err := errors.Join(b.Commit(context.Background(), "S"), b.Health()); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for range 50 {
				b.purge()
			}
			close(done)
			all.Wait()
		})
	}
}

func BenchmarkKeep(b *testing.B) {
	for _, sync := range []string{"always", "interval"} {
		b.Run(sync, func(b *testing.B) {
			cfg, err := config.Load([]string{"RELAY_DATA_DIR=" + b.TempDir(), "RELAY_EMBEDDED_ADDR=127.0.0.1:0", "RELAY_EMBEDDED_SYNC=" + sync})
			if err != nil {
				b.Fatal(err)
			}
			broker, err := Open(b.Context(), cfg, "test", slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			defer broker.Close(b.Context())
			js, err := jetstream.New(broker.Conn())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := js.CreateStream(b.Context(), streamConfig); err != nil {
				b.Fatal(err)
			}
			b.SetParallelism(32) // as many webhooks wait together
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := broker.Commit(context.Background(), "S"); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
