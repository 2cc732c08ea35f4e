package endpoint

import "time"

const (
	// reserved is how many descriptors are left for what is no connection: log,
	// broker, and the files of an embedded store. A process that has few keeps half.
	reserved = 256
	// idleEnough is how long a connection must have been without a request to make
	// way for a new one.
	idleEnough = time.Second
	// roomTick is between two looks for such a connection.
	roomTick = 50 * time.Millisecond
)

// awaitRoom returns when there may be one connection more, or the listener is
// closed. Who has to wait does so in the kernel's queue. Where that can be told (on
// Linux), the connection that has been idle for the longest makes way, so that
// nobody keeps others out by doing nothing.
//
// Without this, anybody could use up the descriptors, without a token; and a
// store that cannot open a file is broken until the process ends.
func (l *listener) awaitRoom() {
	for !l.closed.Load() && !l.hasRoom() {
		if n, err := l.queued(); err == nil && n > 0 {
			if c := l.idlest(); c != nil {
				_ = c.Close() // it has no request
				continue
			}
		}
		select {
		case <-l.room:
		case <-time.After(roomTick):
		}
	}
}

func (l *listener) hasRoom() bool {
	most := l.most()
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns) < most
}

// idlest is the connection that has been without a request for the longest, nil if
// none has been so for long enough.
func (l *listener) idlest() (found *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	longest := idleEnough
	for c := range l.conns {
		if idle := l.since(&c.since); idle >= longest && !c.busy.Load() {
			found, longest = c, idle
		}
	}
	return found
}
