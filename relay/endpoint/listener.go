package endpoint

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// listener knows the connections that it has accepted and that are still open.
type listener struct {
	net.Listener
	closed atomic.Bool
	began  time.Time // times are relative to it: stepping the clock changes nothing

	accepted atomic.Int64 // when the last connection was
	changed  atomic.Int64 // when the last one was accepted, answered or closed

	proxies       func(netip.Addr) bool // see Settings
	headerTimeout time.Duration         // for a PROXY protocol header

	maxConns    func() int    // connections, at once
	idleTime    time.Duration // with those that are of no use
	minIdleTime time.Duration // the same, when many wait
	anyClient   bool          // see Settings
	slotFreed   chan struct{} // one has gone

	admission *admission
	heads     heads

	mu    sync.Mutex
	conns map[*conn]struct{}
}

func newListener(s Settings) *listener {
	l := &listener{
		Listener: s.Listener, began: time.Now(), proxies: s.IsProxy, headerTimeout: s.HTTP.ReadHeaderTimeout,
		maxConns: s.MaxConns, anyClient: s.AnyClient, idleTime: idleTime, minIdleTime: minIdleTime, slotFreed: make(chan struct{}, 1), admission: newAdmission(), conns: make(map[*conn]struct{}),
	}
	if s.AnyClient {
		l.idleTime = anyClientIdleTime
	}
	if s.HTTP.TLSConfig != nil {
		l.minIdleTime = minIdleTimeTLS
	}
	return l
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	l.waitForSlot()
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	now := l.now()
	l.accepted.Store(now)
	l.changed.Store(now)
	c := l.newConn(accepted)
	c.since.Store(now)
	c.evictable.Store(now)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = struct{}{}
	return c, nil
}

// Close implements [net.Listener].
func (l *listener) Close() error {
	l.closed.Store(true)
	return l.Listener.Close()
}

func (l *listener) now() int64 { return int64(time.Since(l.began)) }

// since returns the time since an event. An event that never happened was long ago.
func (l *listener) since(event *atomic.Int64) time.Duration {
	at := event.Load()
	if at == 0 {
		return time.Hour
	}
	return time.Duration(l.now() - at)
}

// idleFor reports whether no connection has been accepted, answered or closed for the time
// quiet.
func (l *listener) idleFor(quiet time.Duration) bool { return l.since(&l.changed) >= quiet }

// backlogEmpty reports whether the kernel's backlog is empty and no handshake can be in progress.
func (l *listener) backlogEmpty(handshake time.Duration) bool {
	n, err := l.backlogLen()
	return err != nil || n == 0 && l.since(&l.accepted) >= handshake
}

// allIdle reports whether no connection has a request, or has had one within the time quiet.
// An HTTP/2 connection can be ended while requests are coming. Refused requests do not count:
// nothing more of them is read.
func (l *listener) allIdle(quiet time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if !c.h2.Load() && !c.isRefused() && (c.busy.Load() || l.since(&c.since) < quiet) {
			return false
		}
	}
	return true
}

// closeUnused closes the connections that never had a request, and those that had only
// refusals: the HTTP server would wait for the bodies of these.
func (l *listener) closeUnused() {
	l.mu.Lock()
	var unused []*conn
	for c := range l.conns {
		if !c.h2.Load() && (!c.busy.Load() || c.isRefused()) {
			unused = append(unused, c)
		}
	}
	l.mu.Unlock()
	for _, c := range unused {
		_ = c.Close() // it has no request to answer
	}
}
