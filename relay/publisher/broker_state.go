package publisher

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/broker"
)

// deniedTTL is how long a subject counts as denied when nothing more is heard of
// it: a permission that is given back is not told.
const deniedTTL = 10 * time.Second

// brokerState is what is known of the broker by the connection to it, and by what became
// of the messages that it was sent.
type brokerState struct {
	session        atomic.Pointer[session]   // the last one, nil before the first
	connectedAt    atomic.Pointer[time.Time] // when it was connected, nil before the first time
	disconnectedAt atomic.Pointer[time.Time] // when the connection was lost, nil while it is there

	// When a message was refused for want of room, and when one was not answered; nil
	// since one was stored.
	lastFull, lastAckTimeout atomic.Pointer[time.Time]
	fullSeen                 *time.Time // lastFull as the last look at the streams saw it
	fullBytes                uint64     // and their size at the first look that did

	permissions broker.PermissionWatcher
	mu          sync.Mutex
	denied      map[string]time.Time // when messages to a subject were, and none was stored since
	anyDenied   atomic.Bool          // so that each message need not take the lock
}

// connected notes a connection, which may be the last one again.
func (b *brokerState) connected(s *session) {
	b.session.Store(s)
	b.connectedAt.Store(new(time.Now())) // first, so that nobody takes the new one for the old
	b.disconnectedAt.Store(nil)
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.denied) // permissions belong to a connection
	b.anyDenied.Store(false)
}

// disconnected notes that the connection was lost.
func (b *brokerState) disconnected() { b.disconnectedAt.CompareAndSwap(nil, new(time.Now())) }

// connection is the one to the broker, if there is one now. The client is not
// asked: while it connects, it answers no question for some seconds.
func (b *brokerState) connection() (*session, bool) {
	s := b.session.Load()
	return s, s != nil && b.disconnectedAt.Load() == nil
}

// withinReconnectGrace reports whether the connection may soon be there again.
func (b *brokerState) withinReconnectGrace() bool {
	lost := b.disconnectedAt.Load()
	return b.session.Load() != nil && (lost == nil || time.Since(*lost) < reconnectGrace)
}

// acknowledged notes that a message was stored: so it has room, answers, and lets this
// user publish to the subject.
func (b *brokerState) acknowledged(subject string) {
	b.lastFull.Store(nil)
	b.lastAckTimeout.Store(nil)
	b.allowed(subject)
}

// ackTimedOut notes that a message was sent, and not answered.
func (b *brokerState) ackTimedOut() { b.lastAckTimeout.Store(new(time.Now())) }

// answered notes that a question was answered which was put at a time: before that the
// broker may have been silent.
func (b *brokerState) answered(asked time.Time) {
	if silent := b.lastAckTimeout.Load(); silent != nil && silent.Before(asked) {
		b.lastAckTimeout.CompareAndSwap(silent, nil)
	}
}

// streamFull notes that a message was refused for want of room.
func (b *brokerState) streamFull() { b.lastFull.Store(new(time.Now())) }

// detectFreedSpace finds out whether there is room again, by the size of the streams
// together: that they shrink since a message was refused. Only a look at the streams
// calls it.
func (b *brokerState) detectFreedSpace(bytes uint64) {
	full := b.lastFull.Load()
	switch {
	case full == nil:
	case full != b.fullSeen:
		b.fullSeen, b.fullBytes = full, bytes
	case bytes < b.fullBytes:
		b.lastFull.CompareAndSwap(full, nil)
	}
}

// publishDenied notes that a message, or a question, was denied, and wakes whoever waits
// for its answer.
func (b *brokerState) publishDenied(subject string) {
	if !strings.HasPrefix(subject, "$") { // a question says itself what became of it
		b.mu.Lock()
		if b.denied == nil {
			b.denied = make(map[string]time.Time)
		}
		b.denied[subject] = time.Now()
		b.anyDenied.Store(true)
		b.mu.Unlock()
	}
	b.permissions.Denied(subject)
}

// allowed notes that a message was not denied.
func (b *brokerState) allowed(subject string) {
	if !b.anyDenied.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.denied, subject)
	b.anyDenied.Store(len(b.denied) > 0)
}

// isInDoubt reports whether the last messages were not stored, for a cause that may pass
// unnoticed.
func (b *brokerState) isInDoubt() bool {
	return b.lastFull.Load() != nil || b.lastAckTimeout.Load() != nil
}

// refusal says why the next message would not be stored, by what became of the last ones,
// or nil. Whether there is room may be a matter of the account's or the server's limit, of
// which nothing is known until the next message comes.
func (b *brokerState) refusal() error {
	if full := b.lastFull.Load(); full != nil && time.Since(*full) < recheckGood {
		return fmt.Errorf("the stream is full: the broker refused a message for want of room %s ago", time.Since(*full).Round(time.Second))
	}
	if silent := b.lastAckTimeout.Load(); silent != nil && time.Since(*silent) < recheckGood {
		return fmt.Errorf("the broker did not acknowledge a message %s ago", time.Since(*silent).Round(time.Second))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.denied, func(_ string, at time.Time) bool { return time.Since(at) > deniedTTL })
	if len(b.denied) > 0 {
		return &broker.PermissionError{Subject: strings.Join(slices.Sorted(maps.Keys(b.denied)), ", ")}
	}
	return nil
}
