package feed

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// firstWindow and lastWindow are how many sequences are read in one go to fill the index:
	// few at first, so that the newest ones are there at once.
	firstWindow = 2_000
	lastWindow  = 50_000
	// windowGrowth is by how much a window is larger than the one before.
	windowGrowth = 5
)

// kind is what a message tells, by its subject.
type kind int

const (
	kindOther kind = iota // somebody else's
	kindSuccess
	kindFailed
	kindRejected
	kindConflict
	kindMissing
	kinds
)

// kindOf is the kind of a subject under a prefix.
func kindOf(prefix, subject string) kind {
	rest, ok := strings.CutPrefix(subject, prefix+".")
	if !ok {
		return kindOther
	}
	switch rest {
	case "task.success":
		return kindSuccess
	case "task.failed":
		return kindFailed
	case "quarantine.rejected":
		return kindRejected
	case "quarantine.conflict":
		return kindConflict
	case "quarantine.missing":
		return kindMissing
	}
	return kindOther
}

// taskOf is the task of an event by its headers; empty if they do not tell.
func taskOf(header nats.Header) string {
	if id := header.Get(jetstream.MsgIDHeader); id != "" {
		return event.TaskIDOf(id)
	}
	return header.Get("ce-subject")
}

// eventStream keeps where the tasks are, by the headers of their events.
type eventStream struct {
	*source
	window []entry // of the fill, used again and again
}

func (e *eventStream) beginLocked(next uint64) {
	e.f.index.begin(next)
	e.f.minutes.forget(kindSuccess, kindFailed)
	e.f.recovered = nil
}

func (e *eventStream) trimLocked(first uint64) {
	e.f.index.trim(first)
	e.f.recovered.trim(first)
}

// forgetLocked does nothing: what the index has are candidates.
func (e *eventStream) forgetLocked([]uint64) {}

func (e *eventStream) knownLocked() (from uint64, n int) { return e.f.index.from, e.f.index.size }

func (e *eventStream) selection(from, to uint64) streamreader.Selection {
	return streamreader.Selection{Domain: e.f.o.Domain, Stream: e.name, FromSeq: from, ToSeq: to, HeadersOnly: true}
}

func (e *eventStream) follow(ctx context.Context, from uint64) error {
	f, s := e.f, e.selection(from, 0)
	s.Follow = true
	return streamreader.Read(ctx, f.o.Conn, s, func(streamreader.Start) { e.readable() }, func(m streamreader.Message) error {
		kind, task := kindOf(f.o.Prefix, m.Subject), taskOf(m.Header)
		now := f.o.Now()
		f.mu.Lock()
		if kind != kindOther && task != "" {
			f.index.append(m.Sequence, f.index.hash(task))
		}
		f.recovered.add(m.Sequence, m.Stored, m.Header)
		f.minutes.count(kind, m.Stored, now)
		e.advanceLocked(m.Sequence)
		h := head{stream: e.source, created: e.status.Created, message: m, show: f.latest.admitLocked(kind, now)}
		h.measure = (kind == kindSuccess || kind == kindFailed) && f.minutes.wantsLag(m.Stored, now)
		f.mu.Unlock()
		f.enqueue(h)
		f.changes.notify()
		return nil
	})
}

// fill reads windows of sequences, the newest one first.
func (e *eventStream) fill(ctx context.Context, below uint64) (uint64, error) {
	f := e.f
	for span := uint64(firstWindow); ; span = min(span*windowGrowth, lastWindow) {
		f.mu.Lock()
		first := max(e.status.First, 1)
		ended := below <= first
		e.hourCounted = e.hourCounted || ended
		e.status.Filling = !ended && (!f.index.full || !e.hourCounted)
		filling := e.status.Filling
		if e.hourCounted && !f.minutes.ready {
			f.minutes.ready = true
			select {
			case f.measure <- struct{}{}:
			default:
			}
		}
		f.mu.Unlock()
		f.changes.notify()
		if !filling {
			e.window = nil
			return below, nil
		}
		low := max(first, below-min(span, below-1))
		if err := e.fillWindow(ctx, low, below); err != nil {
			return below, err
		}
		below = low
	}
}

// fillWindow reads the messages from one sequence to below another.
func (e *eventStream) fillWindow(ctx context.Context, low, below uint64) error {
	f := e.f
	e.window = e.window[:0]
	var oldest time.Time
	counted := minutes{}
	var recovered []streamreader.Head
	now := f.o.Now()
	err := streamreader.Scan(ctx, f.o.Conn, e.selection(low, below-1), func(h streamreader.Head) error {
		if oldest.IsZero() {
			oldest = h.Stored
		}
		kind := kindOf(f.o.Prefix, h.Subject)
		counted.count(kind, h.Stored, now)
		if kind == kindOther {
			return nil
		}
		counted.offer(h.Sequence, h.Stored)
		if h.Header.Get(schema.HeaderRecovered) != "" {
			recovered = append(recovered, h)
		}
		if task := taskOf(h.Header); task != "" {
			e.window = append(e.window, entry{h.Sequence, f.index.hash(task)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	chunks := f.index.chunksOf(e.window)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index.prepend(chunks, low)
	f.minutes.add(&counted)
	for _, h := range recovered {
		f.recovered.add(h.Sequence, h.Stored, h.Header)
	}
	if !oldest.IsZero() && oldest.Before(now.Add(-counted.span())) {
		e.hourCounted = true
	}
	return nil
}
