package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/jserr"
)

// maxCopies is for how many copies of a task's event is asked: more often than that
// nobody removes it again within the duplicate window.
const maxCopies = 8

// removals are the gaps that a stream was seen to have, and since when.
type removals struct {
	gaps  int
	since time.Time
}

// mayHaveForgotten reports whether the broker may know a copy of a task's event, and
// not the task itself. When a server starts it remembers the ids of those messages
// that it has, and so no id whose message was removed: to it a task is new that is
// stored as a later copy. That can be so only if something was removed that is
// younger than the duplicate window, and of a single server only as long after its
// start as its window is.
func (p *Publisher) mayHaveForgotten(msg event.Message) bool {
	state, connected := p.streams.Load(), p.broker.connectedAt.Load()
	if msg.Kind != event.TaskEvent || state.events == nil || state.unreadable != nil || connected == nil {
		return false
	}
	info := state.events.CachedInfo()
	now, window := time.Now(), info.Config.Duplicates
	if info.Config.Retention != jetstream.LimitsPolicy || info.Config.Replicas == 1 && now.Sub(*connected) > window {
		return false
	}
	if state.found.Before(*connected) {
		return true // what was removed by now is not known
	}
	seen := p.removed.Load()
	if seen == nil || seen.gaps != info.State.NumDeleted {
		seen = &removals{info.State.NumDeleted, now}
		p.removed.Store(seen)
	}
	if seen.gaps > 0 && now.Sub(seen.since) <= window {
		return true
	}
	return info.State.FirstSeq > 1 && info.State.FirstTime.After(now.Add(-window))
}

// findCopy asks the broker for the last copy of the event, where the task itself may
// be new to it. Its error says that there is no answer: nothing was sent.
func (s *pubFuture) findCopy(ctx context.Context) (ack jetstream.PubAck, known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	type answer struct {
		ack jetstream.PubAck
		err error
	}
	var answers [maxCopies]chan answer
	for i := range answers {
		answers[i] = make(chan answer, 1)
		go func() {
			ack, err := s.p.lookupID(ctx, s.msg.Subject, event.CopyID(s.msg.ID, i+1))
			answers[i] <- answer{ack, err}
		}()
	}
	for i := range answers {
		switch a := <-answers[i]; {
		case a.err != nil:
			err = &notSentError{a.err}
		case a.ack.Duplicate:
			ack, known = a.ack, true
			s.copy, s.id = i+1, event.CopyID(s.msg.ID, i+1)
		}
	}
	if err != nil {
		s.copy, s.id = 0, s.msg.ID
		return jetstream.PubAck{}, false, err
	}
	return ack, known, nil
}

// lookupID finds out whether the broker remembers a message id, and where its message
// is, by a message that it cannot store: JetStream compares the id before it looks
// at what else the message expects. A single server does so before it compares the
// id of the last message, but after its sequence; a cluster has to look at the latter
// before its servers agree about the message.
func (p *Publisher) lookupID(ctx context.Context, subject, id string) (ack jetstream.PubAck, err error) {
	l, ok := p.broker.connection()
	if !ok {
		return ack, nats.ErrDisconnected
	}
	msg := &nats.Msg{Subject: subject, Header: nats.Header{jetstream.MsgIDHeader: {id}}}
	if p.streams.Load().events.CachedInfo().Config.Replicas > 1 {
		msg.Header.Set(jetstream.ExpectedLastSeqHeader, "9223372036854775807")
	} else {
		msg.Header.Set(jetstream.ExpectedLastMsgIDHeader, "~")
	}
	ctx, cancel := p.broker.permissions.Guard(ctx, subject)
	defer cancel(nil)
	reply, err := l.conn.RequestMsgWithContext(ctx, msg)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return ack, jetstream.ErrNoStreamResponse
	case err != nil && context.Cause(ctx) != nil:
		return ack, context.Cause(ctx)
	case err != nil:
		return ack, err
	}
	p.broker.allowed(subject)
	var answer struct {
		Error     *jetstream.APIError `json:"error"`
		Stream    string              `json:"stream"`
		Domain    string              `json:"domain"`
		Sequence  uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
	}
	if json.Unmarshal(reply.Data, &answer) != nil {
		return ack, jetstream.ErrInvalidJSAck
	}
	if e := answer.Error; e != nil && jserr.IsTransient(e.ErrorCode) && e.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequenceConstant {
		return ack, e
	}
	if answer.Error != nil || answer.Stream != p.cfg.Name || !p.isOurDomain(answer.Domain) {
		return ack, nil // it is not known
	}
	return jetstream.PubAck{Stream: answer.Stream, Sequence: answer.Sequence, Duplicate: answer.Duplicate}, nil
}
