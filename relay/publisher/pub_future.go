package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
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

var errBusy = errors.New("the broker is busy with those before it")

// noRetries has nats.go not try again by itself, where nothing takes the subject.
var noRetries = jetstream.WithRetryAttempts(0)

// pendingBytes is how much of maxPendingBytes the message takes.
func (s *pubFuture) pendingBytes() int64 {
	return min(max(int64(len(s.msg.Data)), maxPendingBytes/maxPending), maxPendingBytes)
}

// publish hands the message to the connection. Its error is a *notSentError. The room for it,
// which must be acquired before, is released when the broker's word has been waited for, or
// with the error.
func (s *pubFuture) publish() error {
	future, err := s.publishAsync()
	if err != nil {
		s.p.pending.Release(s.pendingBytes())
		return &notSentError{err}
	}
	s.future = future
	return nil
}

func (s *pubFuture) publishAsync() (jetstream.PubAckFuture, error) {
	l, ok := s.p.connection()
	if !ok {
		return nil, nats.ErrDisconnected
	}
	header := make(nats.Header, len(s.msg.Header)+1) // events share theirs
	maps.Copy(header, s.msg.Header)
	header[jetstream.MsgIDHeader] = []string{s.id}
	s.denied = s.p.permissions.watch(s.msg.Subject)
	return l.js.PublishMsgAsync(&nats.Msg{Subject: s.msg.Subject, Header: header, Data: s.msg.Data}, noRetries)
}

// awaitAck returns the broker's word: it, or a *jetstream.APIError, a *DeniedError, or
// another error after which the message may be stored or not.
func (s *pubFuture) awaitAck(ctx context.Context) (ack jetstream.PubAck, err error) {
	defer func() {
		s.future = nil
		s.p.pending.Release(s.pendingBytes())
	}()
	select {
	case ack := <-s.future.Ok():
		return *ack, nil
	case err = <-s.future.Err():
	case <-s.denied:
		err = &DeniedError{s.msg.Subject}
	case <-ctx.Done():
		err = fmt.Errorf("no acknowledgement came: %w", context.Cause(ctx))
	}
	if errors.Is(err, jetstream.ErrAsyncPublishTimeout) {
		err = errNoAck
	}
	return ack, err
}
