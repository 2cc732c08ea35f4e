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
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// attemptTimeout bounds one try: a replica that is not the leader, and a store
	// with an I/O error, never answer.
	attemptTimeout = 4 * time.Second
	// Back-off between tries, doubling from the first to the last figure.
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
	// maxPending is how many messages may wait for their acknowledgement: more
	// than whoever hands them over lets through at once.
	maxPending = 1 << 20
)

// Publisher stores messages in the relay's two streams. It may be used by many
// goroutines.
type Publisher struct {
	conn    *nats.Conn
	js      jetstream.JetStream
	cfg     config.Stream
	encoder event.Encoder
	maxSize int64 // of a message, in bytes
	metrics *telemetry.Metrics
	log     *slog.Logger

	streams atomic.Pointer[streamsState]
	denials denials
	full    atomic.Pointer[time.Time] // when a message was refused for that; nil since one was stored
	stored  *outcomes
	recheck chan struct{}
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// New makes a publisher over a connection. The encoder is that of the messages
// that it will be given, and maxMessage the size of the largest, in bytes.
func New(conn *nats.Conn, cfg config.Stream, encoder event.Encoder, maxMessage int64, metrics *telemetry.Metrics, log *slog.Logger) (*Publisher, error) {
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncTimeout(attemptTimeout), jetstream.WithPublishAsyncMaxPending(maxPending))
	if err != nil {
		return nil, fmt.Errorf("JetStream cannot be used: %w", err)
	}
	p := &Publisher{
		conn: conn, js: js, cfg: cfg, encoder: encoder, maxSize: maxMessage, metrics: metrics, log: log,
		stored: newOutcomes(), recheck: make(chan struct{}, 1),
	}
	p.streams.Store(&streamsState{err: errors.New("the streams have not been looked at yet")})
	return p, nil
}

// Store publishes a message and waits until the broker has acknowledged that it
// is stored, within the deadline of ctx. Its error is a *event.Refusal.
//
// It tries again while that can help. A try that timed out may have been stored
// all the same: the next one is then answered as a duplicate. A duplicate that
// tells another outcome than the event that is stored is kept in the
// quarantine, and a conflict.
func (p *Publisher) Store(ctx context.Context, msg event.Message) (event.Receipt, error) {
	return p.Send(msg).Receipt(ctx)
}

// sending is a message on its way to the broker.
type sending struct {
	p      *Publisher
	msg    event.Message
	start  time.Time
	ack    jetstream.PubAckFuture
	denied <-chan struct{}
	err    error // of handing it to the connection
}

// Send hands a message to the broker and does not wait. Messages that are sent
// one after the other are stored in this order, unless one of them is refused.
func (p *Publisher) Send(msg event.Message) event.Sending {
	s := &sending{p: p, msg: msg, start: time.Now()}
	s.send()
	return s
}

func (s *sending) send() {
	// What is sent while disconnected would wait out its time.
	if !s.p.conn.IsConnected() {
		s.err = nats.ErrDisconnected
		return
	}
	s.denied = s.p.denials.of(s.msg.Subject)
	s.ack, s.err = s.p.js.PublishMsgAsync(natsMsg(s.msg), jetstream.WithRetryAttempts(0))
}

// Receipt is what Store returns for a message that has been sent.
func (s *sending) Receipt(ctx context.Context) (event.Receipt, error) {
	p := s.p
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		ack, err := s.wait(ctx)
		if err == nil {
			p.metrics.Acknowledged(time.Since(s.start))
			return p.acknowledged(ctx, s.msg, ack)
		}
		p.checkSoon() // so that readiness tells what senders are told
		reason, again := p.classify(s.msg.Subject, err)
		if reason == event.StreamFull {
			now := time.Now()
			p.full.Store(&now)
		}
		if !again {
			return event.Receipt{}, &event.Refusal{Reason: reason, Err: err}
		}
		// Many webhooks that fail together should not come back together.
		if !sleep(ctx, backoff/2+rand.N(backoff)) {
			reason, _ = p.classify(s.msg.Subject, err) // more may be known by now
			return event.Receipt{}, outOfTime(reason, err)
		}
		s.send()
	}
}

// wait returns the broker's word on one try.
func (s *sending) wait(ctx context.Context) (*jetstream.PubAck, error) {
	if s.err != nil {
		return nil, s.err
	}
	select {
	case ack := <-s.ack.Ok():
		s.p.denials.lift(s.msg.Subject)
		s.p.full.Store(nil)
		// Another stream that takes the subject is not what a 200 means. Asking the
		// broker to check it would leave a header in every event, on which whoever
		// forwards events to a stream of his own would stumble.
		if want := s.p.streamOf(s.msg.Subject); ack.Stream != want {
			return nil, fmt.Errorf("%w: %s took the subject %s, which belongs to %s", errWrongStream, ack.Stream, s.msg.Subject, want)
		}
		return ack, nil
	case err := <-s.ack.Err():
		return nil, err
	case <-s.denied:
		return nil, &DeniedError{s.msg.Subject}
	case <-ctx.Done():
		return nil, fmt.Errorf("no acknowledgement came: %w", context.Cause(ctx))
	}
}

var errWrongStream = errors.New("the wrong stream acknowledged")

// natsMsg makes a message of its own for each try, since the client writes
// headers into what it is given.
func natsMsg(msg event.Message) *nats.Msg {
	header := make(nats.Header, len(msg.Header)+1)
	for name, values := range msg.Header {
		header[name] = values
	}
	header[jetstream.MsgIDHeader] = []string{msg.ID}
	return &nats.Msg{Subject: msg.Subject, Header: header, Data: msg.Data}
}

// acknowledged makes the receipt of what is stored, now or before.
func (p *Publisher) acknowledged(ctx context.Context, msg event.Message, ack *jetstream.PubAck) (event.Receipt, error) {
	receipt := event.Receipt{Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}
	switch {
	case msg.Webhook == nil:
		return receipt, nil
	case !ack.Duplicate:
		p.stored.remember(ack.Sequence, msg.ID, msg.Webhook.EventData)
		return receipt, nil
	}
	detail, err := p.contradiction(ctx, msg, ack.Sequence)
	if err != nil || detail == "" {
		return receipt, err
	}
	conflict, err := p.encoder.Conflict(msg, detail)
	if err != nil {
		return event.Receipt{}, &event.Refusal{Reason: event.BrokerError, Err: err}
	}
	if _, err = p.Store(ctx, conflict); err != nil {
		return event.Receipt{}, err
	}
	receipt.Conflict = true
	return receipt, nil
}

// streamOf is the stream in which a subject is stored.
func (p *Publisher) streamOf(subject string) string {
	if subjectMatches(schema.QuarantineSubjects(p.cfg.Prefix), subject) {
		return p.cfg.Quarantine
	}
	return p.cfg.Name
}

// sleep waits, and reports whether the time was there.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
