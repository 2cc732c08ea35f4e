package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/admin"
	"github.com/apixo-relay/apixo-relay/relay/descriptors"
	"github.com/apixo-relay/apixo-relay/relay/endpoint"
	"github.com/apixo-relay/apixo-relay/relay/service"
)

// server is what answers at one address.
type server interface {
	Serve() error // nil after Shutdown or Close
	Shutdown(context.Context) error
	Close() error
}

// adminServer is a server whose callers come again by themselves if they are cut off.
type adminServer struct{ *endpoint.Server }

// adminGrace is how long those are waited for who ask at the moment.
const adminGrace = time.Second

// Shutdown implements server.
func (h adminServer) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, adminGrace)
	defer cancel()
	if h.Server.Shutdown(ctx) == nil {
		return nil
	}
	return h.Close()
}

// newAdminServer answers at the admin endpoint, without regard to who asks.
func (r *Relay) newAdminServer(metrics http.Handler) server {
	checks := admin.Checks{Health: r.health, Ready: r.ready, Notes: r.notes}
	s := admin.Server(admin.Handler(checks, metrics), r.log)
	return adminServer{endpoint.New(endpoint.Settings{
		HTTP: s, Listener: r.admin, Timeout: adminGrace, AnyClient: true,
		MaxConns:   func() int { return descriptors.ForConfig(r.cfg).Admin },
		OnShutdown: func() { s.SetKeepAlivesEnabled(false) },
	})}
}

// serverService implements service.Service by a server. When the time for finishing is over
// it calls abort, and cuts off what is left.
type serverService struct {
	service.Background
	server  server
	abort   func()
	timeout time.Duration
	failed  func(error) // the server has ended by itself

	mu      sync.Mutex
	started bool
	stopped bool
	err     error // of the first Stop
}

// serverOf returns the service of a server whose end by itself is the relay's.
func (r *Relay) serverOf(name string, server server, abort func()) *serverService {
	return &serverService{
		server: server, abort: abort, timeout: r.cfg.Webhooks.ShutdownTimeout,
		failed: func(err error) { r.failed <- fmt.Errorf("the %s ended by itself: %w", name, err) },
	}
}

// Start implements service.Service: it serves until Stop.
func (s *serverService) Start(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.stopped {
		return nil
	}
	s.started = true
	s.Go(func(context.Context) {
		if err := s.server.Serve(); err != nil {
			s.failed(err)
		}
	})
	return nil
}

// Stop implements service.Service.
func (s *serverService) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		if s.started {
			s.err = s.shutdown(ctx)
		}
	}
	return errors.Join(s.err, s.Background.Stop(context.WithoutCancel(ctx))) // Serve is about to return
}

func (s *serverService) shutdown(ctx context.Context) error {
	// A little of the time is left for those who have waited in vain to be told so.
	early, cancel := context.WithTimeout(ctx, s.timeout-responseGrace(s.timeout))
	defer cancel()
	err := s.server.Shutdown(early)
	if err == nil {
		return nil
	}
	if s.abort != nil {
		s.abort()
	}
	if err = s.server.Shutdown(ctx); err != nil {
		err = errors.Join(err, s.server.Close())
	}
	return err
}

// responseGrace is how much of the time for an orderly end is kept for answering
// 503 to whoever is still waiting.
func responseGrace(whole time.Duration) time.Duration { return min(whole/5, 2*time.Second) }

// listen takes an address, or says which variable names another.
func listen(variable, addr string) (net.Listener, error) {
	var conf net.ListenConfig
	conf.SetMultipathTCP(false) // its sockets take no packet filters, which package endpoint needs
	l, err := conf.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s=%s cannot be listened on: %w; choose another address, or stop what is using it", variable, addr, err)
	}
	return l, nil
}

// closeListener closes a listener that may have been closed by its server already.
func closeListener(l net.Listener) func(context.Context) error {
	return func(context.Context) error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}
