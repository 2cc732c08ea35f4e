// Package streamreader reads the messages of a stream, in order and in bounded memory, and
// follows new ones if asked to; or in pages, the newest first.
//
// It leaves nothing in the broker: its consumers are ephemeral, acknowledge nothing, and are
// deleted at the end. It must not know what the messages are used for.
package streamreader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/jserr"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// prefetchMessages and prefetchBytes bound what is on its way to a reader that
	// takes its time. An embedded broker closes the connection of a reader for whom more
	// than 8 MiB wait.
	prefetchMessages = 500
	prefetchBytes    = 4 << 20
	// maxSilence is after how long without a message it is asked whether any is left:
	// those at the end may have been deleted meanwhile.
	maxSilence = 5 * time.Second
	// maxResets is how often a reader that is to end begins anew before it gives up
	// on a broker that is away: with the client's back-off about half a minute.
	maxResets = 6
	// heartbeat is how often the broker shows that it still has the consumer. After two
	// that are missing, which must be before silence, the client makes another one.
	heartbeat = 2 * time.Second
	// inactiveThreshold is after how long without a request the broker deletes a consumer whose
	// reader has not, because it was killed or may not. A reader that takes its time
	// has nothing to ask for, so that something is asked for its sake now and then: see
	// [reader.keepAlive].
	inactiveThreshold = 6 * time.Second
)

// Selection says which messages to read.
type Selection struct {
	// Domain is the JetStream domain that has the stream; empty means that of the
	// server that is connected to.
	Domain string
	// Stream is the stream's name, and Subjects are those of its subjects to read;
	// wildcards may be in them.
	Stream   string
	Subjects []string
	// FromSeq is the first sequence. With 0, Since is the time from which on messages
	// were stored; if that is zero too, only those are read that come from now on.
	FromSeq uint64
	Since   time.Time
	// ToSeq and Until are the last sequence and the last time of storing to read; 0
	// and zero mean no such bound.
	ToSeq uint64
	Until time.Time
	// Follow goes on with what comes. Without it, reading ends with the last message
	// that is there when it begins.
	Follow bool
	// HeadersOnly leaves the payload in the broker: Data is nil then, and Event empty.
	HeadersOnly bool
	// CaughtUp is called with Follow, once, when all has been read that is there so
	// far; it may be nil.
	CaughtUp func()

	inactiveThreshold time.Duration // the constant if it is 0
	prefetch          int           // messages; the constant if it is 0
}

// Message is one message of a stream.
type Message struct {
	// Sequence and Stored are its place in the stream and when it got there.
	Sequence uint64
	Stored   time.Time
	// Subject is the NATS subject; Header and Data are the message as it is stored.
	Subject string
	Header  nats.Header
	Data    []byte
	// Event is the CloudEvent in it, unless Err says that there is none: others
	// can publish into the stream too.
	Event schema.Event
	Err   error
	// Pending is how many matching messages come after it now.
	Pending uint64
}

// Start is the state of the stream when reading begins.
type Start struct {
	// Pending is how many messages match the stream, the subjects and the beginning
	// of the selection. Some of them may be behind its end.
	Pending uint64
	// FirstSeq is the sequence from which on it reads, LastSeq the last one of the
	// stream; what is there may be of any subject.
	FirstSeq, LastSeq uint64
}

// Read calls each for every selected message, in order. It returns nil at the end of the
// selection or of ctx, and the error of each, unchanged, as soon as each returns one. started
// is called before the first message; it may be nil.
//
// If the broker goes away, Read waits for it: without end with Follow, and otherwise for about
// half a minute.
func Read(ctx context.Context, conn *nats.Conn, s Selection, started func(Start), each func(Message) error) error {
	for {
		next, err := read(ctx, conn, s, started, each)
		if err != nil || next == nil {
			return err
		}
		s, started = *next, nil
	}
}

// read reads by one consumer, and returns what is left to read if messages were lost.
func read(ctx context.Context, conn *nats.Conn, s Selection, started func(Start), each func(Message) error) (rest *Selection, err error) {
	r, err := open(ctx, conn, s)
	if err != nil {
		return nil, err
	}
	defer r.close()
	messages, err := r.consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(cmp.Or(s.prefetch, prefetchMessages), int(max(prefetchBytes, 2*conn.MaxPayload()))),
		jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return nil, fmt.Errorf("the stream %s cannot be read: %w", s.Stream, err)
	}
	defer context.AfterFunc(ctx, messages.Stop)()
	defer messages.Stop()
	if started != nil {
		started(r.start)
	}
	if r.isEmpty() {
		return nil, nil
	}
	if r.start.Pending == 0 {
		r.caughtUp()
	}
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(maxSilence))
		switch {
		case ctx.Err() != nil:
			return nil, nil
		case errors.Is(err, nats.ErrTimeout):
			switch nothingLeft, lost := r.checkProgress(ctx); {
			case lost:
				r.s.FromSeq, r.s.Since = r.read+1, time.Time{}
				return &r.s, nil
			case nothingLeft && !s.Follow:
				return nil, nil
			case nothingLeft:
				r.caughtUp()
			}
			continue
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			continue // the client makes the consumer anew
		case err != nil && !conn.IsConnected():
			return nil, fmt.Errorf("reading the stream %s ended: the connection to the broker was lost and did not come back: %w", s.Stream, nats.ErrDisconnected)
		case err != nil:
			return nil, fmt.Errorf("reading the stream %s ended: %w", s.Stream, err)
		}
		m, err := r.message(msg)
		if err != nil {
			return nil, fmt.Errorf("reading the stream %s ended: %w", s.Stream, err)
		}
		r.read = m.Sequence
		if r.last != 0 && m.Sequence > r.last || !s.Until.IsZero() && m.Stored.After(s.Until) {
			return nil, nil
		}
		if err := r.deliver(m, each); err != nil {
			return nil, err
		}
		if !s.Follow && m.Pending == 0 || m.Sequence == r.last {
			return nil, nil
		}
		if m.Pending == 0 {
			r.caughtUp()
		}
	}
}

// reader is a selection that is being read.
type reader struct {
	conn     *nats.Conn
	s        Selection
	consumer jetstream.Consumer
	start    Start
	last     uint64 // sequence; 0 if it has no end
	// read is the sequence of the last message that was read, or before the first one that
	// is to be, and checkedAt what that was when the broker was last asked what is left.
	read, checkedAt uint64
	// busy: a message is being dealt with; slow runs meanwhile.
	busy atomic.Bool
	slow *time.Timer
}

// lookUp asks the broker about the stream.
func lookUp(ctx context.Context, conn *nats.Conn, s Selection) (jetstream.Stream, error) {
	js, err := jsapi.New(conn, s.Domain)
	if err != nil {
		return nil, fmt.Errorf("JetStream cannot be used: %w", err)
	}
	stream, err := js.Stream(ctx, s.Stream)
	if err != nil {
		return nil, Explain(s, err)
	}
	return stream, nil
}

func open(ctx context.Context, conn *nats.Conn, s Selection) (*reader, error) {
	s.inactiveThreshold = cmp.Or(s.inactiveThreshold, inactiveThreshold)
	stream, err := lookUp(ctx, conn, s)
	if err != nil {
		return nil, err
	}
	r := &reader{conn: conn, s: s, start: Start{LastSeq: stream.CachedInfo().State.LastSeq}, last: s.ToSeq}
	if !s.Follow && (r.last == 0 || r.last > r.start.LastSeq) {
		r.last = r.start.LastSeq
	}
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: s.Subjects, HeadersOnly: s.HeadersOnly, InactiveThreshold: s.inactiveThreshold}
	if !s.Follow {
		cfg.MaxResetAttempts = maxResets
	}
	switch {
	case s.FromSeq > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.FromSeq
	case !s.Since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.Since
	default:
		// By its sequence: the client makes a consumer anew when the broker was away, and
		// "new" would then be what comes after that.
		r.s.FromSeq = r.start.LastSeq + 1
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.s.FromSeq
	}
	r.consumer, err = stream.OrderedConsumer(ctx, cfg)
	if err != nil {
		return nil, Explain(s, err)
	}
	r.slow = time.AfterFunc(r.s.inactiveThreshold, r.keepAlive)
	r.slow.Stop()
	info := r.consumer.CachedInfo()
	r.start.Pending, r.start.FirstSeq = info.NumPending, info.Delivered.Stream+1
	r.read = info.Delivered.Stream
	return r, nil
}

// isEmpty reports whether nothing that is selected can be there.
func (r *reader) isEmpty() bool {
	return !r.s.Follow && (r.start.Pending == 0 || r.s.FromSeq > r.last)
}

// caughtUp tells once that all has been read that is there so far.
func (r *reader) caughtUp() {
	if r.s.Follow && r.s.CaughtUp != nil {
		r.s.CaughtUp()
		r.s.CaughtUp = nil
	}
}

// checkProgress asks the broker whether nothing is left to read, or whether what it has sent
// last was lost on its way: the client drops what its buffer has no room for, and
// notices by the next message, which may never come. Where more is waited for, it
// asks once after each message.
func (r *reader) checkProgress(ctx context.Context) (nothingLeft, lost bool) {
	if r.s.Follow && r.s.CaughtUp == nil && r.checkedAt == r.read {
		return false, false
	}
	info, err := r.consumer.Info(ctx)
	if err != nil {
		return false, false
	}
	r.checkedAt = r.read
	lost = info.Delivered.Consumer > 0 && info.Delivered.Stream > r.read
	return info.NumPending == 0 && !lost, lost
}

func (r *reader) message(msg jetstream.Msg) (Message, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return Message{}, err
	}
	m := Message{
		Sequence: meta.Sequence.Stream, Stored: meta.Timestamp, Pending: meta.NumPending,
		Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data(),
	}
	if !r.s.HeadersOnly {
		m.Event, m.Err = schema.DecodeMessage(m.Header, m.Data)
	}
	return m, nil
}

func isWorkQueue(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == jserr.ConsumerPullRequiresAck
}

// missingStream implements error for a stream that is not there.
type missingStream struct{ name string }

// Error implements error.
func (e *missingStream) Error() string {
	return fmt.Sprintf("the broker has no stream %s: the relay makes it when it starts; RELAY_STREAM and RELAY_QUARANTINE_STREAM name the streams", e.name)
}

// Unwrap returns what programs ask for.
func (e *missingStream) Unwrap() error { return jetstream.ErrStreamNotFound }

// Explain words an error of the broker about the stream of a selection: why it cannot be read, and
// what to do. errors.Is tells whether that is [jetstream.ErrStreamNotFound].
func Explain(s Selection, err error) error {
	stream := s.Stream
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return &missingStream{stream}
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		problem, hint := jsapi.Absent(s.Domain)
		return errors.New(problem + ": " + hint)
	case isWorkQueue(err):
		return fmt.Errorf("the stream %s is a work queue, which only gives up what it has: it cannot be looked through; make it anew with retention limits", stream)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("the broker did not answer about the stream %s: it is stalled, without quorum, or does not let this user read streams", stream)
	default:
		return fmt.Errorf("the stream %s cannot be read: %w", stream, err)
	}
}
