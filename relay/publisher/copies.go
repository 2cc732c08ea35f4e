package publisher

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

// settle makes the receipt of what was acknowledged. The broker remembers an id for
// the whole duplicate window, and calls it a duplicate though an operator has
// deleted the event, or purged it: then it is stored under the id of its next copy.
// Whoever does that at the same time uses the same id, so that one is stored.
//
// Of what goes to the quarantine a duplicate is believed: that is kept for somebody
// to judge, and whoever removes it has. Nor may the relay's user read it.
func (s *pubFuture) settle(ctx context.Context, ack jetstream.PubAck) (store.Receipt, error) {
	p := s.p
	for gone := uint64(0); ; {
		switch {
		case s.msg.Kind != event.TaskEvent:
			return store.Receipt{Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
		case !ack.Duplicate:
			if s.copy > 0 {
				p.log.Warn("the event of a task had been removed from the stream, and is stored anew", "taskId", s.msg.ID, "messageId", s.id, "stream", ack.Stream, "sequence", ack.Sequence)
			}
			p.outcomes.add(ack.Sequence, s.id)
			return store.Receipt{Stream: ack.Stream, Sequence: ack.Sequence}, nil
		}
		mine := s.ambiguous && p.outcomes.insertIfAbsent(ack.Sequence, s.id)
		first, err := p.lookup(ctx, ack.Sequence, s.id)
		if err != nil {
			return store.Receipt{}, err
		}
		if !first.gone {
			return s.repeated(ctx, ack, first, mine)
		}
		// The stream may have been made anew since it was acknowledged, and know
		// nothing of the id: the next one is used only if this is a duplicate still.
		if gone == ack.Sequence {
			s.copy++
			s.id = event.CopyID(s.msg.ID, s.copy)
		}
		gone = ack.Sequence
		if ack, err = s.publishWithRetry(ctx); err != nil {
			return store.Receipt{}, err
		}
	}
}

// repeated makes the receipt of a repeat of an event that is there; mine says that
// it is this message itself, stored by a try before.
//
// A conflict is stored in its turn, by [Publisher.Store] with what is left of the time.
// That goes no deeper: what is acknowledged for the quarantine is settled without a look
// at what it repeats.
func (s *pubFuture) repeated(ctx context.Context, ack jetstream.PubAck, first cacheEntry, mine bool) (store.Receipt, error) {
	receipt := store.Receipt{Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: true}
	detail, err := s.p.checkConflict(s.msg, first)
	if err != nil {
		return store.Receipt{}, err
	}
	if detail == "" {
		receipt.Duplicate = !mine
		return receipt, nil
	}
	conflict, err := s.p.encoder.Conflict(s.msg, detail)
	if err != nil {
		return store.Receipt{}, &store.Error{Code: store.BrokerError, Err: err}
	}
	if _, err = s.p.Store(ctx, conflict); err != nil {
		return store.Receipt{}, err
	}
	receipt.Conflict = true
	return receipt, nil
}

// lookup finds out what there is at the sequence at which a message was acknowledged
// as a duplicate. Its error is a *store.Error: without an answer nobody may be told
// that the event is there, and the repeat must come again.
//
// Whoever wants the same now shares one look; a task that is looked at again and
// again is a storm of repeats, in which a look is believed for a moment.
func (p *Publisher) lookup(ctx context.Context, sequence uint64, id string) (cacheEntry, error) {
	var cause error // of the last look
	first, err := retry.Do(ctx, retry.Backoff(minBackoff, maxBackoff), func() (first cacheEntry, err error) {
		if first, ok := p.outcomes.getInStorm(sequence, id); ok {
			return first, nil
		}
		if p.streams.Load().unreadable != nil {
			return cacheEntry{unread: true}, nil // which the log has told
		}
		if first, cause = p.readOnce(ctx, sequence, id); cause != nil {
			p.requestCheck()
		}
		return first, cause
	})
	if err != nil {
		return cacheEntry{}, outOfTime(store.BrokerUnavailable, fmt.Errorf("the broker says that the task is stored at sequence %d of %s, but whether it is there still, and says the same, is not known: %w", sequence, p.cfg.Name, cause))
	}
	return first, nil
}

// getCopy reads the message that was stored under an id at a sequence, or returns
// [jetstream.ErrMsgNotFound] if there is none, or another one. That there is no stream
// is the same.
func (p *Publisher) getCopy(ctx context.Context, sequence uint64, id string) (*jetstream.RawStreamMsg, error) {
	msg, err := p.getMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && msg.Header.Get(jetstream.MsgIDHeader) != id {
		return nil, jetstream.ErrMsgNotFound
	}
	return msg, err
}

// getMsg asks the leader of the events' stream for the message at a sequence: nobody
// else is believed, neither that it is there nor that it is not.
func (p *Publisher) getMsg(ctx context.Context, sequence uint64) (*jetstream.RawStreamMsg, error) {
	l, ok := p.broker.connection()
	if !ok {
		return nil, errNotConnected
	}
	subject := jsapi.MessageSubject(p.cfg.Domain, p.cfg.Name)
	ctx, cancel := p.broker.permissions.Guard(ctx, subject)
	defer cancel(nil)
	reply, err := l.conn.RequestWithContext(ctx, subject, jsapi.MessageRequest(sequence))
	switch {
	case err != nil && context.Cause(ctx) != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, err
	}
	return jsapi.ParseMessage(reply.Data)
}
