package publisher

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/singleflight"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// readTimeout bounds one look at a stored event.
	readTimeout = 2 * time.Second
	// maxReads is how many stored events are being looked at, at the most.
	maxReads = 16
	// A task that is looked at stormLooks times within stormTime comes in a storm of
	// repeats: for the rest of that time, which nobody notices who deletes an event and
	// sends its webhook again, the last look is believed.
	stormLooks = 8
	stormTime  = 100 * time.Millisecond
	// outcomeCacheSize is how many outcomes are remembered, at about 120 bytes each.
	outcomeCacheSize = 4096
)

// checkConflict says in what a repeat differs from the event that is stored, or
// nothing if it tells the same. Its error is a *store.Error.
//
// One that is equal to the byte, as APIXO's are, to a repeat that was compared before is
// known by a hash while its task is among the last few thousand.
func (p *Publisher) checkConflict(msg event.Message, first cacheEntry) (string, error) {
	body := p.outcomes.hash(msg.Delivery.Body)
	if first.unread || first.body == body {
		return "", nil
	}
	where := fmt.Sprintf("the event stored first, at sequence %d of %s", first.sequence, p.cfg.Name)
	if !first.isTask {
		return "there is no result of a task in " + where, nil
	}
	mine, err := msg.Delivery.Outcome()
	if err != nil {
		return "", &store.Error{Code: store.BrokerError, Err: err}
	}
	if members := mine.Differences(first.outcome); len(members) > 0 {
		return "it differs in " + strings.Join(members, ", ") + " from " + where, nil
	}
	p.outcomes.setBody(first, body)
	return "", nil
}

// readOnce reads a stored event, with whoever else wants the same one now.
func (p *Publisher) readOnce(ctx context.Context, sequence uint64, id string) (cacheEntry, error) {
	result := p.outcomes.reading.DoChan(strconv.FormatUint(sequence, 10)+" "+id, func() (any, error) {
		p.outcomes.readers <- struct{}{}
		defer func() { <-p.outcomes.readers }()
		first, err := p.read(sequence, id)
		if err == nil && !first.unread {
			first = p.outcomes.update(first)
		}
		return first, err
	})
	select {
	case r := <-result:
		return r.Val.(cacheEntry), r.Err
	case <-ctx.Done():
		return cacheEntry{}, context.Cause(ctx)
	}
}

// read finds out what is stored at a sequence.
func (p *Publisher) read(sequence uint64, id string) (cacheEntry, error) {
	events := p.streams.Load().events
	if events == nil {
		return cacheEntry{}, errors.New("the stream has not been found yet")
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	first := cacheEntry{sequence: sequence, id: p.outcomes.hash([]byte(id))}
	msg, err := p.getCopy(ctx, sequence, id)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound) && events.CachedInfo().Config.Retention != jetstream.LimitsPolicy:
		return cacheEntry{unread: true}, nil // its consumers have it, and so it is gone
	case errors.Is(err, jetstream.ErrMsgNotFound):
		first.gone = true
		return first, nil
	case err != nil:
		return cacheEntry{}, err
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

// readable finds out whether this user may read the stream's messages. An error
// means that it may not.
func (p *Publisher) readable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, err := p.getMsg(ctx, math.MaxUint64) // where nothing ever is
	if is[*broker.PermissionError](err) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("the messages of the stream %s cannot be read, so that a repeat which contradicts a stored event, or whose event was removed, cannot be told from one that does not: %w", p.cfg.Name, err)
	}
	return nil
}

// cacheEntry is what is known of one stored event.
type cacheEntry struct {
	sequence uint64
	id       uint64 // hash of its message id: a stream that is made anew counts from 1 again
	body     uint64 // hash of the last body that told the same as the event
	outcome  schema.Outcome
	// It was looked at looks times in the stormTime since a time that is counted from the
	// making of the table.
	looks int32
	since time.Duration
	// gone: it is not there any more. isTask: it has an outcome.
	gone, isTask bool
	// unread: nothing is known, and nothing can be.
	unread bool
}

// outcomeCache remembers the last stored events in a bounded table, by sequence.
type outcomeCache struct {
	seed    maphash.Seed
	made    time.Time
	mu      sync.Mutex
	table   [outcomeCacheSize]cacheEntry
	reading singleflight.Group
	readers chan struct{}
}

func newOutcomeCache() *outcomeCache {
	return &outcomeCache{seed: maphash.MakeSeed(), made: time.Now(), readers: make(chan struct{}, maxReads)}
}

func (o *outcomeCache) hash(b []byte) uint64 { return maphash.Bytes(o.seed, b) }

// add notes that this relay has stored an event itself. What it says is looked at
// once it is repeated: another stream may be there by then.
func (o *outcomeCache) add(sequence uint64, id string) {
	s := cacheEntry{sequence: sequence, id: o.hash([]byte(id))}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.table[sequence%outcomeCacheSize] = s
}

// update notes what a look has found, and returns it with what was known before and is
// so still.
func (o *outcomeCache) update(found cacheEntry) cacheEntry {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.table[found.sequence%outcomeCacheSize]
	if s.sequence == found.sequence && s.id == found.id {
		if found.isTask && s.isTask && s.outcome == found.outcome {
			found.body = s.body
		}
		found.looks, found.since = s.looks, s.since
	}
	if now := time.Since(o.made); found.looks == 0 || now-found.since > stormTime {
		found.looks, found.since = 0, now
	}
	found.looks++
	*s = found
	return found
}

// getInStorm returns what the looks of the last moment have found, if they were many.
func (o *outcomeCache) getInStorm(sequence uint64, id string) (cacheEntry, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.table[sequence%outcomeCacheSize]
	return s, s.looks >= stormLooks && s.sequence == sequence && s.id == o.hash([]byte(id)) && time.Since(o.made)-s.since <= stormTime
}

// setBody notes a body that tells what an event does.
func (o *outcomeCache) setBody(first cacheEntry, body uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := &o.table[first.sequence%outcomeCacheSize]; s.sequence == first.sequence && s.id == first.id {
		s.body = body
	}
}

// insertIfAbsent reports whether nothing was known of a stored event: then it can be the
// caller's own, and nobody else's from now on.
func (o *outcomeCache) insertIfAbsent(sequence uint64, id string) bool {
	mine := cacheEntry{sequence: sequence, id: o.hash([]byte(id))}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.table[sequence%outcomeCacheSize]
	if s.sequence == mine.sequence && s.id == mine.id {
		return false
	}
	*s = mine
	return true
}
