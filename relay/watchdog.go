package relay

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

const (
	// healthInterval is how often the store inside this process is looked at while nobody
	// wants anything of it, and healthPause what is between two looks otherwise.
	healthInterval = 30 * time.Second
	healthPause    = 400 * time.Millisecond
	// healthFailures is how often in a row it must be broken to be taken for it.
	healthFailures = 2
	// unhealthyFor is how long probes can see why, before the process ends.
	unhealthyFor = 3 * time.Second
)

// watchdog is the way to a store inside this process, and finds out that this is broken:
// within a second where webhooks wait for it or are not stored. It looks at it seldom
// otherwise, since a store at rest does not break.
type watchdog struct {
	service.Background
	store   store.Store
	health  func() error
	waiting atomic.Int64  // webhooks
	arrived chan struct{} // a webhook, when none was waiting
	failed  chan struct{} // something
	// onBroken is called once, if the store is found to be broken, until ctx ends with Stop.
	onBroken func(ctx context.Context, broken error)
}

func newWatchdog(store store.Store, health func() error) *watchdog {
	return &watchdog{store: store, health: health, arrived: make(chan struct{}, 1), failed: make(chan struct{}, 1)}
}

// Store implements store.Store.
func (w *watchdog) Store(ctx context.Context, msg event.Message) (store.Receipt, error) {
	if w.waiting.Add(1) == 1 {
		notify(w.arrived)
	}
	defer w.waiting.Add(-1)
	receipt, err := w.store.Store(ctx, msg)
	if err != nil {
		notify(w.failed)
	}
	return receipt, err
}

// check is the health of the store, for somebody who asks.
func (w *watchdog) check() error {
	err := w.health()
	if err != nil {
		notify(w.failed)
	}
	return err
}

// notify has watch notice something, if it has not been told yet.
func notify(noticed chan<- struct{}) {
	select {
	case noticed <- struct{}{}:
	default:
	}
}

// Start implements service.Service: it watches the store until that is broken, or Stop.
func (w *watchdog) Start(context.Context) error {
	w.Go(func(ctx context.Context) {
		if err := w.watch(ctx); err != nil {
			w.onBroken(ctx, err)
		}
	})
	return nil
}

// watch returns when the store is broken, with the error, or without one when ctx ends.
func (w *watchdog) watch(ctx context.Context) error {
	for failures := 0; ; {
		if failures == 0 && !w.await(ctx) {
			return nil
		}
		err := w.health()
		if err == nil {
			failures = 0
		} else if failures++; failures == healthFailures {
			return err
		}
		if retry.Sleep(ctx, healthPause) != nil {
			return nil
		}
	}
}

// await returns when there is a reason to look at the store: a webhook that does not get
// its answer at once, since a broken store may never give one, or something that has
// failed. It reports false when ctx ends.
func (w *watchdog) await(ctx context.Context) bool {
	interval := time.NewTimer(healthInterval)
	defer interval.Stop()
	for w.waiting.Load() == 0 {
		select {
		case <-ctx.Done():
			return false
		case <-w.failed:
			return true
		case <-interval.C:
			return true
		case <-w.arrived:
			if retry.Sleep(ctx, healthPause) != nil {
				return false
			}
		}
	}
	return true
}

// storeIsBroken ends the relay, since only that helps: a store that had a write error
// stays frozen. abort gives up on the webhooks that wait for it.
func (r *Relay) storeIsBroken(ctx context.Context, broken error, abort func()) {
	r.log.Error("the store in RELAY_DATA_DIR is broken, and only a restart mends it: the relay ends", "error", broken, "in", unhealthyFor)
	abort()
	if retry.Sleep(ctx, unhealthyFor) == nil {
		r.failed <- fmt.Errorf("the store in RELAY_DATA_DIR=%s is broken, and only a restart mends it: %w; look after the disk, and have a supervisor start the relay again", r.cfg.Embedded.DataDir, broken)
	}
}
