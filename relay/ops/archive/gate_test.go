package archive

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// While the target cannot store, one after the other tries, later and later, and all go on once
// something is stored.
func TestGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gate{log: slog.New(slog.DiscardHandler), first: time.Second}
		full := errors.New("full")
		leave, err := g.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leave(full, true)
		var inside, most, tries atomic.Int32
		var working atomic.Bool
		for range 8 {
			go func() {
				for {
					leave, err := g.enter(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if n := inside.Add(1); !working.Load() && n > most.Load() {
						most.Store(n)
					}
					tries.Add(1)
					time.Sleep(time.Millisecond)
					inside.Add(-1)
					if working.Load() {
						leave(nil, true)
						return
					}
					if tries.Load()%2 == 0 {
						leave(full, true)
					} else {
						leave(nil, false) // what is there is no proof that something can be stored
					}
				}
			}()
		}
		time.Sleep(10 * time.Minute)
		if n := tries.Load(); most.Load() != 1 || n < 12 || n > 60 || g.err() == nil {
			t.Errorf("%d tries, %d at once; the error is %v", n, most.Load(), g.err())
		}
		working.Store(true)
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		if g.err() != nil {
			t.Errorf("it works, and the error is %v", g.err())
		}
		// Nobody waits for ever.
		if leave, err = g.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		leave(full, false)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(io.ErrClosedPipe)
		if _, err := g.enter(ctx); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the error is %v", err)
		}
	})
}

// What expires first is worked on first, and what has expired last.
func TestHeldByExpiry(t *testing.T) {
	t.Parallel()
	h := newHeld(10)
	add := func(sequence uint64, expires time.Duration) {
		m := &message{meta: &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Stream: sequence}}, expires: time.Unix(0, 0).Add(expires), late: expires < 0}
		h.add(m)
	}
	for sequence, expires := range []time.Duration{-time.Hour, 3 * time.Hour, time.Hour, -2 * time.Hour, time.Hour} {
		add(uint64(sequence), expires)
	}
	if n := h.room(t.Context()); n != 5 {
		t.Errorf("there is room for %d", n)
	}
	for _, want := range []uint64{2, 4, 1, 3, 0} {
		m := h.take(t.Context())
		if m.meta.Sequence.Stream != want {
			t.Errorf("%d came, want %d", m.meta.Sequence.Stream, want)
		}
		h.release(m)
	}
	if n := h.room(t.Context()); n != 10 {
		t.Errorf("there is room for %d at the end", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if h.take(ended) != nil {
		t.Error("there is a message after the end")
	}
}
