package feed

import (
	"cmp"
	"context"
	"math"
	"regexp"
	"slices"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// maxKept is how many messages of the quarantine are known, and maxReasons how many
	// reasons: whoever may publish to it can make them up.
	maxKept    = 100_000
	maxReasons = 200
	// keptWindow is how many sequences of it are read in one go, with their bodies.
	keptWindow = 1_000
)

// ReasonCount is how many messages are in the quarantine for a reason.
type ReasonCount struct {
	// Reason is the event's attribute; empty for what has none, and for what is no event.
	Reason string
	Count  int
}

// quarantineIndex knows of each message of the quarantine which task it is about, and why it
// is there.
type quarantineIndex struct {
	entries []keptEntry // by sequence
	from    uint64      // the sequence from which on all is known
	reasons []string
}

type keptEntry struct {
	sequence uint64
	hash     uint32
	about    bool // some task
	reason   uint16
}

// bodyTask finds what may be a task's id in a body, which may be anything.
var bodyTask = regexp.MustCompile(`"taskId"\s*:\s*"([A-Za-z0-9_.:-]+)"`)

// AboutTask returns the task that a message of the quarantine is about, or an empty text where
// it tells none.
func AboutTask(m streamreader.Message) string {
	if m.Err != nil {
		return firstSubmatch(m.Data)
	}
	if m.Event.Type == schema.TypeAnnouncementRejected && m.Event.Subject != "" {
		if id, err := schema.TaskIDOfKey(m.Event.Subject); err == nil {
			return id
		}
	}
	return cmp.Or(m.Event.Subject, firstSubmatch(m.Event.Data))
}

func firstSubmatch(body []byte) string {
	if match := bodyTask.FindSubmatch(body); match != nil && schema.ValidTaskID(string(match[1])) {
		return string(match[1])
	}
	return ""
}

// reason is the number of a reason.
func (q *quarantineIndex) reason(reason string) uint16 {
	i := slices.Index(q.reasons, reason)
	if i < 0 {
		if len(q.reasons) >= maxReasons {
			reason = ""
		}
		if i = slices.Index(q.reasons, reason); i < 0 {
			i = len(q.reasons)
			q.reasons = append(q.reasons, reason)
		}
	}
	return uint16(min(i, math.MaxUint16))
}

// append adds a message that is newer than all others. Where there are too many, an eighth of them
// is forgotten at once.
func (q *quarantineIndex) append(e keptEntry) {
	q.entries = append(q.entries, e)
	if n := len(q.entries) - maxKept; n > maxKept/8 {
		q.from = q.entries[n].sequence
		q.entries = slices.Delete(q.entries, 0, n)
	}
}

func (q *quarantineIndex) find(hash uint32) (sequences []uint64) {
	for _, e := range slices.Backward(q.entries) {
		if e.about && e.hash == hash {
			sequences = append(sequences, e.sequence)
		}
	}
	return sequences
}

func (q *quarantineIndex) counts() []ReasonCount {
	counts := make([]ReasonCount, len(q.reasons))
	for i, reason := range q.reasons {
		counts[i].Reason = reason
	}
	for _, e := range q.entries {
		counts[e.reason].Count++
	}
	counts = slices.DeleteFunc(counts, func(c ReasonCount) bool { return c.Count == 0 })
	slices.SortFunc(counts, func(a, b ReasonCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	return counts
}

func (q *quarantineIndex) forget(sequences []uint64) {
	gone := make(map[uint64]bool, len(sequences))
	for _, sequence := range sequences {
		gone[sequence] = true
	}
	q.entries = slices.DeleteFunc(q.entries, func(e keptEntry) bool { return gone[e.sequence] })
}

// quarantineStream knows the quarantine, by its bodies.
type quarantineStream struct{ *source }

func (q *quarantineStream) beginLocked(next uint64) {
	q.f.kept = quarantineIndex{from: next}
	q.f.minutes.forget(kindRejected, kindConflict, kindMissing)
}

func (q *quarantineStream) trimLocked(first uint64) {
	kept := &q.f.kept
	n, _ := slices.BinarySearchFunc(kept.entries, first, func(e keptEntry, s uint64) int { return cmp.Compare(e.sequence, s) })
	kept.entries = slices.Delete(kept.entries, 0, n)
	kept.from = max(kept.from, first)
}

func (q *quarantineStream) forgetLocked(sequences []uint64) {
	q.f.kept.forget(sequences)
	q.f.latest.forget(q.name, sequences)
}

func (q *quarantineStream) knownLocked() (from uint64, n int) {
	return q.f.kept.from, len(q.f.kept.entries)
}

// entryLocked is what is kept of a message.
func (q *quarantineStream) entryLocked(m streamreader.Message, task string) keptEntry {
	return keptEntry{sequence: m.Sequence, hash: q.f.index.hash(task), about: task != "", reason: q.f.kept.reason(m.Event.Reason())}
}

func (q *quarantineStream) follow(ctx context.Context, from uint64) error {
	f := q.f
	s := streamreader.Selection{Domain: f.o.Domain, Stream: q.name, FromSeq: from, Follow: true}
	return streamreader.Read(ctx, f.o.Conn, s, func(streamreader.Start) { q.readable() }, func(m streamreader.Message) error {
		kind, task := kindOf(f.o.Prefix, m.Subject), AboutTask(m)
		f.mu.Lock()
		f.kept.append(q.entryLocked(m, task))
		f.minutes.count(kind, m.Stored, f.o.Now())
		q.advanceLocked(m.Sequence)
		h := head{stream: q.source, created: q.status.Created, message: m, show: f.latest.admitLocked(kind, f.o.Now())}
		f.mu.Unlock()
		f.enqueue(h)
		f.changes.notify()
		return nil
	})
}

// fill reads windows of sequences, the newest one first.
func (q *quarantineStream) fill(ctx context.Context, below uint64) (uint64, error) {
	f := q.f
	for {
		f.mu.Lock()
		first := max(q.status.First, 1)
		ended := below <= first || len(f.kept.entries) >= maxKept
		q.hourCounted = q.hourCounted || ended
		q.status.Filling = !ended
		f.mu.Unlock()
		f.changes.notify()
		if ended {
			return below, nil
		}
		low := max(first, below-min(keptWindow, below-1))
		if err := q.fillWindow(ctx, low, below); err != nil {
			return below, err
		}
		below = low
	}
}

// fillWindow reads the messages from one sequence to below another.
func (q *quarantineStream) fillWindow(ctx context.Context, low, below uint64) error {
	f := q.f
	var entries []keptEntry
	counted, now := minutes{}, f.o.Now()
	s := streamreader.Selection{Domain: f.o.Domain, Stream: q.name, FromSeq: low, ToSeq: below - 1}
	err := streamreader.Read(ctx, f.o.Conn, s, nil, func(m streamreader.Message) error {
		task := AboutTask(m)
		f.mu.Lock()
		entries = append(entries, q.entryLocked(m, task))
		f.mu.Unlock()
		counted.count(kindOf(f.o.Prefix, m.Subject), m.Stored, now)
		return nil
	})
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept.entries = slices.Insert(f.kept.entries, 0, entries...)
	f.kept.from = low
	f.minutes.add(&counted)
	return nil
}
