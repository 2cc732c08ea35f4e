package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

const (
	// Back-off between tries, doubling from the first to the last figure.
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
	// ackTimeout bounds one try: a replica that is not the leader, and a store with
	// an I/O error, never answer.
	ackTimeout = 4 * time.Second
	// maxPending and maxPendingBytes are how many messages, and of what size, may be with
	// the broker and not yet stored: half of what nats-server queues for a stream before
	// it drops messages (10,000, and 128 MiB).
	maxPending      = 5000
	maxPendingBytes = 64 << 20
)

// errNoAck is that of a message to which the broker did not reply in time.
var errNoAck = errors.New("the broker did not acknowledge it within " + ackTimeout.String())

// notSentError is that of a message which the broker cannot have stored, since it was not
// sent.
type notSentError struct{ err error }

// Error says why.
func (e *notSentError) Error() string { return e.err.Error() }

// Unwrap is the cause.
func (e *notSentError) Unwrap() error { return e.err }

var (
	errBusy        = errors.New("the broker is busy with those before it")
	errWrongStream = errors.New("the wrong stream acknowledged")
)

// noRetries has nats.go not try again by itself, where nothing takes the subject.
var noRetries = jetstream.WithRetryAttempts(0)

// pubFuture is a message on its way to the broker.
type pubFuture struct {
	p       *Publisher
	msg     event.Message
	id      string // under which it is sent: see event.CopyID
	copy    int
	start   time.Time
	changes uint64 // how many changes of its stream had been told before it was sent
	once    bool   // no other try
	// ambiguous: a try before the one that is acknowledged may have stored it.
	ambiguous bool

	// ack is the broker's word on a try, nil while none is under way, and denied is
	// closed when the broker does not let this user publish.
	ack    jetstream.PubAckFuture
	denied <-chan struct{}
}

// newFuture begins with a message, unless its stream must not be used. Its error is a
// *store.Error.
func (p *Publisher) newFuture(msg event.Message) (*pubFuture, error) {
	m := p.watcherOf(msg.Kind)
	s := &pubFuture{p: p, msg: msg, id: msg.ID, start: time.Now(), changes: m.changes.Load()}
	if unfit := m.refuses(); unfit != nil {
		return nil, &store.Error{Code: store.BrokerError, Err: unfit}
	}
	return s, nil
}

// Wait implements store.Future.
func (s *pubFuture) Wait(ctx context.Context) (store.Receipt, error) {
	ack, err := s.publishWithRetry(ctx)
	if err != nil {
		return store.Receipt{}, err
	}
	return s.settle(ctx, ack)
}

// publishWithRetry returns the broker's acknowledgement of the message, which it sends
// again while that can help. Its error is a *store.Error.
func (s *pubFuture) publishWithRetry(ctx context.Context) (jetstream.PubAck, error) {
	s.ambiguous = false
	var cause error // of the last try that ended by itself
	ack, err := retry.Do(ctx, retry.Backoff(minBackoff, maxBackoff), func() (jetstream.PubAck, error) {
		ack, err := s.try(ctx)
		if err == nil {
			s.p.metrics.Acknowledged(time.Since(s.start))
			return ack, nil
		}
		if ctx.Err() == nil || cause == nil {
			cause = err
		}
		code, again := s.tryFailed(err, cause)
		if !again || s.once {
			return ack, backoff.Permanent(&store.Error{Code: code, Err: cause})
		}
		telemetry.AddRetryEvent(ctx, cause)
		return ack, cause
	})
	if _, refused := err.(*store.Error); err != nil && !refused {
		code, _ := s.p.classify(s.msg.Kind, s.start, cause) // more may be known by now
		err = outOfTime(code, cause)
	}
	return ack, err
}

// tryFailed notes what the failure of a try says of the broker and of the message, and
// reports whether another one can help. The cause is err, or the failure before it, where
// err is no more than that the time was up.
func (s *pubFuture) tryFailed(err, cause error) (code store.Code, again bool) {
	if isAmbiguous(err) {
		s.ambiguous = true
		s.p.broker.ackTimedOut()
	}
	s.p.requestCheck() // so that readiness tells what senders are told
	code, again = s.p.classify(s.msg.Kind, s.start, cause)
	if code == store.StreamFull {
		s.p.broker.streamFull()
	}
	return code, again
}

// try returns the broker's acknowledgement of one try, which it makes unless
// [Publisher.PublishAsync] has. What the broker may have forgotten is asked for first.
func (s *pubFuture) try(ctx context.Context) (ack jetstream.PubAck, err error) {
	if s.ack == nil {
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
	if ack, err = s.awaitAck(ctx); err != nil {
		return ack, err
	}
	s.p.broker.acknowledged(s.msg.Subject)
	return ack, s.confirmAck(ctx, ack)
}

// pendingBytes is how much of maxPendingBytes the message takes.
func (s *pubFuture) pendingBytes() int64 {
	return min(max(int64(len(s.msg.Data)), maxPendingBytes/maxPending), maxPendingBytes)
}

// publish hands the message to the connection. Its error is a *notSentError. The room for it,
// which must be acquired before, is released when the broker's word has been waited for, or
// with the error.
func (s *pubFuture) publish() error {
	ack, err := s.publishAsync()
	if err != nil {
		s.p.pending.Release(s.pendingBytes())
		return &notSentError{err}
	}
	s.ack = ack
	return nil
}

func (s *pubFuture) publishAsync() (jetstream.PubAckFuture, error) {
	l, ok := s.p.broker.connection()
	if !ok {
		return nil, nats.ErrDisconnected
	}
	header := make(nats.Header, len(s.msg.Header)+1) // events share theirs
	maps.Copy(header, s.msg.Header)
	header[jetstream.MsgIDHeader] = []string{s.id}
	s.denied = s.p.broker.permissions.Watch(s.msg.Subject)
	return l.js.PublishMsgAsync(&nats.Msg{Subject: s.msg.Subject, Header: header, Data: s.msg.Data}, noRetries)
}

// awaitAck waits for the acknowledgement of what was published. Its error is a
// *jetstream.APIError, a *broker.PermissionError, or another one after which the message may be stored or not.
func (s *pubFuture) awaitAck(ctx context.Context) (ack jetstream.PubAck, err error) {
	defer func() {
		s.ack = nil
		s.p.pending.Release(s.pendingBytes())
	}()
	select {
	case ack := <-s.ack.Ok():
		return *ack, nil
	case err = <-s.ack.Err():
	case <-s.denied:
		err = &broker.PermissionError{Subject: s.msg.Subject}
	case <-ctx.Done():
		err = fmt.Errorf("no acknowledgement came: %w", context.Cause(ctx))
	}
	if errors.Is(err, jetstream.ErrAsyncPublishTimeout) {
		err = errNoAck
	}
	return ack, err
}

// isOurDomain reports whether an acknowledgement can be that of the relay's stream, by the
// JetStream domain in it. NATS_JS_DOMAIN may also be the prefix under which an account's
// streams are imported, whose servers need no domain.
func (p *Publisher) isOurDomain(acknowledged string) bool {
	return acknowledged == "" || p.cfg.Domain == "" || acknowledged == p.cfg.Domain
}

// confirmAck returns an error if an acknowledgement does not mean that the message is
// stored for good.
//
// Another stream that takes the subject is not what a 200 means, and neither is one of the
// same name in another JetStream domain: that of a leaf node which has its own, and is
// nearer than the hub. Asking the broker to
// check it would leave a header in every event, on which whoever forwards events to a
// stream of his own would stumble.
func (s *pubFuture) confirmAck(ctx context.Context, ack jetstream.PubAck) error {
	m := s.p.watcherOf(s.msg.Kind)
	if want := m.needs.Config.Name; ack.Stream != want {
		return fmt.Errorf("%w: %s took the subject %s, which belongs to %s", errWrongStream, ack.Stream, s.msg.Subject, want)
	}
	if !s.p.isOurDomain(ack.Domain) {
		return fmt.Errorf("%w: a stream %s in the JetStream domain %q took the subject %s, which belongs to the one in the domain %s (NATS_JS_DOMAIN); take that subject, or that stream, away from the server in NATS_URL", errWrongStream, ack.Stream, ack.Domain, s.msg.Subject, s.p.cfg.Domain)
	}
	return s.p.confirmStream(ctx, m, s.changes, s.id, ack)
}
