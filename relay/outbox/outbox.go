// Package outbox keeps webhooks while an external broker is away: on a
// JetStream inside this process, fsynced, until the broker itself has
// acknowledged them.
//
// It stands before the store of the broker and has the same interface. While
// nothing waits in it, webhooks pass it by. It must not know HTTP.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

const (
	// Stream is the outbox's stream, and what a receipt names that it gives.
	Stream = "APIXO_OUTBOX"
	// subject is that of every entry: what it becomes is decided when it leaves.
	subject = "outbox"
	// directTimeout is how long the broker may take, at the most, before a webhook is
	// kept here instead: one try, and the beginning of a second.
	directTimeout = 5 * time.Second
	// drainWait is how long a webhook waits for the last of those before it to
	// leave, looking this often.
	drainWait     = 100 * time.Millisecond
	drainInterval = 2 * time.Millisecond
	// enqueueTimeout bounds the storing of one entry, as the time for an answer does.
	enqueueTimeout = 5 * time.Second
)

// Broker is the store to which everything goes in the end.
type Broker interface {
	// Store stores a message, as the outbox's Store does.
	Store(ctx context.Context, msg event.Message) (store.Receipt, error)
	// PublishAsync begins to store messages, in their order, with one try for each.
	PublishAsync(msgs []event.Message) []store.Future
	// Ready is nil if the broker would store a message now.
	Ready() error
}

// Settings are what an outbox works with.
type Settings struct {
	// Conn is a connection to a server of the outbox's own, Room nil while that has
	// space on its disk; Commit makes durable what it has acknowledged for a stream.
	Conn           *nats.Conn
	CheckDiskSpace func() error
	Commit         func(ctx context.Context, stream string) error
	// CapacityBytes bounds what is kept, Window is how long ids are remembered.
	CapacityBytes int64
	DedupeWindow  time.Duration
	// Broker is where everything goes in the end, Encoder makes messages for it.
	Broker  Broker
	Encoder event.Encoder
	Metrics *telemetry.Metrics
	Tracing *telemetry.Tracing // nil without any
	Log     *slog.Logger
}

// Outbox is a store that takes messages also while the broker is away. It may
// be used by many goroutines.
type Outbox struct {
	service.Background
	Settings
	js      jetstream.JetStream
	stream  jetstream.Stream
	entries jetstream.Consumer

	backlog atomic.Int64  // entries that the broker has not acknowledged
	added   chan struct{} // one may have been
}

// Open makes or finds the outbox. What it holds of an earlier run is forwarded
// once Start is called.
func Open(ctx context.Context, settings Settings) (*Outbox, error) {
	js, err := jetstream.New(settings.Conn)
	if err != nil {
		return nil, fmt.Errorf("the outbox cannot be used: %w", err)
	}
	o := &Outbox{Settings: settings, js: js, added: make(chan struct{}, 1)}
	o.stream, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:        Stream,
		Description: "Webhooks on their way to a broker that was away.",
		Subjects:    []string{subject},
		Retention:   jetstream.WorkQueuePolicy,
		Storage:     jetstream.FileStorage,
		MaxBytes:    o.CapacityBytes,
		Discard:     jetstream.DiscardNew, // dropping the oldest would break what a 200 promised
		Duplicates:  o.DedupeWindow,
		AllowDirect: true,
	})
	if err != nil {
		return nil, fmt.Errorf("the outbox cannot be made in RELAY_DATA_DIR: %w", err)
	}
	o.backlog.Store(int64(o.stream.CachedInfo().State.Msgs))
	if n := o.backlog.Load(); n > 0 {
		o.Log.Info("webhooks wait in the outbox from an earlier run", "messages", n, "bytes", o.stream.CachedInfo().State.Bytes)
	}
	return o, nil
}

// Store stores a message in the broker, or else in the outbox. The receipt
// tells in which. Its error is a *store.Error.
func (o *Outbox) Store(ctx context.Context, msg event.Message) (store.Receipt, error) {
	var direct error
	// While others wait, a webhook waits behind them: so the order is kept, and a
	// stalled broker costs one webhook its patience and not each.
	o.awaitDrain(ctx)
	if o.backlog.Load() <= 0 {
		var receipt store.Receipt
		if receipt, direct = o.storeDirectly(ctx, msg); direct == nil {
			return receipt, nil
		}
	}
	receipt, err := o.enqueue(ctx, msg, direct)
	if err == nil {
		return receipt, nil
	}
	if direct == nil && o.Broker.Ready() == nil {
		// The outbox takes no more, but the broker is back.
		return o.Broker.Store(ctx, msg)
	}
	return receipt, err
}

// awaitDrain waits a moment where the last of those that wait are being forwarded.
// Otherwise a sender that never pauses would keep the outbox in use for ever.
func (o *Outbox) awaitDrain(ctx context.Context) {
	for waited := time.Duration(0); waited < drainWait; waited += drainInterval {
		if n := o.backlog.Load(); n <= 0 || n > batchSize || o.Broker.Ready() != nil || retry.Sleep(ctx, drainInterval) != nil {
			return
		}
	}
}

// storeDirectly leaves time for the outbox if the broker takes too long.
func (o *Outbox) storeDirectly(ctx context.Context, msg event.Message) (store.Receipt, error) {
	wait := directTimeout
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return o.Broker.Store(ctx, msg)
}

// enqueue stores a delivery in the outbox, or says that it is there.
func (o *Outbox) enqueue(ctx context.Context, msg event.Message, direct error) (store.Receipt, error) {
	// A relay that is shutting down gives up on the broker, not on the webhook. The
	// time for an answer stays what it is.
	wait := enqueueTimeout
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer cancel()
	// Ids of different kinds must not meet, whatever a sender calls its tasks: none
	// of them has a slash in it.
	if msg.Kind == event.RejectedDelivery {
		// What the quarantine has of the body by way of an earlier entry stays there
		// until somebody has judged it.
		return o.append(ctx, "rejected/"+msg.ID, msg.Delivery, direct)
	}
	receipt, first, err := o.appendOnce(ctx, "task/"+msg.ID, msg.Delivery, direct)
	if err != nil || first == nil || !conflicts(msg.Delivery, *first) {
		return receipt, err
	}
	if _, _, err := o.appendOnce(ctx, "repeat/"+msg.Delivery.Digest(), msg.Delivery, direct); err != nil {
		return store.Receipt{}, err
	}
	receipt.Conflict = true
	return receipt, nil
}

// appendOnce stores an entry unless there is one of its id already, which first is then.
//
// An entry that the broker has leaves the outbox, and its id is remembered all the
// same. What became of its event meanwhile, and whether that says the same, only the
// broker can tell: so another entry of the id goes there, and only the first of them
// that the outbox has waits for it.
func (o *Outbox) appendOnce(ctx context.Context, id string, d event.Delivery, direct error) (receipt store.Receipt, first *event.Delivery, err error) {
	for n := 0; ; n++ {
		receipt, err = o.append(ctx, event.CopyID(id, n), d, direct)
		if err != nil || !receipt.Duplicate {
			receipt.Duplicate = n > 0
			return receipt, nil, err
		}
		stored, err := o.stored(ctx, receipt.Sequence)
		switch {
		case err == nil:
			return receipt, &stored, nil
		case !errors.Is(err, jetstream.ErrMsgNotFound):
			return store.Receipt{}, nil, storeError(err, direct)
		}
	}
}

// append stores an entry under an id.
func (o *Outbox) append(ctx context.Context, id string, d event.Delivery, direct error) (store.Receipt, error) {
	if err := o.CheckDiskSpace(); err != nil {
		return store.Receipt{}, &store.Error{Code: store.OutboxFull, Err: err}
	}
	ack, err := o.js.PublishMsg(ctx, entryOf(id, d))
	defer func() {
		select {
		case o.added <- struct{}{}:
		default: // it is known
		}
	}()
	if err != nil {
		return store.Receipt{}, storeError(err, direct)
	}
	if !ack.Duplicate {
		if o.backlog.Add(1) == 1 {
			o.Log.Warn("webhooks are being kept in the outbox", "error", direct)
		}
	}
	if err := o.Commit(ctx, Stream); err != nil {
		return store.Receipt{}, storeError(err, direct)
	}
	return store.Receipt{Stream: Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
}

// stored is the delivery at a sequence.
func (o *Outbox) stored(ctx context.Context, sequence uint64) (event.Delivery, error) {
	msg, err := o.stream.GetMsg(ctx, sequence)
	if err != nil {
		return event.Delivery{}, err
	}
	return deliveryOf(msg.Header, msg.Data), nil
}

// conflicts reports whether a delivery tells another outcome of its task than
// an earlier one.
func conflicts(d, earlier event.Delivery) bool {
	one, err := earlier.Outcome()
	if err != nil {
		return true
	}
	other, err := d.Outcome()
	return err != nil || one != other
}

// storeError explains why the outbox did not take an entry, and before it the broker.
func storeError(err, direct error) error {
	reason := store.BrokerUnavailable
	var refused *store.Error
	if errors.As(direct, &refused) {
		reason = refused.Code
	}
	var api *jetstream.APIError
	if errors.As(err, &api) && strings.Contains(api.Description, "maximum ") {
		reason = store.OutboxFull
	}
	err = fmt.Errorf("the outbox did not take it: %w", err)
	if direct != nil {
		err = fmt.Errorf("%w; %w", direct, err)
	}
	return &store.Error{Code: reason, Err: err}
}

// Stats is what waits in the outbox.
type Stats struct {
	// Messages that the broker has not acknowledged, and their size in bytes as
	// RELAY_OUTBOX_MAX_BYTES counts it.
	Messages uint64
	Bytes    uint64
	// Age is that of the oldest, 0 if there is none.
	Age time.Duration
}

// Stats asks what waits now; what it cannot find out is zero.
func (o *Outbox) Stats() Stats {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	info, err := o.stream.Info(ctx)
	if err != nil || info.State.Msgs == 0 {
		return Stats{Messages: uint64(max(0, o.backlog.Load()))}
	}
	return Stats{Messages: info.State.Msgs, Bytes: info.State.Bytes, Age: max(0, time.Since(info.State.FirstTime))}
}

// Ready is nil if a webhook would be stored now, here or in the broker.
func (o *Outbox) Ready() error {
	away := o.Broker.Ready()
	if away == nil {
		return nil
	}
	if err := o.CheckDiskSpace(); err != nil {
		return errors.Join(away, err)
	}
	// Full is what refuses the largest of webhooks: that much may be left over.
	if s := o.Stats(); s.Bytes > 0 && s.Bytes*100 >= uint64(o.CapacityBytes)*99 {
		return errors.Join(away, fmt.Errorf("the outbox is full: it holds %d webhooks in %d bytes, and RELAY_OUTBOX_MAX_BYTES=%d", s.Messages, s.Bytes, o.CapacityBytes))
	}
	return nil
}

// Notes says in sentences what an operator should know while the relay is ready.
func (o *Outbox) Notes() (notes []string) {
	if err := o.Broker.Ready(); err != nil {
		notes = append(notes, "webhooks are being kept in the outbox: "+err.Error())
	}
	if s := o.Stats(); s.Messages > 0 {
		notes = append(notes, fmt.Sprintf("the outbox holds %d webhooks in %d bytes, the oldest for %s", s.Messages, s.Bytes, s.Age.Round(time.Second)))
	}
	return notes
}
