package relay

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

// storeFunc is a store.Store.
type storeFunc func(context.Context) error

func (s storeFunc) Store(ctx context.Context, _ event.Message) (store.Receipt, error) {
	return store.Receipt{}, s(ctx)
}

var errBroken = errors.New("broken")

// watched is a watchdog in the time of a synctest bubble, and what it says in the end.
type watched struct {
	*watchdog
	looks  atomic.Int64
	broken atomic.Bool // for whoever looks
	ended  chan error
}

func startWatchdog(t *testing.T, store storeFunc) *watched {
	w := &watched{ended: make(chan error, 1)}
	w.watchdog = newWatchdog(store, func() error {
		w.looks.Add(1)
		if w.broken.Load() {
			return errBroken
		}
		return nil
	})
	go func() { w.ended <- w.watch(t.Context()) }()
	return w
}

// A store of which nobody wants anything is looked at seldom, and one that answers at once
// no more often, however many webhooks come.
func TestStoreAtRestIsLookedAtSeldom(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]time.Duration{"idle": time.Hour, "busy": 5 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := startWatchdog(t, func(context.Context) error { return nil })
				for start := time.Now(); time.Since(start) < time.Hour; time.Sleep(pause) {
					_, _ = w.Store(t.Context(), event.Message{})
				}
				synctest.Wait()
				if looks, most := w.looks.Load(), int64(time.Hour/healthInterval); looks > most || looks < most*9/10 {
					t.Errorf("it was looked at %d times in an hour, and not about %d times", looks, most)
				}
			})
		})
	}
}

// A store that breaks is found within a second of the first webhook that meets it: be it
// refused, or left without an answer; and at once if a probe has found it.
func TestBrokenStoreIsFound(t *testing.T) {
	t.Parallel()
	for name, meet := range map[string]func(*testing.T, *watched){
		"refused":    func(t *testing.T, w *watched) { _, _ = w.Store(t.Context(), event.Message{}) },
		"unanswered": func(t *testing.T, w *watched) { go func() { _, _ = w.Store(t.Context(), event.Message{}) }() },
		"probed":     func(t *testing.T, w *watched) { _ = w.check() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := startWatchdog(t, func(ctx context.Context) error {
					if name == "unanswered" {
						<-ctx.Done()
					}
					return errBroken
				})
				time.Sleep(healthInterval / 2)
				synctest.Wait()
				w.broken.Store(true)
				start := time.Now()
				meet(t, w)
				if err := <-w.ended; !errors.Is(err, errBroken) {
					t.Errorf("it says %v", err)
				}
				if took := time.Since(start); took > time.Second {
					t.Errorf("it was found after %s", took)
				}
			})
		})
	}
}

// One that breaks while a webhook has been waiting for long is found within a second, too.
func TestStoreThatBreaksLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := startWatchdog(t, func(ctx context.Context) error { <-ctx.Done(); return nil })
		go func() { _, _ = w.Store(t.Context(), event.Message{}) }()
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		w.broken.Store(true)
		start := time.Now()
		if err := <-w.ended; !errors.Is(err, errBroken) || time.Since(start) > time.Second {
			t.Errorf("it says %v after %s", err, time.Since(start))
		}
	})
}

// What mends itself between two looks is no reason to end.
func TestStoreThatRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := startWatchdog(t, func(context.Context) error { return errBroken })
		for range 10 {
			w.broken.Store(true)
			_, _ = w.Store(t.Context(), event.Message{})
			time.Sleep(healthPause - time.Millisecond)
			w.broken.Store(false)
			time.Sleep(time.Minute)
		}
		select {
		case err := <-w.ended:
			t.Errorf("it says %v", err)
		default:
		}
	})
}
