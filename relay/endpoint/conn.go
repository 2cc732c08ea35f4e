package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"
)

// extraTime is how long a deadline is put off, once, if bytes have come that are not read yet.
const extraTime = time.Second

// conn is a connection with its state: whether a request on it needs an answer, and whether
// earlier ones were answered or refused.
type conn struct {
	net.Conn // what is read from and written to: raw, or proxied around it
	raw      net.Conn
	proxied  *proxyproto.Conn // nil unless the peer may send a PROXY protocol header
	listener *listener
	tls      *tls.Conn // around this one; nil without TLS

	h2    atomic.Bool
	known atomic.Bool  // whether h2 is
	busy  atomic.Bool  // something has come since the last answer
	since atomic.Int64 // when it was accepted, or last answered on

	answering atomic.Bool  // the handler has been called since the last answer
	answered  atomic.Bool  // a request has been
	unread    atomic.Int64 // bytes that have come since something was last written, or a head was whole
	gone      atomic.Bool  // the peer has closed it, or its direction of it
	prolonged atomic.Bool  // the deadline for reading has been

	// These tell whether it makes way for others, see limit.go.
	handlers  atomic.Int32 // that are at work; in HTTP/2 there can be many
	owes      atomic.Bool  // of HTTP/1: the handler has been called, and its answer is not written yet
	served    atomic.Bool  // a request has been answered otherwise than with a refusal
	evictable atomic.Int64 // since when it has been: accepted, last served, or begun to be used after that
	waited    atomic.Int64 // how long its peer has been waited for since then, before reading
	reading   atomic.Int64 // since when its peer is waited for; 0 if it is not
	writing   atomic.Int64 // since when its peer has not taken what is written; 0 if it has

	// Only the goroutine that reads and writes HTTP/1 uses these.
	first     [len(preface)]byte // the first bytes that came, behind a PROXY protocol header
	seen      int                // how many of them have
	refused   int                // status with which the library refused what came, or unknownStatus
	badHeader bool               // of the PROXY protocol
}

// newConn returns the conn around an accepted connection.
func (l *listener) newConn(accepted net.Conn) *conn {
	c := &conn{raw: accepted, listener: l}
	c.Conn = timedConn{accepted, c}
	if l.proxies == nil {
		return c
	}
	if peer, err := netip.ParseAddrPort(accepted.RemoteAddr().String()); err == nil && l.proxies(peer.Addr()) {
		c.proxied = proxyproto.NewConn(c.Conn, proxyproto.WithPolicy(proxyproto.USE), proxyproto.SetReadHeaderTimeout(l.headerTimeout))
		c.Conn = c.proxied
	}
	return c
}

// RemoteAddr implements [net.Conn]. It waits for a PROXY protocol header where one may come,
// and returns the address in it. It returns the peer's address without a header, or if the
// header has no IP address, as in headers for a proxy's own connections.
func (c *conn) RemoteAddr() net.Addr {
	if c.proxied == nil {
		return c.raw.RemoteAddr()
	}
	if h := c.proxied.ProxyHeader(); h != nil && h.Command.IsProxy() {
		switch h.SourceAddr.(type) {
		case *net.TCPAddr, *net.UDPAddr: // UDP is what HTTP/3 came by
			return h.SourceAddr
		}
	}
	return c.raw.RemoteAddr()
}

// LocalAddr implements [net.Conn].
func (c *conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// Read implements [net.Conn].
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.read(b)
	if n > 0 {
		if !c.h2.Load() && !c.busy.Swap(true) { // in HTTP/2 it may be a frame that asks for no answer
			c.use()
		}
		if c.seen < len(c.first) {
			c.seen += copy(c.first[c.seen:], b[:n])
		}
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.gone.Store(true)
		if c.proxied != nil && c.seen == 0 && !hungUp(err) {
			c.badHeader = true
		}
	}
	return n, err
}

// SetReadDeadline implements [net.Conn].
func (c *conn) SetReadDeadline(t time.Time) error {
	c.prolonged.Store(false)
	return c.Conn.SetReadDeadline(t)
}

// read reads, and lets that be known where the library waits for the rest of a head. It
// asks again after the end.
//
// What has come before a deadline is read after it, too: the time of a whole request may pass
// while this process gets no CPU, or stands still. Of a head that it has in part by then the
// library would say that it is malformed (textproto.Reader.ReadLine passes over the error).
func (c *conn) read(b []byte) (int, error) {
	if c.unread.Load() >= longHead && !c.h2.Load() && !c.answering.Load() && !c.gone.Load() {
		c.listener.heads.enter(c)
		defer c.listener.heads.leave(c)
	}
	n, err := c.Conn.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) && c.hasUnread() && !c.prolonged.Swap(true) {
		if err = c.Conn.SetReadDeadline(time.Now().Add(extraTime)); err == nil {
			n, err = c.Conn.Read(b)
		}
	}
	c.unread.Add(int64(n))
	return n, err
}

// Write implements [net.Conn].
func (c *conn) Write(b []byte) (int, error) {
	c.unread.Store(0)
	if !c.answering.Load() && !c.h2.Load() && !c.gone.Load() {
		c.noteRefusal(b)
	}
	n, err := c.Conn.Write(b)
	if c.owes.Load() && c.handlers.Load() == 0 {
		c.owes.Store(false)
	}
	return n, err
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	l := c.listener
	l.changed.Store(l.now())
	l.admission.leave(c)
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
	err := c.raw.Close() // before its descriptor counts as free
	select {
	case l.slotFreed <- struct{}{}:
	default: // known already
	}
	return err
}

// CloseWrite lets the HTTP server end a connection whose request it has not read
// to its end.
func (c *conn) CloseWrite() error {
	if w, ok := c.raw.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return net.ErrClosed
}

// setState takes note that the HTTP server has begun to read a request, or that it waits
// for the next.
func (c *conn) setState(state http.ConnState) {
	c.unread.Store(0) // before the library reads ahead while the handler answers
	if !c.known.Load() {
		if c.tls != nil {
			c.h2.Store(c.tls.ConnectionState().NegotiatedProtocol == "h2")
		} else {
			c.h2.Store(string(c.first[:c.seen]) == preface)
		}
		c.known.Store(true)
	} else if c.h2.Load() { // which is told to be active once before it has any requests
		c.turn(state)
	}
	switch {
	case state == http.StateIdle:
		now := c.listener.now()
		c.since.Store(now)
		c.listener.changed.Store(now)
		c.busy.Store(false)
		c.owes.Store(false)
		c.answering.Store(false)
	case c.h2.Load():
		c.busy.Store(true)
		c.use()
	}
}

// connOf returns the conn below a connection of the HTTP server, and the TLS connection
// around it, if any. Both are nil if there is no conn.
func connOf(nc net.Conn) (c *conn, secure *tls.Conn) {
	if secure, _ = nc.(*tls.Conn); secure != nil {
		nc = secure.NetConn()
	}
	c, _ = nc.(*conn)
	return c, secure
}

// connKey is the context key of a request's connection.
type connKey struct{}

func withConn(ctx context.Context, nc net.Conn) context.Context {
	c, _ := connOf(nc)
	return context.WithValue(ctx, connKey{}, c)
}

// statusHandler records on the connection that the handler answers. Bytes that are written
// before come from the library.
type statusHandler struct{ next http.Handler }

// ServeHTTP implements [http.Handler].
func (n statusHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(connKey{}).(*conn)
	if !ok || c == nil {
		n.next.ServeHTTP(w, r)
		return
	}
	c.answering.Store(true)
	c.handlers.Add(1)
	c.owes.Store(r.ProtoMajor == 1)
	a := &statusRecorder{ResponseWriter: w}
	defer func() {
		c.answered.Store(true)
		c.serve(!a.refuses, r.ContentLength != 0)
		c.handlers.Add(-1)
	}()
	n.next.ServeHTTP(a, r)
}

// statusRecorder records by the status whether a request was refused.
type statusRecorder struct {
	http.ResponseWriter
	refuses bool
}

// WriteHeader implements [http.ResponseWriter].
func (a *statusRecorder) WriteHeader(status int) {
	a.refuses = status >= 400 && status < 500
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (a *statusRecorder) Unwrap() http.ResponseWriter { return a.ResponseWriter }
