// Package ui serves the operator's page: what flows through the relay's streams, one task
// with its pictures, the quarantine, replays, announced tasks and checks.
//
// It is a process of its own beside the relay, a client of the broker as other commands are.
// Pages are rendered here and complete without scripts; what changes while one is open comes
// as server-sent events, rendered by the same templates. It loads nothing from the addresses
// in events: a browser does, from where that is allowed; files of the archive it serves from
// there. Who gets in is decided by package
// access. It must not know flags or exit codes.
package ui

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/expect"
	"github.com/apixo-relay/apixo-relay/relay/ops/ui/access"
	"github.com/apixo-relay/apixo-relay/relay/ops/ui/feed"
	"github.com/apixo-relay/apixo-relay/relay/reload"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
	"github.com/apixo-relay/apixo-relay/relay/tokens"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// headerTimeout and idleTimeout are for browsers, of which there are few.
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 32 << 10
	// brokerTimeout bounds what one page asks of the broker.
	brokerTimeout = 5 * time.Second
)

// Options are what the page needs.
type Options struct {
	Config config.Config
	// Environ is the environment, in the form of os.Environ: that of checks.
	Environ []string
	// Broker is the connection, which the caller closes after [Server.Serve].
	Broker *broker.Broker
	// ReadOnly leaves nothing that changes anything.
	ReadOnly bool
	// Version is shown.
	Version string
	Log     *slog.Logger
	// Audit tells what is deleted, before it is. Its handler returns an error for a line
	// that is not written, and then nothing is deleted.
	Audit *slog.Logger
}

// Server serves the page.
type Server struct {
	o         Options
	cfg       config.Config
	templates *template.Template
	listener  net.Listener
	tls       *tlsfiles.Files // nil for plain HTTP
	tokens    *tokens.Set     // nil if nobody has to sign in
	guard     *access.Guard
	feed      *feed.Feed
	expect    *expect.Client
	denied    *broker.PermissionWatcher
	jobs      jobs
	searches  searches
	relay     cached[relayState]
	consumers cached[consumersAnswer]
	report    cached[report]
	exports   chan struct{} // a slot for each export under way
	streams   chan struct{} // a slot for each page that is kept up to date
	files     chan struct{} // a slot for each archived file that is being served
	targets   targets
	ended     context.Context
	// boot tells pages of this process from those of one before.
	boot string
}

// New listens at the configured address. Its error says what cannot be used.
func New(o Options) (*Server, error) {
	files, err := tlsfiles.Load(tlsfiles.Settings{
		Variables: "RELAY_UI_TLS", Cert: o.Config.UI.TLSCertFile, Key: o.Config.UI.TLSKeyFile, Protocols: []string{"h2", "http/1.1"},
	})
	if err != nil {
		return nil, config.Error{Problem: err.Error()}
	}
	listener, err := net.Listen("tcp", o.Config.UI.Addr)
	if err != nil {
		return nil, fmt.Errorf("RELAY_UI_ADDR=%s cannot be listened on: %w; is the page being served already?", o.Config.UI.Addr, err)
	}
	s := &Server{
		o: o, cfg: o.Config, templates: parseTemplates(), listener: listener, tls: files,
		exports: make(chan struct{}, maxExports), streams: make(chan struct{}, maxStreams), files: make(chan struct{}, maxFiles), boot: rand.Text(),
	}
	if len(s.cfg.UI.AccessTokens) > 0 {
		s.tokens = tokens.New(s.cfg.UI.AccessTokens)
	}
	s.guard = access.New(access.Options{
		Addr: s.cfg.UI.Addr, Hosts: s.cfg.UI.Hosts, Tokens: s.tokens, TLS: files != nil, Media: s.cfg.UI.MediaHosts,
		ReadOnly: o.ReadOnly, Log: o.Log, Refuse: s.keepOut, SignInPage: s.signInPage,
	})
	ignoreSlowConsumers(o.Broker.Conn())
	// Once, since each watches for as long as there is the connection.
	s.expect, s.denied = expect.New(o.Broker.Conn(), o.Config), broker.WatchPermissions(o.Broker.Conn())
	s.feed = feed.New(feed.Options{
		Conn: o.Broker.Conn(), Domain: s.cfg.Stream.Domain, Stream: s.cfg.Stream.Name, Quarantine: s.cfg.Stream.Quarantine, Archive: schema.DefaultArchive,
		Prefix: s.cfg.Stream.Prefix, Index: s.cfg.UI.Index, Log: o.Log,
	})
	return s, nil
}

// ignoreSlowConsumers keeps from the log what a machine that is busy makes of a burst: whoever
// reads a stream notices that messages were dropped, and reads them again.
func ignoreSlowConsumers(conn *nats.Conn) {
	handler := conn.ErrorHandler()
	conn.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if !errors.Is(err, nats.ErrSlowConsumer) && handler != nil {
			handler(nc, sub, err)
		}
	})
}

// URL is where the page is, for a browser on this machine.
func (s *Server) URL() string {
	scheme := "http://"
	if s.tls != nil {
		scheme = "https://"
	}
	return scheme + config.Reachable(s.listener.Addr().String()) + "/"
}

// Serve serves until ctx ends, and then ends in order: a replay under way begins nothing more,
// and what was asked for is answered. Its error says why it ended otherwise.
func (s *Server) Serve(ctx context.Context) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ended = running
	if err := s.feed.Start(ctx); err != nil {
		return errors.Join(err, s.listener.Close())
	}
	server := &http.Server{
		Handler: s.guard.Handler(s.routes()), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug), TLSConfig: s.tls.Config(),
	}
	s.watchFiles(running)
	failed := make(chan error, 1)
	go func() {
		if s.tls != nil {
			failed <- server.ServeTLS(s.listener, "", "")
		} else {
			failed <- server.Serve(s.listener)
		}
	}()
	conn := s.conn()
	closed := conn.StatusChanged(nats.CLOSED)
	defer conn.RemoveStatusListener(closed)
	var err error
	select {
	case err = <-failed:
	case <-closed:
		// Another connection would not be that of what follows the streams.
		err = errors.New("the broker has ended the connection for good; start the page again")
	case <-ctx.Done():
	}
	cancel() // pages that are kept up to date end
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Webhooks.ShutdownTimeout)
	defer stop()
	// At once, since a request under way may take all of the time.
	feedStopped := make(chan error, 1)
	go func() { feedStopped <- s.feed.Stop(end) }()
	s.jobs.close(end)
	if shutdown := server.Shutdown(end); shutdown != nil {
		err = errors.Join(err, server.Close())
	}
	s.searches.wait(end)
	s.targets.close()
	return errors.Join(err, <-feedStopped)
}

// watchFiles takes up secrets and certificates whose files have changed.
func (s *Server) watchFiles(ctx context.Context) {
	if name := s.cfg.UI.TokensFile; name != "" {
		go reload.Watch(ctx, reload.Config{Name: "RELAY_UI_TOKENS_FILE", Files: []string{name}, Apply: func() error {
			secret, err := config.ReadSecretFile(name)
			if err != nil {
				return err
			}
			var list config.Tokens
			if err := list.UnmarshalText([]byte(secret)); err != nil {
				return err
			}
			s.tokens.Replace(list)
			return nil
		}}, s.o.Log)
	}
	if s.tls != nil {
		go reload.Watch(ctx, reload.Config{Name: "the page's certificate", Files: s.tls.Names(), Apply: s.tls.Reload}, s.o.Log)
	}
}

// conn is the connection to the broker, which can be another one later.
func (s *Server) conn() *nats.Conn { return s.o.Broker.Conn() }

// orAway returns an error, or that the broker is away while it is: the client says less.
func (s *Server) orAway(err error) error {
	if trouble := s.trouble(); err != nil && trouble != "" {
		return unavailableError{trouble}
	}
	return err
}

// unavailableError: the broker is away, or does not answer.
type unavailableError struct{ text string }

// Error implements error.
func (e unavailableError) Error() string { return e.text }

// trouble says for people why there is no connection to the broker; empty while there is one.
func (s *Server) trouble() string {
	if s.conn().IsConnected() {
		return ""
	}
	text := "The broker is away; this page goes on by itself when it is back."
	if cause := s.o.Broker.Cause(); cause != nil {
		text += " " + cause.Error()
	}
	return text
}
