package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/outbox"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/receiver"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

const (
	// healthInterval is how often the store inside this process is looked at, and
	// healthFailures how often in a row it must be broken to be taken for it.
	healthInterval = 500 * time.Millisecond
	healthFailures = 2
	// unhealthyFor is how long probes can see why, before the process ends.
	unhealthyFor = 3 * time.Second
)

// openStore is where webhooks go: to the publisher, or to the outbox before it.
func (r *Relay) openStore(ctx context.Context, metrics *telemetry.Metrics, tracing *telemetry.Tracing) (receiver.Store, error) {
	if r.cfg.Outbox.Enabled {
		return r.openOutbox(ctx, metrics, tracing)
	}
	metrics.Outbox(func() (messages, bytes uint64, oldest time.Duration) { return 0, 0, 0 })
	if broker.OutboxLeftBehind(r.cfg) {
		r.log.Warn("there is an outbox from an earlier run in RELAY_DATA_DIR, and what it may hold is not forwarded while RELAY_OUTBOX is not true", "folder", r.cfg.Embedded.DataDir)
	}
	r.local = r.broker
	r.broker.ObserveCommits(metrics.Fsync)
	return ownStore{r.publisher, r.broker, r.cfg.Stream.Quarantine}, nil
}

// openOutbox puts the outbox before the publisher.
func (r *Relay) openOutbox(ctx context.Context, metrics *telemetry.Metrics, tracing *telemetry.Tracing) (receiver.Store, error) {
	local, err := broker.OpenOutbox(ctx, r.cfg, r.log)
	if err != nil {
		return nil, err
	}
	r.local = local
	local.ObserveCommits(metrics.Fsync)
	r.onStop("outbox's store", local.Close)
	r.outbox, err = outbox.Open(ctx, outbox.Settings{
		Conn: local.Conn(), Room: local.Room, Commit: local.Commit, CapacityBytes: r.cfg.Outbox.CapacityBytes, Window: r.cfg.Stream.Dedupe,
		Broker: r.publisher, Encoder: publisher.Encoder(r.cfg), Metrics: metrics, Tracing: tracing, Log: r.log,
	})
	if err != nil {
		return nil, err
	}
	if err := r.outbox.Start(ctx); err != nil {
		return nil, err
	}
	r.onStop("outbox", func(context.Context) error { r.outbox.Stop(); return nil })
	metrics.Outbox(func() (messages, bytes uint64, oldest time.Duration) {
		s := r.outbox.State()
		return s.Messages, s.Bytes, s.Age
	})
	return r.outbox, nil
}

// ownStore is that of the broker that this process runs, if it runs one: it is
// asked only while there is room for more, and what it acknowledges is kept.
type ownStore struct {
	next       receiver.Store
	broker     *broker.Broker
	quarantine string
}

// Store implements receiver.Store.
func (s ownStore) Store(ctx context.Context, msg event.Message) (event.Receipt, error) {
	if err := s.broker.Room(); err != nil {
		return event.Receipt{}, &event.Refusal{Reason: event.StreamFull, Err: err}
	}
	receipt, err := s.next.Store(ctx, msg)
	if err != nil {
		return receipt, err
	}
	err = s.broker.Commit(ctx, receipt.Stream)
	if err == nil && receipt.Conflict {
		err = s.broker.Commit(ctx, s.quarantine)
	}
	switch {
	case err == nil:
		return receipt, nil
	case ctx.Err() != nil:
		return event.Receipt{}, &event.Refusal{Reason: event.BrokerUnavailable, Err: err}
	default:
		return event.Receipt{}, &event.Refusal{Reason: event.BrokerError, Err: err}
	}
}

// watchHealth ends the relay when only that helps: a store that had a write
// error stays frozen. abort gives up on the webhooks that wait for it.
func (r *Relay) watchHealth(abort func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(healthInterval)
		defer ticker.Stop()
		for failures := 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			err := r.local.Health()
			if err == nil {
				failures = 0
				continue
			}
			if failures++; failures < healthFailures {
				continue
			}
			r.log.Error("the store in RELAY_DATA_DIR is broken, and only a restart mends it: the relay ends", "error", err, "in", unhealthyFor)
			abort()
			select {
			case <-ctx.Done():
			case <-time.After(unhealthyFor):
				r.failed <- fmt.Errorf("the store in RELAY_DATA_DIR=%s is broken, and only a restart mends it: %w; look after the disk, and have a supervisor start the relay again", r.cfg.Embedded.DataDir, err)
			}
			return
		}
	}()
	r.onStop("health watcher", func(context.Context) error {
		cancel()
		<-ended
		return nil
	})
}
