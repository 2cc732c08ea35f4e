package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

const (
	// consumer is the name of the one that reads the outbox.
	consumer = "forwarder"
	// batchSize is how many entries are on their way to the broker at once: enough
	// for its round trip not to count, and a bound on the memory that it takes.
	batchSize = 128
	// ackWait is how long an entry may be held before the outbox hands it out
	// again: longer than a broker is usually away. Handing out twice does no harm.
	ackWait = time.Hour
	// tryTimeout bounds one try to forward a window.
	tryTimeout = 10 * time.Second
	// stopGrace is how long Stop waits for what is on its way.
	stopGrace = 2 * time.Second
	// The broker is looked at this often while it is not ready.
	readyInterval = 100 * time.Millisecond
	// Back-off when it is ready, and refuses.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
	// parkTime is how long an entry is set aside that the broker refuses for what
	// it is, so that it does not hold up the others.
	parkTime = 30 * time.Second
	// nextWait is how long the next entry is waited for, while there are some, before the
	// outbox is asked again what there is: the server does not always wake who waits when
	// an entry comes at the very moment in which the waiting begins.
	nextWait = 2 * time.Second
	// reportInterval is how often the log tells that webhooks are waiting.
	reportInterval = time.Minute
)

// Start implements service.Service: it forwards entries until Stop. What waits then is
// there at the next start.
func (o *Outbox) Start(ctx context.Context) error {
	// What was handed out before a crash must be handed out again at once, so the
	// consumer starts anew: what it knew is which entries are gone, and they are.
	if err := o.stream.DeleteConsumer(ctx, consumer); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("the outbox cannot be read: %w", err)
	}
	entries, err := o.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Name: consumer, Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxAckPending: -1, MemoryStorage: true,
	})
	if err != nil {
		return fmt.Errorf("the outbox cannot be read: %w", err)
	}
	o.entries = entries
	o.Go(o.forwardAll)
	o.Go(o.report)
	return nil
}

// forwardAll takes entries in their order, a window at a time.
func (o *Outbox) forwardAll(ctx context.Context) {
	for ctx.Err() == nil {
		batch, err := o.next(batchSize)
		if err == nil && len(batch) == 0 {
			o.resyncBacklog(ctx)
			if o.backlog.Load() <= 0 {
				o.awaitEntry(ctx)
				continue
			}
			batch, err = o.awaitNext(ctx)
		}
		if err != nil {
			o.Log.Error("the outbox cannot be read; it is tried again", "error", err)
			_ = retry.Sleep(ctx, maxBackoff)
			continue
		}
		o.forward(ctx, batch)
	}
}

// awaitEntry waits until there may be an entry again. One that was stored although nobody
// was told so, since the answer was lost, is found within a minute.
func (o *Outbox) awaitEntry(ctx context.Context) {
	waiting, cancel := context.WithTimeout(ctx, reportInterval)
	defer cancel()
	select {
	case <-o.added:
	case <-waiting.Done():
	}
}

// resyncBacklog finds out how many entries there are, where counting has gone wrong
// because an acknowledgement was lost. What comes meanwhile is not uncounted:
// those after it must wait behind it.
func (o *Outbox) resyncBacklog(ctx context.Context) {
	before := o.backlog.Load()
	if info, err := o.stream.Info(ctx); err == nil {
		o.backlog.CompareAndSwap(before, int64(info.State.Msgs))
	}
}

// entry is one on its way.
type entry struct {
	msg     event.Message
	in      jetstream.Msg
	refused int // how often, while others were stored
}

// next takes what there is, up to so many.
func (o *Outbox) next(most int) (batch []entry, err error) {
	fetched, err := o.entries.FetchNoWait(most)
	if err != nil {
		return nil, err
	}
	for in := range fetched.Messages() {
		batch = o.read(batch, in)
	}
	return batch, fetched.Error()
}

// awaitNext waits for an entry. Only the server knows when it can hand out what
// has just been stored: a little later than whoever stored it.
func (o *Outbox) awaitNext(ctx context.Context) (batch []entry, err error) {
	waiting, cancel := context.WithTimeout(ctx, nextWait)
	defer cancel()
	in, err := o.entries.Next(jetstream.FetchContext(waiting))
	switch {
	case err == nil:
		return o.read(nil, in), nil
	case waiting.Err() != nil, errors.Is(err, nats.ErrTimeout):
		return nil, nil
	default:
		return nil, err
	}
}

// read makes an entry of what the outbox handed out.
func (o *Outbox) read(batch []entry, in jetstream.Msg) []entry {
	msg, err := o.Encoder.Encode(deliveryOf(in.Headers(), in.Data()))
	if err != nil {
		// A fault of the relay's own: the entry stays, for a relay that is mended.
		o.park(entry{in: in}, err)
		return batch
	}
	return append(batch, entry{msg: msg, in: in})
}

// forward hands entries to the broker until it has each, or has refused it for
// what it is.
func (o *Outbox) forward(ctx context.Context, batch []entry) {
	pauses := retry.Backoff(minBackoff, maxBackoff)
	for len(batch) > 0 {
		left := o.try(ctx, batch)
		if len(left) == 0 || ctx.Err() != nil {
			return
		}
		if len(left) < len(batch) {
			pauses.Reset()
		}
		o.await(ctx, pauses.NextBackOff())
		batch = left
		// Those behind them show whether the broker refuses these or all.
		if room := batchSize - len(batch); room > 0 {
			more, err := o.next(room)
			if err != nil {
				o.Log.Error("the outbox cannot be read; it is tried again", "error", err)
			}
			batch = append(batch, more...)
		}
	}
}

// await waits before the next try: for a broker that is ready, since it often
// says when, but not for ever, since it may store what it says it would not.
func (o *Outbox) await(ctx context.Context, pause time.Duration) {
	ready := o.Broker.Ready() == nil
	for waited := time.Duration(0); waited < pause || !ready && waited < maxBackoff; waited += readyInterval {
		if retry.Sleep(ctx, readyInterval) != nil || !ready && o.Broker.Ready() == nil {
			return
		}
	}
}

// try sends entries in their order, removes those that the broker acknowledges,
// and returns those that are to be sent again.
func (o *Outbox) try(ctx context.Context, batch []entry) (left []entry) {
	// What has been sent when the relay stops is waited for a little, so that it is
	// not sent again by the next one.
	stopping := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryTimeout)
	defer cancel()
	defer context.AfterFunc(stopping, func() { time.AfterFunc(stopGrace, cancel) })()
	msgs := make([]event.Message, len(batch))
	for i, e := range batch {
		msgs[i] = e.msg
	}
	spans := make([]*telemetry.PublishSpan, len(batch))
	for i, msg := range msgs {
		spans[i] = o.Tracing.StartForward(msg.Delivery.Attributes["traceparent"], msg.Delivery.Attributes["tracestate"])
	}
	sendings := o.Broker.PublishAsync(msgs)
	var stored []entry
	var cause error
	doubtful := 0 // refused, for what they are or as all would be
	for i, e := range batch {
		receipt, err := sendings[i].Wait(ctx)
		switch {
		case err == nil:
			// A try that failed has no span: there may be one every few seconds for hours.
			spans[i].End(telemetry.PublishResult{
				Operation: "forward", Subject: e.msg.Subject, ID: e.msg.ID, Size: len(e.msg.Data),
				Stream: receipt.Stream, Sequence: receipt.Sequence, Duplicate: receipt.Duplicate,
			})
			o.forwarded(e, receipt)
			stored = append(stored, e)
			continue
		case reasonOf(err) == store.TooLarge:
			o.park(e, err)
			continue
		case reasonOf(err) == store.BrokerError:
			doubtful++
		}
		left, cause = append(left, e), err
	}
	if len(stored) > 0 && doubtful == len(left) {
		// The broker takes others. If it does so again, it is for what they are.
		left = slices.DeleteFunc(left, func(e entry) bool {
			if e.refused > 0 {
				o.park(e, cause)
			}
			return e.refused > 0
		})
		for i := range left {
			left[i].refused++
		}
	}
	o.remove(stopping, stored)
	if len(left) > 0 && stopping.Err() == nil && o.Broker.Ready() == nil { // else readiness tells
		o.Log.Warn("the broker does not take webhooks from the outbox; they are tried again", "messages", len(left), "error", cause)
	}
	return left
}

// forwarded tells what became of a webhook that was answered long ago.
func (o *Outbox) forwarded(e entry, receipt store.Receipt) {
	outcome := telemetry.Published
	switch {
	case receipt.Conflict:
		outcome = telemetry.Conflict
		o.Log.Warn("a webhook from the outbox contradicts the event that is stored for its task; it is in the quarantine", "taskId", e.msg.ID, "stream", receipt.Stream, "sequence", receipt.Sequence)
	case receipt.Duplicate:
		outcome = telemetry.Duplicate
	case e.msg.Kind == event.RejectedDelivery:
		outcome = telemetry.Quarantined
	}
	o.Metrics.Forwarded(outcome)
}

// park lets the others pass an entry.
func (o *Outbox) park(e entry, why error) {
	o.Log.Error("a webhook in the outbox is set aside; it stays there and is tried again", "id", e.msg.ID, "in", parkTime, "error", why)
	_ = e.in.NakWithDelay(parkTime) // lost, it comes after ackWait
}

// reasonOf is why the broker refused, or empty if it did not say.
func reasonOf(err error) store.Code {
	var refusal *store.Error
	if !errors.As(err, &refusal) {
		return ""
	}
	return refusal.Code
}

// report tells in the log what waits, while something does.
func (o *Outbox) report(ctx context.Context) {
	ticker := time.NewTicker(reportInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if s := o.Stats(); s.Messages > 0 {
			o.Log.Warn("webhooks wait in the outbox", "messages", s.Messages, "bytes", s.Bytes, "oldest", s.Age)
		}
	}
}
