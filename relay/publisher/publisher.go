// Package publisher stores messages in JetStream: it makes and checks the
// streams, publishes with acknowledgement, retries what is worth retrying, and
// tells duplicates.
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
)

// Publisher stores messages in the relay's two streams. It may be used by many
// goroutines.
type Publisher struct {
	conn    *nats.Conn
	js      jetstream.JetStream
	cfg     config.Stream
	maxSize int64 // of a message, in bytes
	metrics *telemetry.Metrics
	log     *slog.Logger

	streams atomic.Pointer[streamsState]
	recheck chan struct{}
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// New makes a publisher over a connection. maxMessage is the size of the
// largest message that it will be given, in bytes.
func New(conn *nats.Conn, cfg config.Stream, maxMessage int64, metrics *telemetry.Metrics, log *slog.Logger) (*Publisher, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("JetStream cannot be used: %w", err)
	}
	return &Publisher{
		conn: conn, js: js, cfg: cfg, maxSize: maxMessage, metrics: metrics, log: log,
		recheck: make(chan struct{}, 1),
	}, nil
}

// Store publishes a message and waits until the broker has acknowledged that it
// is stored, within the deadline of ctx. Its error is a *event.Refusal.
//
// It tries again while that can help. A try that timed out may have been stored
// all the same: the next one is then answered as a duplicate.
func (p *Publisher) Store(ctx context.Context, msg event.Message) (event.Receipt, error) {
	start := time.Now()
	backoff := minBackoff
	for {
		ack, err := p.try(ctx, msg)
		if err == nil {
			p.metrics.Acknowledged(time.Since(start))
			return event.Receipt{Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
		}
		reason, again := classify(err)
		p.checkSoon() // so that readiness tells what senders are told
		if !again {
			return event.Receipt{}, &event.Refusal{Reason: reason, Err: err}
		}
		// Many webhooks that fail together should not come back together.
		timer := time.NewTimer(backoff/2 + rand.N(backoff))
		select {
		case <-ctx.Done():
			timer.Stop()
			return event.Receipt{}, &event.Refusal{Reason: reason, Err: fmt.Errorf("the time for this webhook is used up: %w", err)}
		case <-timer.C:
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func (p *Publisher) try(ctx context.Context, msg event.Message) (*jetstream.PubAck, error) {
	// A request that is sent while disconnected would wait out its time.
	if !p.conn.IsConnected() {
		return nil, nats.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	ack, err := p.js.PublishMsg(ctx, natsMsg(msg), jetstream.WithRetryAttempts(0))
	if err != nil {
		return nil, err
	}
	// Another stream that takes the subject is not what a 200 means. Asking the
	// broker to check it would leave a header in every event, on which whoever
	// forwards events to a stream of his own would stumble.
	if want := p.streamOf(msg.Subject); ack.Stream != want {
		return nil, fmt.Errorf("%w: %s took the subject %s, which belongs to %s", errWrongStream, ack.Stream, msg.Subject, want)
	}
	return ack, nil
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

// streamOf is the stream in which a subject is stored.
func (p *Publisher) streamOf(subject string) string {
	if subjectMatches(schema.QuarantineSubjects(p.cfg.Prefix), subject) {
		return p.cfg.Quarantine
	}
	return p.cfg.Name
}

// Error codes of the JetStream API (nats-server, errors.json) that the client
// has no names for.
const (
	codeClusterNotAvailable    jetstream.ErrorCode = 10008 // no quorum in the meta group
	codeClusterNotLeader       jetstream.ErrorCode = 10009
	codeInsufficientResources  jetstream.ErrorCode = 10023
	codeMemoryExceeded         jetstream.ErrorCode = 10028
	codeStorageExceeded        jetstream.ErrorCode = 10047
	codeStoreFailed            jetstream.ErrorCode = 10077 // full with discard new, or a write error
	codeMaxStreamBytesExceeded jetstream.ErrorCode = 10122
	codeDuplicateInFlight      jetstream.ErrorCode = 10158 // the same id is being replicated
	codeWrongLastSequence      jetstream.ErrorCode = 10164 // the same, under an older check
	codeTooManyRequests        jetstream.ErrorCode = 10167
)

// classify says what an error of a try means, and whether another try can help.
func classify(err error) (reason event.Reason, again bool) {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode {
		case codeDuplicateInFlight, codeWrongLastSequence, codeTooManyRequests,
			codeClusterNotLeader, codeClusterNotAvailable, codeInsufficientResources:
			return event.BrokerUnavailable, true
		case codeStorageExceeded, codeMemoryExceeded, codeMaxStreamBytesExceeded:
			return event.StreamFull, false
		case codeStoreFailed:
			if isFull(api.Description) {
				return event.StreamFull, false
			}
			return event.BrokerError, false
		default:
			return event.BrokerError, false
		}
	}
	switch {
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		// Nobody takes the subject: the stream is gone, or it is electing a leader.
		return event.StreamMissing, true
	case errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionReconnecting):
		// The sender's next call finds a broker, or another relay.
		return event.BrokerUnavailable, false
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, jetstream.ErrInvalidJSAck), errors.Is(err, errWrongStream):
		return event.BrokerError, false
	default:
		return event.BrokerUnavailable, true // time-outs above all
	}
}
