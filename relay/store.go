package relay

import (
	"context"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/outbox"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// openStore is where webhooks go: to the publisher, or to the outbox before it.
func (r *Relay) openStore(ctx context.Context, version string, metrics *telemetry.Metrics, tracing *telemetry.Tracing) (store.Store, error) {
	if r.cfg.Outbox.Enabled {
		return r.openOutbox(ctx, version, metrics, tracing)
	}
	metrics.Outbox(func() (messages, bytes uint64, oldest time.Duration) { return 0, 0, 0 })
	if broker.OutboxLeftBehind(r.cfg) {
		r.log.Warn("there is an outbox from an earlier run in RELAY_DATA_DIR, and what it may hold is not forwarded while RELAY_OUTBOX is not true", "folder", r.cfg.Embedded.DataDir)
	}
	if !r.cfg.UsesEmbedded() {
		return r.publisher, nil
	}
	r.broker.ObserveCommits(metrics.Fsync)
	r.watchdog = newWatchdog(durableStore{r.publisher, r.broker, r.cfg.Stream.Quarantine}, r.broker.Health)
	return r.watchdog, nil
}

// openOutbox puts the outbox before the publisher.
func (r *Relay) openOutbox(ctx context.Context, version string, metrics *telemetry.Metrics, tracing *telemetry.Tracing) (store.Store, error) {
	local, err := broker.OpenOutbox(ctx, r.cfg, version, r.log)
	if err != nil {
		return nil, err
	}
	local.ObserveCommits(metrics.Fsync)
	r.addCleanup("outbox's store", local.Close)
	r.outbox, err = outbox.Open(ctx, outbox.Settings{
		Conn: local.Conn(), CheckDiskSpace: local.CheckDiskSpace, Commit: local.Commit, CapacityBytes: r.cfg.Outbox.CapacityBytes, DedupeWindow: r.cfg.Stream.Dedupe,
		Broker: r.publisher, Encoder: event.NewEncoder(r.cfg), Metrics: metrics, Tracing: tracing, Log: r.log,
	})
	if err != nil {
		return nil, err
	}
	if err := r.start(ctx, "outbox", r.outbox); err != nil {
		return nil, err
	}
	metrics.Outbox(func() (messages, bytes uint64, oldest time.Duration) {
		s := r.outbox.Stats()
		return s.Messages, s.Bytes, s.Age
	})
	r.watchdog = newWatchdog(r.outbox, local.Health)
	return r.watchdog, nil
}

// durableStore is that of the broker that this process runs: it is asked only while
// there is room for more, and what it acknowledges is kept.
type durableStore struct {
	next       store.Store
	broker     *broker.Broker
	quarantine string
}

// Store implements store.Store.
func (s durableStore) Store(ctx context.Context, msg event.Message) (store.Receipt, error) {
	if err := s.broker.CheckDiskSpace(); err != nil {
		return store.Receipt{}, &store.Error{Code: store.StreamFull, Err: err}
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
		return store.Receipt{}, &store.Error{Code: store.BrokerUnavailable, Err: err}
	default:
		return store.Receipt{}, &store.Error{Code: store.BrokerError, Err: err}
	}
}
