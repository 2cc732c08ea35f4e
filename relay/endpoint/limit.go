package endpoint

import (
	"cmp"
	"net"
	"slices"
	"time"
)

const (
	// idleTime is how long a connection may be useless before it makes way for a new one,
	// while hardly any connection waits.
	idleTime = time.Second
	// anyClientIdleTime is the same with AnyClient (see Settings): probes may wait for no
	// more than a second in all.
	anyClientIdleTime = idleTime / 2
	// minIdleTime is the lower limit, however many connections wait: a request that is sent
	// at once has to be read. A TLS handshake also waits for an answer of the peer, over
	// any distance.
	minIdleTime    = 10 * time.Millisecond
	minIdleTimeTLS = 300 * time.Millisecond
	// slotTick is the time between two evictions while a connection waits.
	slotTick = 10 * time.Millisecond
)

// waitForSlot returns when there is a slot for one more connection, or the listener is
// closed. New connections wait in the kernel's backlog. Where its length can be read (on
// Linux), evictable connections make way: no client keeps others out by sending nothing, or
// half a request.
//
// Without this limit, any client could use up the descriptors without a token, and a store
// that cannot open a file is broken until the process ends.
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

// hasSlot returns how many slots are free. It is negative after the limit has been lowered.
func (l *listener) hasSlot() int {
	most := l.maxConns()
	l.mu.Lock()
	defer l.mu.Unlock()
	return most - len(l.conns)
}

// evict closes evictable connections: as many as wait, or as are over the limit. It begins
// with connections that have had no answer but refusals, and with the oldest of each kind.
func (l *listener) evict(waiting, excess int) {
	var found []*conn
	l.mu.Lock()
	// Each waiting connection has to get a turn within a second or so: the time for which
	// one slot is taken, times the number that waits for each slot.
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
		_ = c.Close() // no request on it is being answered
	}
}

// isEvictable reports whether a connection has been useless for longer than limit, or for
// twice the limit if it has served a wanted request before.
//
// A connection is useful while a request is being answered. An incomplete head is not a
// request yet: good clients mostly send a head in one piece. Handlers refuse unwanted
// requests at once, before their body has come. A running handler therefore has a wanted
// request, unless it waits for a peer that reads nothing.
//
// Until the first answer, only the time counts for which the relay waited for the peer. A
// slow handshake of this process under a flood is not the peer's fault.
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

// serve records that a request has been answered, although the answer may not be written yet.
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

// use records that bytes come, after an answer or for the first time. From a connection that
// has served a wanted request they are taken for the next request.
func (c *conn) use() {
	if c.served.Load() {
		c.renew()
	}
}

func (c *conn) renew() {
	c.evictable.Store(c.listener.now())
	c.waited.Store(0)
}

// timedConn is the raw connection below a conn. It records since when the relay waits for the
// peer.
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

// isRefused reports whether a request was refused and the HTTP library still waits for the
// rest of its body.
func (c *conn) isRefused() bool {
	return c.answering.Load() && c.handlers.Load() == 0 && !c.served.Load() && !c.h2.Load()
}
