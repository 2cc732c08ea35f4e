package archive

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// backlogAge is for how long an answer about the backlog is good.
	backlogAge = 5 * time.Second
	// lookEvery is how often it is looked whether all is done, and how far it is.
	lookEvery = 250 * time.Millisecond
)

// backlog is what is not archived yet, as the broker last told.
type backlog struct {
	mu     sync.Mutex
	at     time.Time
	events uint64
	oldest time.Duration
}

// Backlog returns how many events are not archived yet, and the age of the oldest of them. It is
// as the broker told at most some seconds ago; while the broker does not tell, it is the last that
// is known.
func (a *Archiver) Backlog() (events uint64, oldest time.Duration) {
	b := &a.backlog
	b.mu.Lock()
	defer b.mu.Unlock()
	if age := time.Since(b.at); age < backlogAge {
		return b.events, b.oldest
	}
	b.at = time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), brokerTimeout/2)
	defer cancel()
	info, err := a.consumerInfo(ctx)
	if err != nil {
		b.oldest += backlogAge // it has become older, too
		return b.events, b.oldest
	}
	b.events, b.oldest = pending(info), 0
	if b.events == 0 {
		return 0, 0
	}
	if msg, err := a.firstAfter(ctx, info.AckFloor.Stream); err == nil {
		b.oldest = max(0, time.Since(msg.Time))
	}
	return b.events, b.oldest
}

// firstAfter is the first event after a sequence, and lastEvent the last one of all. Their error
// is [jetstream.ErrMsgNotFound] where there is none.
func (a *Archiver) firstAfter(ctx context.Context, sequence uint64) (*jetstream.RawStreamMsg, error) {
	return a.message(ctx, map[string]any{"seq": sequence + 1, "next_by_subj": a.subject()})
}

func (a *Archiver) lastEvent(ctx context.Context) (*jetstream.RawStreamMsg, error) {
	return a.message(ctx, map[string]any{"last_by_subj": a.subject()})
}

// message asks the leader of the stream of events for one.
func (a *Archiver) message(ctx context.Context, request map[string]any) (*jetstream.RawStreamMsg, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	return ask(ctx, a, "STREAM.MSG.GET."+a.cfg.Stream.Name, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		reply, err := a.o.Conn.RequestWithContext(ctx, jsapi.MessageSubject(a.cfg.Stream.Domain, a.cfg.Stream.Name), text)
		if err != nil {
			return nil, err
		}
		return jsapi.ParseMessage(reply.Data)
	})
}

// subject is that of the events whose files are archived.
func (a *Archiver) subject() string {
	return schema.TaskSubject(a.cfg.Stream.Prefix, schema.StateSuccess)
}

func (a *Archiver) consumerInfo(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	return ask(ctx, a, "CONSUMER.INFO."+a.cfg.Stream.Name+"."+a.o.Durable, (*a.consumer.Load()).Info)
}

// pending is how many events are not acknowledged.
func pending(info *jetstream.ConsumerInfo) uint64 {
	return info.NumPending + uint64(info.NumAckPending)
}

// report tells of the progress until ctx ends or, with UntilNow, until all is done up to the last
// sequence.
func (a *Archiver) report(ctx context.Context, last uint64) {
	if !a.o.UntilNow && a.o.OnProgress == nil {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if info, err := a.consumerInfo(ctx); err == nil {
			a.mu.Lock()
			done := uint64(a.summary.Archived + a.summary.Failed)
			a.mu.Unlock()
			if a.o.OnProgress != nil {
				a.o.OnProgress(done, done+pending(info))
			}
			if a.o.UntilNow && a.isDone(ctx, info, last) {
				return
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// isDone reports whether all is done up to a sequence, but for what is left for another run. What
// the consumer says of events that wait for it lags behind the stream.
func (a *Archiver) isDone(ctx context.Context, info *jetstream.ConsumerInfo, last uint64) bool {
	first, err := a.firstAfter(ctx, info.AckFloor.Stream)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && first.Sequence > last {
		return true
	}
	waiting, left := a.tries.open(last)
	// What is under way is left, or newer, or held by another instance, which is to end it.
	return err == nil && left > 0 && waiting == 0 && info.Delivered.Stream >= last && a.heldBut(last) == 0 &&
		info.NumAckPending <= left+a.held.upTo(^uint64(0))
}

// heldBut is how many messages up to a sequence this program works on that are not left.
func (a *Archiver) heldBut(last uint64) (n int) {
	a.held.each(func(m *message) {
		if m.meta.Sequence.Stream <= last && !a.tries.isLeft(m) {
			n++
		}
	})
	return n
}
