// Package publisher stores messages in JetStream: it makes and checks the
// streams, publishes with acknowledgement, retries what is worth retrying, and
// tells duplicates from conflicts.
//
// It must not know HTTP.
package publisher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

const (
	// Back-off between tries, doubling from the first to the last figure.
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
)

// Publisher stores messages in the relay's two streams. It may be used by many
// goroutines.
type Publisher struct {
	service.Background
	cfg     config.Stream
	encoder event.Encoder
	maxSize int64 // of a message, in bytes
	metrics *telemetry.Metrics
	tracing *telemetry.Tracing
	log     *slog.Logger

	events, quarantine *streamWatcher
	warned             map[string]map[string]bool // keys of issues by stream; only a look uses it

	session        atomic.Pointer[session]
	disconnectedAt atomic.Pointer[time.Time] // when the connection was, nil while it is there
	connectedAt    atomic.Pointer[time.Time] // when it was made, nil before the first
	streams        atomic.Pointer[streamsState]
	// interrupt ends the look at the streams that is under way, if any is.
	interrupt   atomic.Pointer[context.CancelCauseFunc]
	permissions permissionTracker
	// When a message was refused for want of room, and when one was not answered;
	// nil since one was stored.
	lastFull, lastAckTimeout atomic.Pointer[time.Time]
	fullSeen                 *time.Time // full as the last look at the streams saw it
	fullBytes                uint64     // and their size at the first look that did
	outcomes                 *outcomeCache
	removed                  atomic.Pointer[removals]
	pending                  *semaphore.Weighted // in bytes, with the broker
	arrived                  chan struct{}       // a connection
	recheck                  chan struct{}       // somebody wants to know how the streams are
	changes                  chan struct{}       // the broker tells of one
}

// New makes a publisher, which follows a broker's connection. The encoder is
// that of the messages that it will be given, and maxMessage the size of the
// largest, in bytes. Without tracing that is nil.
func New(cfg config.Stream, encoder event.Encoder, maxMessage int64, metrics *telemetry.Metrics, tracing *telemetry.Tracing, log *slog.Logger) *Publisher {
	p := &Publisher{
		cfg: cfg, encoder: encoder, maxSize: maxMessage, metrics: metrics, tracing: tracing, log: log,
		warned:   make(map[string]map[string]bool),
		outcomes: newOutcomeCache(),
		pending:  semaphore.NewWeighted(maxPendingBytes),
		arrived:  make(chan struct{}, 1), recheck: make(chan struct{}, 1), changes: make(chan struct{}, 1),
	}
	events, quarantine := DesiredStreams(cfg)
	p.events = newStreamWatcher(Requirements{Config: events, Given: cfg.Given, MaxMessage: maxMessage, Leaf: cfg.Domain != ""})
	p.quarantine = newStreamWatcher(Requirements{Config: quarantine, Given: cfg.Given, MaxMessage: maxMessage})
	p.streams.Store(&streamsState{err: errors.New("the streams have not been looked at yet")})
	return p
}

// Store publishes a message and waits until the broker has acknowledged that it
// is stored, within the deadline of ctx. Its error is a *store.Error.
//
// It tries again while that can help. A try that timed out may have been stored
// all the same: the next one finds it, and it counts as stored now. A duplicate
// whose first copy is gone is stored anew, and one that tells another outcome than
// the event that is stored is kept in the quarantine, and a conflict.
func (p *Publisher) Store(ctx context.Context, msg event.Message) (store.Receipt, error) {
	m := p.watcherOf(msg.Kind)
	s := &pubFuture{p: p, msg: msg, id: msg.ID, start: time.Now(), changes: m.changes.Load()}
	if unfit := m.refuses(); unfit != nil {
		return store.Receipt{}, &store.Error{Code: store.BrokerError, Err: unfit}
	}
	return s.Wait(ctx)
}

// pubFuture is a message on its way to the broker.
type pubFuture struct {
	p       *Publisher
	msg     event.Message
	id      string // under which it is sent: see event.CopyID
	copy    int
	start   time.Time
	changes uint64 // how many changes of its stream had been told before it was sent
	once    bool   // no other try

	// future is the broker's word on a try, nil while none is under way, and denied is
	// closed when the broker does not let this user publish.
	future jetstream.PubAckFuture
	denied <-chan struct{}
}

// PublishAsync hands messages to the broker and does not wait. They are stored in their
// order, unless one of them is refused, and are tried once.
func (p *Publisher) PublishAsync(msgs []event.Message) []store.Future {
	sendings := make([]store.Future, len(msgs))
	// What has to be asked for first is sent when its receipt is waited for, and in
	// that order.
	later := slices.ContainsFunc(msgs, p.mayHaveForgotten)
	var failed error // of one that was not sent, which those behind it must not pass
	for i, msg := range msgs {
		m := p.watcherOf(msg.Kind)
		s := &pubFuture{p: p, msg: msg, id: msg.ID, start: time.Now(), changes: m.changes.Load(), once: true}
		if unfit := m.refuses(); unfit != nil {
			sendings[i] = failedFuture{&store.Error{Code: store.BrokerError, Err: unfit}}
			continue
		}
		sendings[i] = s
		switch {
		case later:
			continue
		case failed == nil && !p.pending.TryAcquire(s.pendingBytes()):
			failed = errBusy // of one of these, maybe, which has not been waited for
		case failed == nil:
			failed = s.publish()
		}
		if failed != nil {
			reason, _ := p.classify(msg.Kind, s.start, failed)
			sendings[i] = failedFuture{&store.Error{Code: reason, Err: failed}}
		}
	}
	return sendings
}

// failedFuture is a message that was refused before it was sent.
type failedFuture struct{ refusal *store.Error }

// Wait implements store.Future.
func (s failedFuture) Wait(context.Context) (store.Receipt, error) {
	return store.Receipt{}, s.refusal
}

// Wait implements store.Future.
func (s *pubFuture) Wait(ctx context.Context) (store.Receipt, error) {
	ack, retried, err := s.acknowledgement(ctx)
	if err != nil {
		return store.Receipt{}, err
	}
	return s.settle(ctx, ack, retried)
}

// acknowledgement waits for the broker's word on the message, and sends it again while
// that can help; retried says that a try before the acknowledged one may have
// stored it. Its error is a *store.Error.
func (s *pubFuture) acknowledgement(ctx context.Context) (ack jetstream.PubAck, retried bool, err error) {
	p := s.p
	var cause error // of the last try that ended by itself
	ack, err = retry.Do(ctx, retry.Backoff(minBackoff, maxBackoff), func() (jetstream.PubAck, error) {
		ack, err := s.attempt(ctx)
		if err == nil {
			p.metrics.Acknowledged(time.Since(s.start))
			return ack, nil
		}
		if ctx.Err() == nil || cause == nil {
			cause = err
		}
		if isAmbiguous(err) {
			retried = true
			p.lastAckTimeout.Store(new(time.Now()))
		}
		p.requestCheck() // so that readiness tells what senders are told
		reason, again := p.classify(s.msg.Kind, s.start, cause)
		if reason == store.StreamFull {
			p.lastFull.Store(new(time.Now()))
		}
		if !again || s.once {
			return ack, backoff.Permanent(&store.Error{Code: reason, Err: cause})
		}
		telemetry.AddRetryEvent(ctx, cause)
		return ack, cause
	})
	if _, refused := err.(*store.Error); err != nil && !refused {
		reason, _ := p.classify(s.msg.Kind, s.start, cause) // more may be known by now
		err = outOfTime(reason, cause)
	}
	return ack, retried, err
}

// attempt returns the broker's word on one try, which it makes unless it was made. What
// the broker may have forgotten is asked for first.
func (s *pubFuture) attempt(ctx context.Context) (ack jetstream.PubAck, err error) {
	if s.future == nil {
		if s.copy == 0 && s.p.mayHaveForgotten(s.msg) {
			ack, known, err := s.findCopy(ctx)
			if known || err != nil {
				return ack, err
			}
		}
		if s.p.pending.Acquire(ctx, s.pendingBytes()) != nil {
			return ack, &notSentError{fmt.Errorf("%w: %w", errBusy, context.Cause(ctx))}
		}
		if err := s.publish(); err != nil {
			return ack, err
		}
	}
	return s.wait(ctx)
}

// wait returns the broker's word on one try.
func (s *pubFuture) wait(ctx context.Context) (jetstream.PubAck, error) {
	ack, err := s.awaitAck(ctx)
	if err != nil {
		return ack, err
	}
	s.p.permissions.clear(s.msg.Subject)
	s.p.lastFull.Store(nil)
	s.p.lastAckTimeout.Store(nil)
	// Another stream that takes the subject is not what a 200 means. Asking the
	// broker to check it would leave a header in every event, on which whoever
	// forwards events to a stream of his own would stumble.
	m := s.p.watcherOf(s.msg.Kind)
	if want := m.needs.Config.Name; ack.Stream != want {
		return ack, fmt.Errorf("%w: %s took the subject %s, which belongs to %s", errWrongStream, ack.Stream, s.msg.Subject, want)
	}
	return ack, s.p.confirmStream(ctx, m, s.changes, s.id, ack)
}

var errWrongStream = errors.New("the wrong stream acknowledged")
