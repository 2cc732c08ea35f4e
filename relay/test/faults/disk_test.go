//go:build system

package faults

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// stores are the two that a relay can have in its own process: the embedded
// broker's, and the outbox's with an external broker that is away. after gives
// the URL at which everything is in the end.
var stores = []struct {
	name string
	full string // the problem when there is no room
	open func(*bench, ...string) (r *rig.Relay, after func() string)
}{
	{"embedded", "stream-full", func(b *bench, environ ...string) (*rig.Relay, func() string) {
		r, err := b.StartRelay(b.ctx, environ...)
		b.must(err)
		return r, func() string { return r.Broker }
	}},
	{"outbox", "outbox-full", func(b *bench, environ ...string) (*rig.Relay, func() string) {
		s := b.away()
		r := b.relay(s.URL(), append(environ, withOutbox)...)
		return r, func() string {
			b.must(s.Start(b.ctx))
			b.ready(r)
			b.forwarded(r)
			return s.URL()
		}
	}},
}

// blockFile is the size of the largest file of messages below a folder.
func (b *bench) blockFile(folder string) (size uint64) {
	b.Helper()
	b.must(filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && filepath.Ext(path) != ".blk" {
			return nil // files come and go in a store
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size = max(size, uint64(info.Size()))
		}
		return err
	}))
	if size == 0 {
		b.Fatalf("there is no file of messages in %s", folder)
	}
	return size
}

// A write error ends the relay, which says why, and what was acknowledged is
// there after the next start: also where the error left half of a message.
func TestWriteError(t *testing.T) {
	for _, store := range stores {
		for name, more := range map[string]uint64{"nothing": 0, "half": 200} {
			t.Run(store.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				const budget = 3 * time.Second
				r, after := store.open(b, "RELAY_PUBLISH_TIMEOUT="+budget.String())
				load := r.StartLoad(b.ctx, "task", rig.Pace{})
				b.must(load.AwaitAccepted(b.ctx, 200))
				err := r.LimitFiles(b.blockFile(r.Dir) + more)
				if errors.Is(err, errors.ErrUnsupported) {
					t.Skip(err)
				}
				b.must(err)
				failed := time.Now()
				b.must(r.AwaitUnhealthy(b.ctx, "file too large"))
				b.notReady(r, "file too large")
				code, err := r.Wait(b.ctx)
				b.must(err)
				if took := time.Since(failed); code != 1 || took > 15*time.Second {
					t.Errorf("it ended with %d, after %s", code, took)
				}
				o := load.Stop()
				// All that waited for the store are told, and not left.
				if told := o.Problems["broker-unavailable"] + o.Problems["draining"]; told < 32 {
					t.Errorf("of 32 that waited, and those after them, only %d were told: %v", told, o.Problems)
				}
				b.onlyProblems(o, "broker-unavailable", "draining", "reset", "refused", "closed")
				if o.Slowest > budget+spare {
					t.Errorf("an answer took %s of a budget of %s", o.Slowest, budget)
				}
				lines := strings.Split(r.Log(), "\n")
				if last := lines[len(lines)-1]; !strings.HasPrefix(last, "apixo-relay: ") || !strings.Contains(last, r.Dir) {
					t.Errorf("its last words are %q", last)
				}
				b.must(r.Restart(b.ctx))
				again, err := r.Post(b.ctx, o.Accepted[0].ID, "success")
				b.must(err)
				if again.Status != 200 || !again.Duplicate {
					t.Errorf("the repeat got %+v", again)
				}
				fresh, err := r.Post(b.ctx, "task_new", "success")
				b.must(err)
				if fresh.Status != 200 || fresh.Duplicate {
					t.Errorf("a new webhook got %+v", fresh)
				}
				b.settle(r.Sender, after(), o)
			})
		}
	}
}

const (
	diskSize = 12 << 20
	// diskReserve is what the relay leaves free.
	diskReserve = 4 << 20
)

// A full disk refuses, and takes again when there is room, without a restart:
// the store itself never meets the end of the disk.
func TestDiskFull(t *testing.T) {
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			disk, err := b.NewDisk(diskSize)
			if err != nil {
				t.Skip(err)
			}
			r, after := store.open(b, "RELAY_DATA_DIR="+disk)
			load := r.StartLoad(b.ctx, "task", calm)
			b.must(load.AwaitAccepted(b.ctx, 200))
			ballast := filepath.Join(disk, "ballast")
			free, err := rig.FreeBytes(disk)
			b.must(err)
			b.must(os.WriteFile(ballast, make([]byte, free-diskReserve+(100<<10)), 0o600))
			b.notReady(r, "disk is full")
			b.refused(r.Sender, "task_refused", store.full, time.Second)
			// Large ones would find the end of the disk first.
			for range 20 {
				a, err := r.PostBody(b.ctx, rig.Webhook("task_large", "success", 200_000))
				b.must(err)
				b.isRefused(a, store.full, time.Second)
			}
			b.must(r.Healthy(b.ctx))
			b.must(os.Remove(ballast))
			b.ready(r)
			b.must(load.AwaitAccepted(b.ctx, 200))
			o := load.Stop()
			b.onlyProblems(o, store.full)
			if log := r.Log(); strings.Contains(log, "no space left") {
				t.Error("the store met the end of the disk")
			}
			b.settle(r.Sender, after(), o)
		})
	}
}
