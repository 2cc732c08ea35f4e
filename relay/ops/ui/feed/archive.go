package feed

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
)

// archiveStream keeps where the archive tells of tasks, by the headers of its events.
type archiveStream struct{ *source }

func (a *archiveStream) beginLocked(next uint64) { a.f.archived.begin(next) }

func (a *archiveStream) trimLocked(first uint64) { a.f.archived.trim(first) }

// forgetLocked does nothing: what the index has are candidates.
func (a *archiveStream) forgetLocked([]uint64) {}

func (a *archiveStream) knownLocked() (from uint64, n int) {
	return a.f.archived.from, a.f.archived.size
}

func (a *archiveStream) selection(from, to uint64) streamreader.Selection {
	return streamreader.Selection{Domain: a.f.o.Domain, Stream: a.name, FromSeq: from, ToSeq: to, HeadersOnly: true}
}

func (a *archiveStream) follow(ctx context.Context, from uint64) error {
	f, s := a.f, a.selection(from, 0)
	s.Follow = true
	return streamreader.Read(ctx, f.o.Conn, s, func(streamreader.Start) { a.readable() }, func(m streamreader.Message) error {
		task, _, _, ok := event.ParseArchiveID(m.Header.Get(jetstream.MsgIDHeader))
		f.mu.Lock()
		if ok {
			f.archived.append(m.Sequence, f.archived.hash(task))
		}
		a.advanceLocked(m.Sequence)
		f.mu.Unlock()
		f.changes.notify()
		return nil
	})
}

// fill reads windows of sequences, the newest one first.
func (a *archiveStream) fill(ctx context.Context, below uint64) (uint64, error) {
	f := a.f
	for span := uint64(firstWindow); ; span = min(span*windowGrowth, lastWindow) {
		f.mu.Lock()
		first := max(a.status.First, 1)
		ended := below <= first || f.archived.full
		a.status.Filling = !ended
		f.mu.Unlock()
		f.changes.notify()
		if ended {
			return below, nil
		}
		low := max(first, below-min(span, below-1))
		if err := a.fillWindow(ctx, low, below); err != nil {
			return below, err
		}
		below = low
	}
}

// fillWindow reads the messages from one sequence to below another.
func (a *archiveStream) fillWindow(ctx context.Context, low, below uint64) error {
	f := a.f
	var entries []entry
	err := streamreader.Scan(ctx, f.o.Conn, a.selection(low, below-1), func(h streamreader.Head) error {
		if task, _, _, ok := event.ParseArchiveID(h.ID); ok {
			entries = append(entries, entry{h.Sequence, f.archived.hash(task)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	chunks := f.archived.chunksOf(entries)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.archived.prepend(chunks, low)
	return nil
}
