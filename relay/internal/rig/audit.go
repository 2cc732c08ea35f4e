package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stored is what a stream holds: the sequences of each event's id, which is the
// id inside the event, whatever message id the broker was given.
type Stored map[string][]uint64

// Audit reads a whole stream as any client of the broker could.
func Audit(ctx context.Context, url, stream string, options ...nats.Option) (Stored, error) {
	conn, err := nats.Connect(url, options...)
	if err != nil {
		return nil, fmt.Errorf("the audit finds no broker at %s: %w", url, err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	for {
		stored, err := audit(ctx, js, stream)
		var api *jetstream.APIError
		passing := errors.Is(err, context.DeadlineExceeded) || errors.As(err, &api) && api.Code == http.StatusServiceUnavailable
		if !passing || ctx.Err() != nil {
			return stored, err
		}
	}
}

// auditTimeout bounds the waiting for each answer of the broker: a cluster that
// has just lost a server may leave the reading to that one.
const auditTimeout = 10 * time.Second

func audit(ctx context.Context, js jetstream.JetStream, stream string) (Stored, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := time.AfterFunc(auditTimeout, func() { cancel(context.DeadlineExceeded) })
	defer stuck.Stop()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("the audit cannot look at the stream %s: %w", stream, errors.Join(context.Cause(ctx), err))
	}
	stored := make(Stored)
	info := s.CachedInfo()
	if info.State.Msgs == 0 {
		return stored, nil
	}
	consumer, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, fmt.Errorf("the audit cannot read the stream %s: %w", stream, errors.Join(context.Cause(ctx), err))
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("the audit cannot read the stream %s: %w", stream, errors.Join(context.Cause(ctx), err))
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("the audit came to %d ids in the stream %s: %w", len(stored), stream, errors.Join(context.Cause(ctx), err))
		}
		stuck.Reset(auditTimeout)
		meta, err := msg.Metadata()
		if err != nil {
			return nil, err
		}
		id, err := eventID(msg)
		if err != nil {
			return nil, fmt.Errorf("message %d of %s is no event: %w", meta.Sequence.Stream, stream, err)
		}
		stored[id] = append(stored[id], meta.Sequence.Stream)
		// In a cluster the reading may be left to a server that is still behind the
		// leader, whose word the state is.
		behind := info.Config.Replicas > 1 && meta.Sequence.Stream < info.State.LastSeq
		if meta.NumPending == 0 && !behind {
			return stored, nil
		}
	}
}

// eventID is the CloudEvent's id, in either mode. A task's event that is not what
// [Webhook] makes for that id is an error.
func eventID(msg jetstream.Msg) (string, error) {
	type data struct{ TaskID, Nonce string }
	var event struct {
		ID   string
		Data data
	}
	if event.ID = msg.Headers().Get("ce-id"); event.ID != "" {
		if err := json.Unmarshal(msg.Data(), &event.Data); err != nil {
			return "", err
		}
	} else if err := json.Unmarshal(msg.Data(), &event); err != nil {
		return "", err
	}
	if d := event.Data; d.Nonce != "" && (d.TaskID != event.ID || d.Nonce != nonce(event.ID)) {
		return "", fmt.Errorf("the event %s has another webhook's data: %+v", event.ID, d)
	}
	return event.ID, nil
}

// Missing are those of the ids that are not stored.
func (s Stored) Missing(ids []string) (missing []string) {
	for _, id := range ids {
		if len(s[id]) == 0 {
			missing = append(missing, id)
		}
	}
	return missing
}

// Twice are the ids that are stored more than once.
func (s Stored) Twice() (twice []string) {
	for id, sequences := range s {
		if len(sequences) > 1 {
			twice = append(twice, id)
		}
	}
	slices.Sort(twice)
	return twice
}
