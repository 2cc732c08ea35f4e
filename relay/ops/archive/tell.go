package archive

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/schema"
)

// The stream of dead letters, and the first token of its subjects: those of the examples of
// consumers (schema/examples).
const (
	deadStream = "DEAD_LETTERS"
	deadPrefix = "dead"
)

// settle tells what became of the files of a task. It reports whether that is told, which it is
// unless ctx ends.
func (a *Archiver) settle(ctx context.Context, m *message, o outcome) bool {
	msg, err := a.encoder.Archived(o.ArchivedTask, a.o.Target.String(), m.event.Extensions, time.Now().UTC())
	if err != nil {
		return a.bury(ctx, m, fmt.Sprintf("what became of its files cannot be told: %v", err))
	}
	if a.wasTold(ctx, m, msg.ID) {
		return true
	}
	return a.publish(ctx, &nats.Msg{Subject: msg.Subject, Header: maps.Clone(msg.Header), Data: msg.Data}, schema.DefaultArchive, msg.ID)
}

// wasTold reports whether another run has told it, and ended before it could acknowledge the
// event. Within its window the broker knows by itself.
func (a *Archiver) wasTold(ctx context.Context, m *message, id string) bool {
	if m.meta.NumDelivered == 1 || time.Since(m.meta.Timestamp) < a.cfg.Stream.Dedupe {
		return false
	}
	found := errors.New("found")
	err := streamreader.Read(ctx, a.o.Conn, streamreader.Selection{
		Domain: a.cfg.Stream.Domain, Stream: schema.DefaultArchive, Subjects: []string{schema.ArchiveSubjects(a.cfg.Stream.Prefix)},
		Since: m.meta.Timestamp, HeadersOnly: true,
	}, nil, func(told streamreader.Message) error {
		if told.Header.Get(jetstream.MsgIDHeader) == id {
			return found
		}
		return nil
	})
	return errors.Is(err, found)
}

// publish stores a message in a stream, and tries until it is stored or ctx ends.
func (a *Archiver) publish(ctx context.Context, msg *nats.Msg, stream, id string) bool {
	var complaint complaint
	wait := retry.Backoff(minBrokerBackoff, maxBrokerBackoff)
	for {
		err := a.publishOnce(ctx, msg, stream, id)
		if err == nil {
			complaint.over(a.log, "what was archived can be told again")
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		complaint.tell(a.log, "what was archived cannot be told, so that it is not acknowledged; it is tried again", fmt.Errorf("the stream %s: %w", stream, err))
		if retry.Sleep(ctx, wait.NextBackOff()) != nil {
			return false
		}
		if errors.Is(err, jetstream.ErrNoStreamResponse) { // somebody has deleted it
			if want := a.stream(); stream == want.Name {
				_ = a.openStream(ctx, want)
			}
		}
	}
}

func (a *Archiver) publishOnce(ctx context.Context, msg *nats.Msg, stream, id string) error {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	ctx, stop := a.denied.Guard(ctx, msg.Subject)
	defer stop(nil)
	_, err := a.js.PublishMsg(ctx, msg, jetstream.WithMsgID(id), jetstream.WithExpectStream(stream))
	if denied, ok := errors.AsType[*broker.PermissionError](context.Cause(ctx)); ok && err != nil {
		return denied
	}
	return err
}

// acknowledge tells the broker that an event is dealt with, and reports whether it knows. If
// not, the event comes again.
func (a *Archiver) acknowledge(ctx context.Context, m *message) bool {
	return a.confirm(ctx, m, m.DoubleAck)
}

func (a *Archiver) confirm(ctx context.Context, m *message, tell func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	if err := tell(ctx); err != nil {
		a.log.Warn("the broker does not confirm that an event is dealt with, so that it will come again", "taskId", m.task.ID, "error", err)
		return false
	}
	return true
}

// bury stores an event as a dead letter and ends its delivery, in this order. It reports whether
// that is done.
func (a *Archiver) bury(ctx context.Context, m *message, reason string) bool {
	letter := &nats.Msg{Subject: deadPrefix + "." + a.o.Durable, Header: maps.Clone(m.Headers()), Data: m.Data()}
	if letter.Header == nil {
		letter.Header = nats.Header{}
	}
	letter.Header.Set("Dead-Letter-Reason", reason)
	letter.Header.Set("Dead-Letter-Subject", m.Subject())
	letter.Header.Set("Dead-Letter-Sequence", fmt.Sprint(m.meta.Sequence.Stream))
	// It is made when there is a first one.
	if err := a.openStream(ctx, a.deadStream()); err != nil {
		a.log.Error("a dead letter cannot be stored; it is tried again", "sequence", m.meta.Sequence.Stream, "reason", reason, "error", err)
		a.again(m, time.Minute)
		return false
	}
	id := fmt.Sprintf("%s.%s.%d", m.meta.Stream, a.o.Durable, m.meta.Sequence.Stream)
	if !a.publish(ctx, letter, deadStream, id) {
		return false
	}
	a.log.Error("an event became a dead letter", "stream", deadStream, "subject", letter.Subject, "sequence", m.meta.Sequence.Stream, "reason", reason)
	a.mu.Lock()
	a.summary.DeadLetters++
	a.mu.Unlock()
	return a.confirm(ctx, m, func(context.Context) error { return m.TermWithReason(reason) })
}
