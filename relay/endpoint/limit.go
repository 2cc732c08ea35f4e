package endpoint

import (
	"cmp"
	"net"
	"slices"
	"time"
)

const (
	// idleTime is how long a connection may be of no use to anybody before it makes way
	// for a new one. That is so long while hardly anybody waits.
	idleTime = time.Second
	// anyClientIdleTime is that among equals (see Settings): probes may wait for no more than
	// a second in all.
	anyClientIdleTime = idleTime / 2
	// minIdleTime is what it comes down to, however many wait: what is sent at once
	// has to be read. A TLS handshake waits for an answer of the other end besides,
	// from wherever that is.
	minIdleTime    = 10 * time.Millisecond
	minIdleTimeTLS = 300 * time.Millisecond
	// slotTick is between two looks for such connections while somebody waits.
	slotTick = 10 * time.Millisecond
)

// waitForSlot returns when there may be one connection more, or the listener is
// closed. Who has to wait does so in the kernel's queue. Where that can be told (on
// Linux), connections make way that are of no use, so that nobody keeps others out by
// doing nothing, or half of something.
//
// Without this, anybody could use up the descriptors, without a token; and a
// store that cannot open a file is broken until the process ends.
func (l *listener) waitForSlot() {
	for !l.closed.Load() {
		free := l.hasSlot()
		if free > 0 {
			return
		}
		if waiting, err := l.backlogLen(); err == nil && waiting > 0 {
			l.evict(waiting, 1-free)
			if l.hasSlot() > 0 {
				return
			}
		}
		select {
		case <-l.slotFreed:
		case <-time.After(slotTick):
		}
	}
}

// hasSlot is how many connections there may be more; less than none where the limit has
// been lowered.
func (l *listener) hasSlot() int {
	most := l.maxConns()
	l.mu.Lock()
	defer l.mu.Unlock()
	return most - len(l.conns)
}

// evict closes connections for as many as wait, or as there are too many, if so many
// are of no use: first those that have had nothing but refusals, if anything, and of
// each kind the oldest first.
func (l *listener) evict(waiting, excess int) {
	var found []*conn
	l.mu.Lock()
	// Who waits has to get a turn within a second or so: that is how long one place is
	// taken, times how many wait for each of the places.
	limit := max(l.minIdleTime, l.idleTime*time.Duration(len(l.conns))/time.Duration(len(l.conns)+waiting))
	now := l.now()
	for c := range l.conns {
		if c.isEvictable(now, limit) {
			found = append(found, c)
		}
	}
	l.mu.Unlock()
	if n := max(waiting, excess); n < len(found) {
		slices.SortFunc(found, func(a, b *conn) int {
			switch served := a.served.Load(); {
			case served == b.served.Load():
				return cmp.Compare(a.evictable.Load(), b.evictable.Load())
			case served:
				return 1
			default:
				return -1
			}
		})
		found = found[:n]
	}
	for _, c := range found {
		_ = c.Close() // nobody waits for anything on it
	}
}

// isEvictable reports whether a connection has been of no use for longer than that, or for
// twice as long where it was of use before.
//
// It is of use while a request is being answered. The beginning of one is none yet, up
// to the end of its head: whoever means it sends that in one piece, mostly. Handlers
// refuse at once what they do not want, whether its body has come or not; so one that
// is at work has a request that is wanted, unless it waits for a peer that reads
// nothing.
//
// Until something has been answered, only the time counts for which the peer was waited
// for. How long this process takes for a handshake while it is flooded is not its fault.
func (c *conn) isEvictable(now int64, limit time.Duration) bool {
	useless, reading, writing := c.evictable.Load(), c.reading.Load(), c.writing.Load()
	if c.served.Load() {
		limit *= 2
	}
	switch least := int64(limit); {
	case now-useless < least:
		return false
	case writing != 0 && now-writing >= least:
		return true
	case c.handlers.Load() > 0 || c.owes.Load():
		return false
	case c.answered.Load() && !c.served.Load():
		return true // the library waits a while before it closes what it has refused
	}
	return reading != 0 && c.waited.Load()+now-max(reading, useless) >= int64(limit) && !c.hasUnread()
}

// serve takes note that a request has been answered, though that may not be written yet.
// Before it writes, the HTTP library may wait for a body that never comes.
func (c *conn) serve(wanted, body bool) {
	if wanted && !c.listener.anyClient {
		c.served.Store(true)
		c.renew()
		return
	}
	if body {
		c.owes.Store(false)
	}
}

// use takes note that something comes, after an answer or for the first time. Who has
// been served before is believed that it will be a request.
func (c *conn) use() {
	if c.served.Load() {
		c.renew()
	}
}

func (c *conn) renew() {
	c.evictable.Store(c.listener.now())
	c.waited.Store(0)
}

// timedConn is what a connection reads from and writes to: it tells since when its peer is
// waited for.
type timedConn struct {
	net.Conn
	of *conn
}

// Read implements [net.Conn].
func (t timedConn) Read(b []byte) (int, error) {
	begun := t.of.listener.now()
	t.of.reading.Store(begun)
	n, err := t.Conn.Read(b)
	t.of.reading.Store(0)
	t.of.waited.Add(t.of.listener.now() - max(begun, t.of.evictable.Load()))
	return n, err
}

// Write implements [net.Conn].
func (t timedConn) Write(b []byte) (int, error) {
	t.of.writing.Store(t.of.listener.now())
	n, err := t.Conn.Write(b)
	t.of.writing.Store(0)
	return n, err
}

// isRefused reports whether a request was refused that the HTTP library has not done with:
// it waits a while for the rest of its body.
func (c *conn) isRefused() bool {
	return c.answering.Load() && c.handlers.Load() == 0 && !c.served.Load() && !c.h2.Load()
}
