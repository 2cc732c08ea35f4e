package publisher

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/singleflight"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// readTimeout bounds one look at a stored event.
	readTimeout = 2 * time.Second
	// maxReads is how many stored events are being looked at, at the most.
	maxReads = 16
	// outcomeSlots is how many outcomes are remembered, at about 100 bytes each.
	outcomeSlots = 4096
)

// contradiction says in what a repeat differs from the event that is stored, or
// nothing if it tells the same. Its error is a *event.Refusal: the repeat must
// come again.
//
// A repeat that is equal to the byte, as APIXO's are, is known by a hash while
// its task is among the last few thousand that this relay has stored. Of others
// the stored event is read, once for all that repeat it.
func (p *Publisher) contradiction(ctx context.Context, msg event.Message, sequence uint64) (string, error) {
	first, known := p.stored.find(sequence, msg.ID)
	if known && first.body == p.stored.hash(msg.Delivery.Body) {
		return "", nil
	}
	for backoff := minBackoff; !known || !first.hasOutcome; backoff = min(2*backoff, maxBackoff) {
		if p.streams.Load().unreadable != nil {
			return "", nil // which the log has told
		}
		read, err := p.readOnce(ctx, sequence, msg.ID)
		if err == nil {
			first = read
			break
		}
		p.checkSoon()
		if !sleep(ctx, backoff/2+rand.N(backoff)) {
			return "", outOfTime(event.BrokerUnavailable, fmt.Errorf("the task is stored at sequence %d of %s, but whether it says the same is not known: %w", sequence, p.cfg.Name, err))
		}
	}
	if first.gone {
		return "", nil
	}
	where := fmt.Sprintf("the event stored first, at sequence %d of %s", sequence, p.cfg.Name)
	if !first.isTask {
		return "there is no result of a task in " + where, nil
	}
	mine, err := msg.Delivery.Outcome()
	if err != nil {
		return "", &event.Refusal{Reason: event.BrokerError, Err: err}
	}
	if members := mine.Differences(first.outcome); len(members) > 0 {
		return "it differs in " + strings.Join(members, ", ") + " from " + where, nil
	}
	first.body = p.stored.hash(msg.Delivery.Body)
	p.stored.put(first)
	return "", nil
}

// readOnce reads a stored event, with whoever else wants the same one now.
func (p *Publisher) readOnce(ctx context.Context, sequence uint64, id string) (slot, error) {
	result := p.stored.reading.DoChan(strconv.FormatUint(sequence, 10)+" "+id, func() (any, error) {
		p.stored.readers <- struct{}{}
		defer func() { <-p.stored.readers }()
		first, err := p.read(sequence, id)
		if err == nil {
			p.stored.put(first)
		}
		return first, err
	})
	select {
	case r := <-result:
		return r.Val.(slot), r.Err
	case <-ctx.Done():
		return slot{}, context.Cause(ctx)
	}
}

// read finds out what is stored at a sequence.
func (p *Publisher) read(sequence uint64, id string) (slot, error) {
	events := p.streams.Load().events
	if events == nil {
		return slot{}, errors.New("the stream has not been found yet")
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	msg, err := p.getMsg(ctx, events, sequence)
	first := slot{sequence: sequence, id: p.stored.hash([]byte(id)), hasOutcome: true}
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		first.gone = true // expired or deleted, and its id still in the window
		return first, nil
	case err != nil:
		return slot{}, err
	}
	// Whatever cannot be read back is not what the relay would have stored.
	if e, err := schema.DecodeMessage(msg.Header, msg.Data); err == nil {
		first.outcome, err = schema.OutcomeOf(e.Data)
		first.isTask = err == nil
	}
	// An event that a transform has put under another subject is where no consumer looks.
	first.gone = first.isTask && !takes(p.events.needs.Config, msg.Subject)
	return first, nil
}

// getMsg reads a message. A replica that lags behind does not have it yet, so
// one that is not found is asked for a few times.
func (p *Publisher) getMsg(ctx context.Context, stream jetstream.Stream, sequence uint64) (*jetstream.RawStreamMsg, error) {
	ctx, answered := p.denials.asking(ctx, ReadSubject(p.cfg.Domain, stream.CachedInfo().Config))
	defer answered()
	for wait := minBackoff; ; wait *= 2 {
		msg, err := stream.GetMsg(ctx, sequence)
		if err == nil {
			return msg, nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		if !errors.Is(err, jetstream.ErrMsgNotFound) || wait > 8*minBackoff || stream.CachedInfo().Config.Replicas == 1 || !sleep(ctx, wait) {
			return nil, err
		}
	}
}

// ReadSubject is where a message of a stream is asked for, in a JetStream domain.
func ReadSubject(domain string, cfg jetstream.StreamConfig) string {
	if cfg.AllowDirect {
		return jsapi.Prefix(domain) + "DIRECT.GET." + cfg.Name
	}
	return jsapi.Prefix(domain) + "STREAM.MSG.GET." + cfg.Name
}

// readable finds out whether this user may read the stream's messages. An error
// means that it may not.
func (p *Publisher) readable(ctx context.Context, stream jetstream.Stream) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, err := p.getMsg(ctx, stream, max(1, stream.CachedInfo().State.LastSeq))
	var denied *DeniedError
	if errors.As(err, &denied) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("the messages of the stream %s cannot be read, so a repeat that contradicts what is stored cannot be told from one that does not: %w", p.cfg.Name, err)
	}
	return nil
}

// slot is what is known of one stored event.
type slot struct {
	sequence uint64
	id       uint64 // hash of the task's id: a stream that is made anew counts from 1 again
	body     uint64 // hash of the last body that told the same as the event
	outcome  schema.Outcome
	// hasOutcome: the event was read. gone: it is not there any more. isTask: it
	// has an outcome.
	hasOutcome, gone, isTask bool
}

// outcomes remembers the last stored events in a bounded table, by sequence.
type outcomes struct {
	seed    maphash.Seed
	mu      sync.Mutex
	table   [outcomeSlots]slot
	reading singleflight.Group
	readers chan struct{}
}

func newOutcomes() *outcomes {
	return &outcomes{seed: maphash.MakeSeed(), readers: make(chan struct{}, maxReads)}
}

func (o *outcomes) hash(b []byte) uint64 { return maphash.Bytes(o.seed, b) }

// remember notes what this relay has stored itself.
func (o *outcomes) remember(sequence uint64, id string, body []byte) {
	o.put(slot{sequence: sequence, id: o.hash([]byte(id)), body: o.hash(body)})
}

func (o *outcomes) put(s slot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.table[s.sequence%outcomeSlots] = s
}

// claim reports whether nothing was known of a stored event: then it can be the
// caller's own, and nobody else's from now on.
func (o *outcomes) claim(sequence uint64, id string) bool {
	mine := slot{sequence: sequence, id: o.hash([]byte(id))}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.table[sequence%outcomeSlots]
	if s.sequence == mine.sequence && s.id == mine.id {
		return false
	}
	*s = mine
	return true
}

func (o *outcomes) find(sequence uint64, id string) (slot, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.table[sequence%outcomeSlots]
	return s, s.sequence == sequence && s.id == o.hash([]byte(id))
}
