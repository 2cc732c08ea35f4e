package archive

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/schema"
)

// message is an event that this program has been sent, and has not settled.
type message struct {
	jetstream.Msg
	meta  *jetstream.MsgMetadata
	event schema.Event
	task  schema.Task
	// err: it is no event of a task.
	err error
	// expires is when its addresses do.
	expires time.Time
	// late: they had when it came.
	late bool
}

// newMessage reads a message of the stream.
func newMessage(msg jetstream.Msg) (*message, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	m := &message{Msg: msg, meta: meta}
	if m.event, m.err = schema.DecodeMessage(msg.Headers(), msg.Data()); m.err == nil {
		m.task, m.err = m.event.Task()
	}
	known := meta.Timestamp
	if at := m.event.Time; !at.IsZero() && at.Before(known) { // it may have waited in the outbox
		known = at
	}
	m.expires = m.task.AddressesExpire(known)
	m.late = m.expires.Before(time.Now())
	return m, nil
}

// held are the messages that this program has, by what expires first. Those that have expired
// already come last: perhaps they are there all the same.
type held struct {
	limit int
	// changed is told that there is room, or that there is a message.
	changed *sync.Cond

	mu      sync.Mutex
	waiting []*message
	working map[*message]bool
}

func newHeld(limit int) *held {
	h := &held{limit: limit, working: make(map[*message]bool)}
	h.changed = sync.NewCond(&h.mu)
	return h
}

// room waits until there is room for more messages, and returns for how many; 0 once ctx has
// ended.
func (h *held) room(ctx context.Context) int {
	defer h.wakeAtEnd(ctx)()
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		if ctx.Err() != nil {
			return 0
		}
		if n := h.limit - len(h.waiting) - len(h.working); n > 0 {
			return n
		}
		h.changed.Wait()
	}
}

// wakeAtEnd has those who wait look at ctx when it ends.
func (h *held) wakeAtEnd(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.changed.Broadcast()
	})
}

func (h *held) add(m *message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting = append(h.waiting, m)
	h.changed.Broadcast()
}

// take waits for the message to work on next; nil once ctx has ended.
func (h *held) take(ctx context.Context) *message {
	defer h.wakeAtEnd(ctx)()
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.waiting) == 0 && ctx.Err() == nil {
		h.changed.Wait()
	}
	if ctx.Err() != nil {
		return nil
	}
	m := slices.MinFunc(h.waiting, compareExpiry)
	h.waiting = slices.DeleteFunc(h.waiting, func(other *message) bool { return other == m })
	h.working[m] = true
	return m
}

// release forgets a message that has been settled or given back.
func (h *held) release(m *message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.working, m)
	h.changed.Broadcast()
}

// upTo is how many messages there are up to a sequence.
func (h *held) upTo(sequence uint64) (n int) {
	h.each(func(m *message) {
		if m.meta.Sequence.Stream <= sequence {
			n++
		}
	})
	return n
}

// each calls f for every message.
func (h *held) each(f func(*message)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.waiting {
		f(m)
	}
	for m := range h.working {
		f(m)
	}
}

// drop forgets all messages that nobody works on, and returns them.
func (h *held) drop() (waiting []*message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	waiting, h.waiting = h.waiting, nil
	return waiting
}

// compareExpiry is negative where a is to be worked on before b.
func compareExpiry(a, b *message) int {
	if a.late != b.late {
		if b.late {
			return -1
		}
		return 1
	}
	return cmp.Or(a.expires.Compare(b.expires), cmp.Compare(a.meta.Sequence.Stream, b.meta.Sequence.Stream))
}
