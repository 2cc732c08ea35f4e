// Package endpoint serves HTTP where anybody may connect, from the first connection
// to the last: it takes no more of them at once than it is told, without letting anybody
// keep others out, and it ends in such a way that nobody who has sent a
// request, or part of one, is left without an answer.
//
// [http.Server.Shutdown] alone does not: it resets the connections that nobody has
// accepted yet, and closes those that are idle although the next request may be
// on its way already.
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
	// maxGracePeriod is how long new connections are taken after the end was asked for,
	// while they keep coming: balancers learn of it a moment later.
	maxGracePeriod = 5 * time.Second
	// maxIdlePeriod is how long nothing must have come before it is taken for the end of
	// it. Whoever sends more often than that is told to close the connection.
	maxIdlePeriod = time.Second
	// handshake is what a connection may take to be made once its beginning has
	// been answered by the kernel.
	handshake = 200 * time.Millisecond
	// tick is between two looks at the connections while the server drains.
	tick = 10 * time.Millisecond
)

// Settings are what a Server is made of.
type Settings struct {
	// HTTP answers. The Server takes its ConnState, ConnContext and HTTP2.CountError, and
	// goes between it and its Handler and ErrorLog.
	HTTP *http.Server
	// Listener is where connections come from; plain TCP, without TLS.
	Listener net.Listener
	// MaxConns is how many connections there may be at once, 1 at least. It is called for each
	// new one. On Linux connections that are of no use make way for new ones (see
	// awaitRoom); elsewhere new ones wait for those that end.
	MaxConns func() int
	// AnyClient lets connections make way without regard to what was answered on them: where
	// the handler answers anybody, that tells nothing of who is behind them.
	AnyClient bool
	// Timeout is the time for the end. New connections are taken for a fifth of it at
	// the most.
	Timeout time.Duration
	// OnShutdown is called at the beginning of the end. From then on the handler must set
	// "Connection: close" in each answer.
	OnShutdown func()
	// IsProxy reports whether a peer is a proxy whose PROXY protocol header (version 1
	// or 2) tells for whom it speaks: that address is then the connection's remote
	// address. A connection of such a peer without a header stays the peer's own. Nil
	// means that nobody is.
	IsProxy func(netip.Addr) bool
	// OnRefused is called for each connection or HTTP/2 stream that the HTTP library
	// refuses by itself, without asking the handler. It may be nil.
	OnRefused func()
	// Log takes a warning for some of those, three a minute at the most. It names what
	// came by its kind and never by its bytes.
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

// New makes a server; [Server.Serve] starts it.
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

// Serve answers until [Server.Shutdown] or [Server.Close], and returns nil then.
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

// Shutdown ends the server. Connections are taken while they keep coming, but not
// for long, and each is closed with its next answer. Those on which nothing comes
// are closed when it is quiet. It can be called again after ctx has ended.
//
// A server that has been quiet for a second ends at once.
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

// SkipGracePeriod makes Shutdown take no more connections than there are: what would answer
// them is broken, and mends only with the end.
func (s *Server) SkipGracePeriod() { s.skipGrace.Store(true) }

// Close ends the server at once.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.ended
	return err
}

// stopListening takes what has been connected by the kernel, and nothing new.
func (s *Server) stopListening(ctx context.Context) {
	if err := s.listener.stopHandshakes(); err == nil {
		ctx, cancel := context.WithTimeout(ctx, s.idlePeriod)
		defer cancel()
		_ = wait(ctx, func() bool { return s.listener.backlogEmpty(handshake) })
	}
	_ = s.listener.Close() // there is nothing to be done about an error
	<-s.ended
}

// connState is told by the HTTP server how its connections fare.
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

// wait looks again and again until done, or until ctx ends.
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
