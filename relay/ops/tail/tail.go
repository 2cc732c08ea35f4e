// Package tail follows the events of a stream as they come.
package tail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/schema"
)

// Options say what to follow.
type Options struct {
	// Stream is the stream's name.
	Stream string
	// Subjects are the subjects to show.
	Subjects []string
	// Since is the time from which stored events are shown first; zero means
	// only new ones.
	Since time.Time
}

// Message is one message of the stream.
type Message struct {
	// Sequence and Stored are its place in the stream and when it got there.
	Sequence uint64
	Stored   time.Time
	// Subject is the NATS subject.
	Subject string
	// Event is the CloudEvent in it, unless Err says that there is none: others
	// can publish into the stream too.
	Event schema.Event
	Err   error
}

// Follow calls each for every message, in order, until ctx ends, which is no
// error, or each returns one. It keeps nothing in the broker: the consumer is
// an ephemeral one that the client makes anew when the connection was away.
// ready is called once it is listening; it may be nil.
func Follow(ctx context.Context, conn *nats.Conn, opts Options, ready func(), each func(Message) error) error {
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("JetStream cannot be used: %w", err)
	}
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: opts.Subjects, DeliverPolicy: jetstream.DeliverNewPolicy}
	if !opts.Since.IsZero() {
		cfg.DeliverPolicy = jetstream.DeliverByStartTimePolicy
		cfg.OptStartTime = &opts.Since
	}
	consumer, err := js.OrderedConsumer(ctx, opts.Stream, cfg)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("the broker has no stream %s: the relay makes it when it starts; RELAY_STREAM and RELAY_QUARANTINE_STREAM name the streams", opts.Stream)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return errors.New("the broker has no JetStream: start it with JetStream enabled ('nats-server -js')")
	case err != nil:
		return fmt.Errorf("the stream %s cannot be followed: %w", opts.Stream, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("the stream %s cannot be followed: %w", opts.Stream, err)
	}
	defer context.AfterFunc(ctx, messages.Stop)()
	defer messages.Stop()
	if ready != nil {
		ready()
	}
	for {
		msg, err := messages.Next()
		switch {
		case ctx.Err() != nil, errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return nil
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			continue // the client makes the consumer anew
		case err != nil:
			return fmt.Errorf("following the stream %s ended: %w", opts.Stream, err)
		}
		m := Message{Subject: msg.Subject()}
		if meta, err := msg.Metadata(); err == nil {
			m.Sequence, m.Stored = meta.Sequence.Stream, meta.Timestamp
		}
		m.Event, m.Err = schema.DecodeMessage(msg.Headers(), msg.Data())
		if err := each(m); err != nil {
			return err
		}
	}
}
