package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/admin"
	"github.com/apixo-relay/apixo-relay/relay/descriptors"
	"github.com/apixo-relay/apixo-relay/relay/endpoint"
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

// serve answers until Stop. When the time for finishing is over, abort is called,
// and what is left is cut off.
func (r *Relay) serve(name string, server server, abort func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(); err != nil {
			r.failed <- fmt.Errorf("the %s ended by itself: %w", name, err)
		}
	}()
	r.addCleanup(name, func(ctx context.Context) error {
		defer func() { <-ended }()
		// A little of the time is left for those who have waited in vain to be told so.
		early, cancel := context.WithTimeout(ctx, r.cfg.Webhooks.ShutdownTimeout-responseGrace(r.cfg.Webhooks.ShutdownTimeout))
		defer cancel()
		err := server.Shutdown(early)
		if err == nil {
			return nil
		}
		if abort != nil {
			abort()
		}
		if err = server.Shutdown(ctx); err != nil {
			err = errors.Join(err, server.Close())
		}
		return err
	})
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
