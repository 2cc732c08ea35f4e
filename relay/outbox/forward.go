package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
)

const (
	// consumer is the name of the one that reads the outbox.
	consumer = "forwarder"
	// window is how many entries are on their way to the broker at once: enough
	// for its round trip not to count, and a bound on the memory that it takes.
	window = 64
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
	// asideFor is how long an entry is set aside that the broker refuses for what
	// it is, so that it does not hold up the others.
	asideFor = 30 * time.Second
	// reportInterval is how often the log tells that webhooks are waiting.
	reportInterval = time.Minute
)

// Start begins to forward, until Stop.
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
	ctx, o.stop = context.WithCancel(context.WithoutCancel(ctx))
	o.done.Go(func() { o.forwardAll(ctx) })
	o.done.Go(func() { o.report(ctx) })
	return nil
}

// Stop ends forwarding. What waits is there at the next start.
func (o *Outbox) Stop() {
	if o.stop != nil {
		o.stop()
	}
	o.done.Wait()
}

// forwardAll takes entries in their order, a window at a time.
func (o *Outbox) forwardAll(ctx context.Context) {
	for ctx.Err() == nil {
		batch, err := o.next()
		if err != nil {
			o.log.Error("the outbox cannot be read; it is tried again", "error", err)
			sleep(ctx, maxBackoff)
			continue
		}
		if len(batch) > 0 {
			o.forward(ctx, batch)
			continue
		}
		o.recount(ctx)
		select {
		case <-ctx.Done():
		case <-o.kept:
		case <-time.After(asideFor):
		}
	}
}

// recount finds out how many entries there are, where counting has gone wrong
// because an acknowledgement was lost. What comes meanwhile is not uncounted:
// those after it must wait behind it.
func (o *Outbox) recount(ctx context.Context) {
	before := o.waiting.Load()
	if info, err := o.stream.Info(ctx); err == nil {
		o.waiting.CompareAndSwap(before, int64(info.State.Msgs))
	}
}

// entry is one on its way.
type entry struct {
	msg event.Message
	in  jetstream.Msg
}

// next takes what there is, up to a window.
func (o *Outbox) next() (batch []entry, err error) {
	fetched, err := o.entries.FetchNoWait(window)
	if err != nil {
		return nil, err
	}
	for in := range fetched.Messages() {
		msg, _, err := o.encoder.Message(deliveryOf(in.Headers(), in.Data()))
		if err != nil {
			// A fault of the relay's own: the entry stays, for a relay that is mended.
			o.log.Error("a webhook in the outbox cannot be made a message", "error", err)
			_ = in.NakWithDelay(asideFor)
			continue
		}
		batch = append(batch, entry{msg, in})
	}
	return batch, fetched.Error()
}

// forward hands entries to the broker until it has each, or has refused it for
// what it is.
func (o *Outbox) forward(ctx context.Context, batch []entry) {
	backoff := minBackoff
	for {
		left := o.try(ctx, batch)
		if len(left) == 0 || ctx.Err() != nil {
			return
		}
		if len(left) < len(batch) {
			backoff = minBackoff
		}
		batch = left
		o.await(ctx, backoff)
		backoff = min(2*backoff, maxBackoff)
	}
}

// await waits before the next try: for a broker that is ready, since it often
// says when, but not for ever, since it may store what it says it would not.
func (o *Outbox) await(ctx context.Context, backoff time.Duration) {
	ready := o.broker.Ready() == nil
	for waited := time.Duration(0); waited < backoff || !ready && waited < maxBackoff; waited += readyInterval {
		if !sleep(ctx, readyInterval) || !ready && o.broker.Ready() == nil {
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
	sendings := make([]event.Sending, len(batch))
	for i, e := range batch {
		sendings[i] = o.broker.Send(e.msg)
	}
	var refused error
	var stored []entry
	for i, e := range batch {
		receipt, err := sendings[i].Receipt(ctx)
		switch {
		case err == nil:
			if receipt.Conflict {
				o.log.Warn("a webhook from the outbox contradicts the event that is stored for its task; it is in the quarantine", "taskId", e.msg.ID, "stream", receipt.Stream, "sequence", receipt.Sequence)
			}
			stored = append(stored, e)
		case ofItself(err):
			o.log.Error("the broker refuses a webhook from the outbox; it stays there and is tried again", "id", e.msg.ID, "in", asideFor, "error", err)
			_ = e.in.NakWithDelay(asideFor)
		default:
			left, refused = append(left, e), err
		}
	}
	o.remove(ctx, stored)
	if refused != nil && stopping.Err() == nil && o.broker.Ready() == nil { // else readiness tells
		o.log.Warn("the broker does not take webhooks from the outbox; they are tried again", "messages", len(left), "error", refused)
	}
	return left
}

// remove takes entries out of the outbox. One whose removal is lost is
// forwarded again, and is a duplicate.
func (o *Outbox) remove(ctx context.Context, entries []entry) {
	var err error
	for i, e := range entries {
		if i < len(entries)-1 {
			err = errors.Join(err, e.in.Ack())
		} else {
			err = errors.Join(err, e.in.DoubleAck(ctx)) // after which the others are gone too
		}
	}
	if err != nil {
		o.log.Warn("forwarded webhooks could not be removed from the outbox", "messages", len(entries), "error", err)
	}
	if n := int64(len(entries)); n > 0 && o.waiting.Add(-n) == 0 {
		o.log.Info("the outbox is empty: all webhooks in it have been forwarded")
	}
}

// ofItself reports whether the broker refuses one message rather than all.
func ofItself(err error) bool {
	var refusal *event.Refusal
	if !errors.As(err, &refusal) {
		return false
	}
	return refusal.Reason == event.TooLarge || refusal.Reason == event.BrokerError
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
		if s := o.State(); s.Messages > 0 {
			o.log.Warn("webhooks wait in the outbox", "messages", s.Messages, "bytes", s.Bytes, "oldest", s.Age)
		}
	}
}

// sleep waits, and reports whether the time was there.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
