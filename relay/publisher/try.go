package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
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

// try is a message that was handed to the connection, until the broker has said whether it
// is stored.
type try struct {
	subject string
	future  jetstream.PubAckFuture
	denied  <-chan struct{} // closed when the broker does not let this user publish
	done    func()
}

var errBusy = errors.New("the broker is busy with those before it")

// roomFor is how much of maxPendingBytes a message takes.
func roomFor(msg event.Message) int64 {
	return min(max(int64(len(msg.Data)), maxPendingBytes/maxPending), maxPendingBytes)
}

// begin hands a message to the connection, under an id. Its error is a *notSentError. The
// room for it, which must be acquired before, is released when the try has been waited for,
// or with the error.
func (p *Publisher) begin(msg event.Message, id string) (*try, error) {
	done := func() { p.room.Release(roomFor(msg)) }
	l, ok := p.connection()
	if !ok {
		done()
		return nil, &notSentError{nats.ErrDisconnected}
	}
	header := make(nats.Header, len(msg.Header)+1) // events share theirs
	maps.Copy(header, msg.Header)
	header[jetstream.MsgIDHeader] = []string{id}
	denied := p.denials.of(msg.Subject)
	future, err := l.js.PublishMsgAsync(&nats.Msg{Subject: msg.Subject, Header: header, Data: msg.Data}, jetstream.WithRetryAttempts(0))
	if err != nil {
		done()
		return nil, &notSentError{err}
	}
	return &try{subject: msg.Subject, future: future, denied: denied, done: done}, nil
}

// wait returns the broker's word: it, or a *jetstream.APIError, a *DeniedError, or
// another error after which the message may be stored or not. It must be called once.
func (t *try) wait(ctx context.Context) (ack jetstream.PubAck, err error) {
	defer t.done()
	select {
	case ack := <-t.future.Ok():
		return *ack, nil
	case err = <-t.future.Err():
	case <-t.denied:
		err = &DeniedError{t.subject}
	case <-ctx.Done():
		err = fmt.Errorf("no acknowledgement came: %w", context.Cause(ctx))
	}
	if errors.Is(err, jetstream.ErrAsyncPublishTimeout) {
		err = errNoAck
	}
	return ack, err
}
