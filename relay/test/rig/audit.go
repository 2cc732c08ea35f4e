package rig

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stored is what a stream holds: the sequences of each event's id, which is the
// id inside the event, whatever message id the broker was given.
type Stored map[string][]uint64

// Audit reads a whole stream as any client of the broker could.
func Audit(ctx context.Context, url, stream string, options ...nats.Option) (Stored, error) {
	return AuditBelow(ctx, url, stream, "", options...)
}

// AuditBelow is Audit of a stream that others use, too: only subjects with that
// beginning count.
func AuditBelow(ctx context.Context, url, stream, subjects string, options ...nats.Option) (Stored, error) {
	var stored Stored
	err := each(ctx, url, stream, options, func() { stored = make(Stored) }, func(msg jetstream.Msg, sequence uint64) error {
		if !strings.HasPrefix(msg.Subject(), subjects) {
			return nil
		}
		id, err := eventID(msg)
		stored[id] = append(stored[id], sequence)
		return err
	})
	return stored, err
}

// StoredAt reads a whole stream for when each event was stored, by the broker's clock:
// the first of them, if there are several of an id.
func StoredAt(ctx context.Context, url, stream string, options ...nats.Option) (map[string]time.Time, error) {
	var at map[string]time.Time
	err := each(ctx, url, stream, options, func() { at = make(map[string]time.Time) }, func(msg jetstream.Msg, _ uint64) error {
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		id, err := eventID(msg)
		if _, ok := at[id]; !ok {
			at[id] = meta.Timestamp
		}
		return err
	})
	return at, err
}

// Kept is what a quarantine holds of one webhook, or of a task that was given up.
type Kept struct {
	Subject string
	// ID is the event's, Task the one that it contradicts or tells of, if it does.
	ID, Task string
	// Digest is that of the body, and Start how it begins: there may be many.
	Digest   Digest
	Start    string
	Sequence uint64
}

// Digest tells one body from another.
type Digest [sha256.Size]byte

// DigestOf is the digest of a body.
func DigestOf(body string) Digest { return sha256.Sum256([]byte(body)) }

// Quarantine reads a whole quarantine of events in structured mode.
func Quarantine(ctx context.Context, url, stream string, options ...nats.Option) ([]Kept, error) {
	var kept []Kept
	err := each(ctx, url, stream, options, func() { kept = nil }, func(msg jetstream.Msg, sequence uint64) error {
		var event struct {
			ID, Subject string
			Body        []byte `json:"data_base64"`
		}
		err := json.Unmarshal(msg.Data(), &event)
		kept = append(kept, Kept{
			Subject: msg.Subject(), ID: event.ID, Task: event.Subject,
			Digest: sha256.Sum256(event.Body), Start: string(event.Body[:min(len(event.Body), 200)]), Sequence: sequence,
		})
		return err
	})
	return kept, err
}

// each visits all messages of a stream. What ends early and may pass is begun
// anew, with start.
func each(ctx context.Context, url, stream string, options []nats.Option, start func(), visit func(jetstream.Msg, uint64) error) error {
	conn, err := nats.Connect(url, options...)
	if err != nil {
		return fmt.Errorf("the audit finds no broker at %s: %w", url, err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	for {
		start()
		err := audit(ctx, js, stream, visit)
		var api *jetstream.APIError
		passing := errors.Is(err, context.DeadlineExceeded) || errors.As(err, &api) && api.Code == http.StatusServiceUnavailable
		if !passing || ctx.Err() != nil {
			return err
		}
	}
}

// auditTimeout bounds the waiting for each answer of the broker: a cluster that
// has just lost a server may leave the reading to that one.
const auditTimeout = 10 * time.Second

// readAhead is how many bytes are asked for at once, half of what an embedded broker lets
// wait for a client; events can have half a MiB.
const readAhead = 4 << 20

func audit(ctx context.Context, js jetstream.JetStream, stream string, visit func(jetstream.Msg, uint64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := time.AfterFunc(auditTimeout, func() { cancel(context.DeadlineExceeded) })
	defer stuck.Stop()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("the audit cannot look at the stream %s: %w", stream, errors.Join(context.Cause(ctx), err))
	}
	info := s.CachedInfo()
	if info.State.Msgs == 0 {
		return nil
	}
	consumer, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("the audit cannot read the stream %s: %w", stream, errors.Join(context.Cause(ctx), err))
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(readAhead))
	if err != nil {
		return fmt.Errorf("the audit cannot read the stream %s: %w", stream, errors.Join(context.Cause(ctx), err))
	}
	defer messages.Stop()
	for n := 0; ; n++ {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("the audit came to %d messages in the stream %s: %w", n, stream, errors.Join(context.Cause(ctx), err))
		}
		stuck.Reset(auditTimeout)
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if err := visit(msg, meta.Sequence.Stream); err != nil {
			return fmt.Errorf("message %d of %s is no event: %w", meta.Sequence.Stream, stream, err)
		}
		// In a cluster the reading may be left to a server that is still behind the
		// leader, whose word the state is.
		behind := info.Config.Replicas > 1 && meta.Sequence.Stream < info.State.LastSeq
		if meta.NumPending == 0 && !behind {
			return nil
		}
	}
}

// eventID is the CloudEvent's id, in either mode. A task's event that is not what
// [Webhook] makes for that id is an error.
func eventID(msg jetstream.Msg) (string, error) {
	var event struct {
		ID   string
		Data struct{ TaskID, Nonce string }
	}
	var err error
	if event.ID = msg.Headers().Get("ce-id"); event.ID != "" {
		err = json.Unmarshal(msg.Data(), &event.Data)
	} else {
		err = json.Unmarshal(msg.Data(), &event)
	}
	made := bytes.Contains(msg.Data(), []byte(`"nonce":`)) // by this package
	if _, other := errors.AsType[*json.UnmarshalTypeError](err); err != nil && (made || !other) {
		return "", err
	}
	if made && (event.Data.TaskID != event.ID || event.Data.Nonce != nonce(event.ID)) {
		return "", fmt.Errorf("the event %s has another webhook's data: %+v", event.ID, event.Data)
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
