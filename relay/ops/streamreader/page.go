package streamreader

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// maxWindow is how many messages are read at most before some of them may be a page:
	// what is read for nothing where they are.
	maxWindow = 1 << 16
	// windowGrowth is by how much the next window is larger where the last one had too
	// few messages.
	windowGrowth = 4
	// minPrefetch is what a small window asks for: the client's buffer has room for so many
	// messages, and drops what the broker tells besides.
	minPrefetch = 32
)

// PageOptions say which part of a selection a page is.
type PageOptions struct {
	// Before is the sequence below which to look, such as the Next of the page before; 0
	// means from the end of the selection.
	Before uint64
	// Size is how many messages the page has at most, one at least. Most is how many are
	// looked at, unless it is 0.
	Size, Most int
	// Match selects messages of the selection; nil selects them all. It may be asked about
	// more messages than the page has, and in any order.
	Match func(Message) bool
}

// Page is a part of a selection, read backwards.
type Page struct {
	// Messages are the newest that match, newest first.
	Messages []Message
	// Next is the sequence below which to go on: the Before of the next page. 0 means
	// that nothing is left, so that a page without messages need not be the last one.
	Next uint64
	// Examined is how many messages were looked at.
	Examined int
}

// ReadPage returns the newest messages of a selection that match. Here FromSeq, Since, ToSeq
// and Until of the selection are bounds, without which it is the whole stream; Follow means
// nothing. The error says what to do. What the broker deletes meanwhile may be in the page or not.
//
// A consumer reads forwards only. So that a page costs a few round trips where the newest
// messages match, it reads a small window of sequences at the end, and larger ones below
// it as long as the page is not full. In memory there is one page.
func ReadPage(ctx context.Context, conn *nats.Conn, s Selection, o PageOptions) (Page, error) {
	o.Size = max(o.Size, 1)
	low, high, err := bounds(ctx, conn, s, o.Before)
	if err != nil {
		return Page{}, err
	}
	p := pager{conn: conn, s: s, o: o}
	p.s.Since, p.s.Until, p.s.Follow = time.Time{}, time.Time{}, false
	// One more than the page has tells whether anything is left, and is not searched for.
	for span := uint64(o.Size) + 1; high > low && len(p.found) < o.Size && p.budget() > 0; {
		span = min(span, high-low)
		w, err := p.readWindow(ctx, high-span, high)
		switch {
		case ctx.Err() != nil:
			return Page{}, context.Cause(ctx) // which ends reading without an error
		case errors.Is(err, errManyMessages):
			span = max(span/windowGrowth, 1)
			continue
		case err != nil:
			return Page{}, err
		}
		p.page.Examined += w.examined
		p.found = append(p.found, w.newest()...)
		high -= span
		p.above = w.pending
		if w.examined <= maxWindow/windowGrowth && span <= ^uint64(0)/windowGrowth {
			span *= windowGrowth
		}
	}
	return p.result(low, high), nil
}

// bounds are the sequences from low to below high in which the selection is.
func bounds(ctx context.Context, conn *nats.Conn, s Selection, before uint64) (low, high uint64, err error) {
	stream, err := lookUp(ctx, conn, s)
	if err != nil {
		return 0, 0, err
	}
	state := stream.CachedInfo().State
	low, high = max(state.FirstSeq, s.FromSeq, 1), state.LastSeq+1
	if !s.Since.IsZero() {
		since, err := sequenceAt(ctx, conn, s, s.Since)
		if err != nil {
			return 0, 0, err
		}
		low = max(low, since)
	}
	if !s.Until.IsZero() {
		after, err := sequenceAt(ctx, conn, s, s.Until.Add(1))
		if err != nil {
			return 0, 0, err
		}
		high = min(high, after)
	}
	if s.ToSeq > 0 {
		high = min(high, s.ToSeq+1)
	}
	if before > 0 {
		high = min(high, before)
	}
	return low, high, nil
}

// sequenceAt is the sequence of the first message that was stored at a time or later, or
// the one behind the last message.
func sequenceAt(ctx context.Context, conn *nats.Conn, s Selection, t time.Time) (uint64, error) {
	r, err := open(ctx, conn, Selection{Domain: s.Domain, Stream: s.Stream, Since: t, inactiveThreshold: s.inactiveThreshold})
	if err != nil {
		return 0, err
	}
	r.close()
	return r.start.FirstSeq, nil
}

// pager reads one page.
type pager struct {
	conn *nats.Conn
	s    Selection
	o    PageOptions
	page Page
	// found are those that match, newest first, up to one more than the page has.
	found []Message
	// above is how many messages of the selection are behind the windows that were
	// read, as far as that is known.
	above uint64
}

// errManyMessages says that a window has more messages than may be read for nothing.
var errManyMessages = errors.New("too many messages in a window")

// budget is how many messages may still be looked at in one go.
func (p *pager) budget() int {
	if p.o.Most == 0 {
		return maxWindow
	}
	return min(p.o.Most-p.page.Examined, maxWindow)
}

// readWindow reads the messages from low to below high, in order. With more than one sequence in
// it, its error is errManyMessages if there are more than the budget has.
func (p *pager) readWindow(ctx context.Context, low, high uint64) (*window, error) {
	w := &window{size: p.o.Size + 1 - len(p.found)}
	s := p.s
	s.FromSeq, s.ToSeq = low, high-1
	s.prefetch = int(min(max(high-low, minPrefetch), prefetchMessages))
	tooMany := false
	err := Read(ctx, p.conn, s, func(start Start) {
		w.pending = start.Pending
		tooMany = high-low > 1 && start.Pending > p.above && start.Pending-p.above > uint64(p.budget()) && high-low > uint64(p.budget())
	}, func(m Message) error {
		if tooMany {
			return errManyMessages
		}
		w.examined++
		if p.o.Match == nil || p.o.Match(m) {
			w.add(m)
		}
		return nil
	})
	return w, err
}

// result is the page, once the windows were read from high on.
func (p *pager) result(low, high uint64) Page {
	switch size := p.o.Size; {
	case len(p.found) > size:
		p.page.Messages, p.page.Next = p.found[:size:size], p.found[size-1].Sequence
	case high > low:
		p.page.Messages, p.page.Next = p.found, high
	default:
		p.page.Messages = p.found
	}
	return p.page
}

// window keeps the newest of the messages that it is given, which are size at most.
type window struct {
	size     int
	ring     []Message
	oldest   int // place in a ring that is full
	examined int
	pending  uint64 // from its beginning to the end of the stream
}

func (w *window) add(m Message) {
	if len(w.ring) < w.size {
		w.ring = append(w.ring, m)
		return
	}
	w.ring[w.oldest] = m
	w.oldest = (w.oldest + 1) % w.size
}

// newest are its messages, newest first.
func (w *window) newest() []Message {
	messages := slices.Concat(w.ring[w.oldest:], w.ring[:w.oldest])
	slices.Reverse(messages)
	return messages
}
