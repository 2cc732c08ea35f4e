// Package endpoint serves HTTP on a port that anybody may connect to. It limits the number of
// connections without letting one client keep others out. Its shutdown answers every request
// that was sent, in whole or in part.
//
// [http.Server.Shutdown] alone does not: it resets the connections that are not accepted
// yet, and closes idle connections although their next request may be on its way.
//
// It must not know webhooks.
package endpoint

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	// maxGracePeriod is how long Shutdown accepts new connections while they keep coming:
	// balancers learn of the shutdown a moment later.
	maxGracePeriod = 5 * time.Second
	// maxIdlePeriod is the idle time after which shutdown stops accepting. A client that
	// sends more often gets an answer that closes its connection.
	maxIdlePeriod = time.Second
	// handshake is the time for a TCP handshake to complete after the kernel has answered
	// its SYN.
	handshake = 200 * time.Millisecond
	// tick is the time between two checks of the connections while the server drains.
	tick = 10 * time.Millisecond
)

// Settings are the arguments of [New].
type Settings struct {
	// HTTP serves the requests. The Server sets its ConnState, ConnContext and
	// HTTP2.CountError, and wraps its Handler and ErrorLog.
	HTTP *http.Server
	// Listener accepts the connections: plain TCP, without TLS.
	Listener net.Listener
	// MaxConns returns how many connections there may be at once, 1 at least. It is called
	// for each new connection. On Linux evictable connections make way for new ones (see
	// waitForSlot); elsewhere new ones wait for others to end.
	MaxConns func() int
	// AnyClient makes connections evictable whatever was answered on them: if the handler
	// answers everybody, an answer does not tell a wanted client from an unwanted one.
	AnyClient bool
	// Timeout is the time for a shutdown. New connections are accepted for a fifth of it at
	// the most.
	Timeout time.Duration
	// OnShutdown is called when a shutdown begins. From then on the handler must set
	// "Connection: close" in each answer.
	OnShutdown func()
	// IsProxy reports whether a peer is a proxy whose PROXY protocol header (version 1
	// or 2) is believed: the address in it is then the connection's remote address.
	// Without a header the remote address is the peer's. Nil means that no peer is a proxy.
	IsProxy func(netip.Addr) bool
	// OnRefused is called for each connection or HTTP/2 stream that the HTTP library
	// refuses by itself, without asking the handler. It may be nil.
	OnRefused func()
	// Log takes warnings of such refusals, three a minute at the most. They name the kind of
	// the refused bytes and never the bytes themselves.
	Log *slog.Logger
}

// Server is an HTTP server with its listener.
type Server struct {
	http       *http.Server
	listener   *listener
	onShutdown func()
	refusals   *refusalLog
	ended      chan struct{} // closed when no more connections are accepted

	gracePeriod, idlePeriod time.Duration
	skipGrace               atomic.Bool
}

// New returns a server that [Server.Serve] starts.
func New(s Settings) *Server {
	l := newListener(s)
	server := &Server{
		http: s.HTTP, listener: l, onShutdown: s.OnShutdown, refusals: newRefusalLog(s), ended: make(chan struct{}),
		gracePeriod: min(s.Timeout/5, maxGracePeriod), idlePeriod: min(s.Timeout/10, maxIdlePeriod),
	}
	s.HTTP.ConnState = server.connState
	s.HTTP.ConnContext = withConn
	s.HTTP.Handler = statusHandler{s.HTTP.Handler}
	if s.HTTP.HTTP2 == nil {
		s.HTTP.HTTP2 = &http.HTTP2Config{}
	}
	s.HTTP.HTTP2.CountError = server.refusals.http2
	s.HTTP.ErrorLog = server.refusals.listen(s.HTTP.ErrorLog)
	return server
}

// Serve serves requests until [Server.Shutdown] or [Server.Close], and then returns nil.
func (s *Server) Serve() error {
	defer close(s.ended)
	var err error
	if s.http.TLSConfig != nil {
		err = s.http.ServeTLS(s.listener, "", "")
	} else {
		err = s.http.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) || s.listener.closed.Load() {
		return nil
	}
	return err
}

// Shutdown ends the server. While new connections keep coming it accepts them, for the grace
// period at the most, and closes each with its next answer. It closes idle connections after
// the idle period. Shutdown can be called again after ctx has ended.
//
// A server that has been idle for a second ends at once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.onShutdown()
	if !s.listener.closed.Load() {
		window, cancel := context.WithTimeout(ctx, s.gracePeriod)
		_ = wait(window, func() bool { return s.skipGrace.Load() || s.listener.idleFor(s.idlePeriod) })
		cancel()
		s.stopListening(ctx)
	}
	if err := wait(ctx, func() bool { return s.listener.allIdle(s.idlePeriod) }); err != nil {
		return err
	}
	s.listener.closeUnused()
	return s.http.Shutdown(ctx)
}

// SkipGracePeriod makes Shutdown accept no more connections: the handler is broken, and only a
// restart mends it.
func (s *Server) SkipGracePeriod() { s.skipGrace.Store(true) }

// Close ends the server at once.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.ended
	return err
}

// stopListening accepts the connections in the backlog, and no later ones.
func (s *Server) stopListening(ctx context.Context) {
	if err := s.listener.stopHandshakes(); err == nil {
		ctx, cancel := context.WithTimeout(ctx, s.idlePeriod)
		defer cancel()
		_ = wait(ctx, func() bool { return s.listener.backlogEmpty(handshake) })
	}
	_ = s.listener.Close() // an error changes nothing
	<-s.ended
}

// connState is the HTTP server's ConnState hook.
func (s *Server) connState(nc net.Conn, state http.ConnState) {
	c, secure := connOf(nc)
	switch {
	case c == nil:
	case state == http.StateNew:
		c.tls = secure
	case state == http.StateActive, state == http.StateIdle:
		c.setState(state)
	case state == http.StateClosed:
		s.listener.admission.leave(c)
		if r := c.refusal(s.refusals); r != nil {
			s.refusals.report(*r, c.RemoteAddr().String())
		}
	}
}

// wait calls done at each tick until it returns true, or until ctx ends.
func wait(ctx context.Context, done func() bool) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}
