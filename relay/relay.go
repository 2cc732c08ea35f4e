// Package relay puts the rooms together: it starts them in order and stops them
// in reverse. Programs embed it through [Run], or through [Start] and
// [Relay.Stop].
//
// It must not know signals, flags or exit codes.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/apixo-relay/apixo-relay/relay/apixo"
	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/descriptors"
	"github.com/apixo-relay/apixo-relay/relay/endpoint"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/expected"
	"github.com/apixo-relay/apixo-relay/relay/outbox"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/receiver"
	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// Relay is a running relay.
type Relay struct {
	cfg config.Config
	log *slog.Logger

	webhooks, admin net.Listener // admin is nil if it is off
	broker          *broker.Broker
	publisher       *publisher.Publisher
	receiver        *receiver.Receiver
	watchdog        *watchdog            // over the store in this process; nil without one
	outbox          *outbox.Outbox       // nil without one
	api             *apixo.Client        // nil unless somebody asks the status API
	expected        *expected.Reconciler // nil without RELAY_EXPECT

	started  atomic.Bool // from then on the fields above are set for good
	draining atomic.Bool
	failed   chan error // a server that ended by itself, or a broken store
	files    fileWatchers
	cleanups []cleanup
	stopOnce sync.Once
	stopErr  error
}

// cleanup is one step of the orderly end.
type cleanup struct {
	name string
	stop func(context.Context) error
}

// Run runs a relay until ctx ends or it fails, and stops it. started is called
// once webhooks are being answered; it may be nil.
func Run(ctx context.Context, cfg config.Config, version string, log *slog.Logger, started func(*Relay)) error {
	r, err := Start(ctx, cfg, version, log)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		log.Info("stopped while it was starting")
		return nil
	}
	if err != nil {
		return err
	}
	if started != nil {
		started(r)
	}
	select {
	case <-ctx.Done():
		log.Info("shutting down: webhooks in flight are being finished", "timeout", cfg.Webhooks.ShutdownTimeout)
	case err = <-r.failed:
	}
	err = errors.Join(err, r.Stop(context.WithoutCancel(ctx)))
	log.Info("stopped")
	return err
}

// Start brings everything up, in this order: the addresses are taken, so that a
// port that is not free costs nothing; the broker is opened and the streams are
// brought in order; only then are webhooks answered. What fails stops what has
// been started. An external broker that is away is no failure: the relay is
// unready until it comes.
func Start(ctx context.Context, cfg config.Config, version string, log *slog.Logger) (_ *Relay, err error) {
	r := &Relay{cfg: cfg, log: log, failed: make(chan error, 3)}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Stop(context.WithoutCancel(ctx)))
		}
	}()
	metrics := telemetry.NewMetrics(version)
	metrics.Log(log)
	metrics.Health(func() bool { return r.ready() == nil }, func() bool { return r.health() == nil })

	outboxLimit := int64(0)
	if cfg.Outbox.Enabled {
		outboxLimit = cfg.Outbox.CapacityBytes
	}
	metrics.Limits(cfg.Webhooks.MaxInFlight, cfg.Webhooks.PublishTimeout, outboxLimit)

	r.logConfigWarnings()
	if shares := descriptors.ForConfig(cfg); shares.IsLow() {
		log.Warn("this process may open few files and connections; raise its limit (ulimit -n, LimitNOFILE) where many connect", "shares", shares.String())
	}
	tracing := telemetry.StartTracing(cfg.Tracing, version, log)
	r.addCleanup("tracing", tracing.Stop)
	tlsFiles, err := receiver.LoadTLS(cfg.Webhooks)
	if err != nil {
		return nil, err
	}
	r.webhooks, err = listen("RELAY_LISTEN_ADDR", cfg.Webhooks.ListenAddr)
	if err != nil {
		return nil, err
	}
	r.addCleanup("webhook listener", closeListener(r.webhooks))
	if addr := string(cfg.Admin.Addr); addr != "" {
		r.admin, err = listen("RELAY_ADMIN_ADDR", addr)
		if err != nil {
			return nil, err
		}
		r.addCleanup("admin listener", closeListener(r.admin))
		// First to come and last to go, so that probes see both: recovering a large
		// store takes its time, and so does finishing what is in flight.
		if err := r.start(ctx, "admin endpoint", r.serverOf("admin endpoint", r.newAdminServer(metrics.Handler()), nil)); err != nil {
			return nil, err
		}
	}

	r.broker, err = broker.Open(ctx, cfg, version, log)
	if err != nil {
		return nil, err
	}
	r.addCleanup("broker", r.broker.Close)

	maxMessage := broker.MaxMessageBytes(cfg.Webhooks.MaxBodyBytes)
	r.publisher = publisher.New(publisher.Options{Config: cfg.Stream, Encoder: event.NewEncoder(cfg), MaxMessage: maxMessage, Metrics: metrics, Log: log})
	r.broker.Observe(r.publisher)
	metrics.BrokerConnected(r.publisher.IsConnected)
	if err = r.start(ctx, "publisher", r.publisher); err != nil {
		return nil, err
	}

	store, err := r.openStore(ctx, version, metrics, tracing)
	if err != nil {
		return nil, err
	}

	o := receiver.Options{
		Config: cfg.Webhooks, Attributes: cfg.Event.Attributes, Encoder: event.NewEncoder(cfg), Store: store,
		Metrics: metrics, Tracing: tracing, Log: log, OnAdmit: endpoint.Accept,
	}
	if err = r.useAPI(ctx, version, metrics, &o); err != nil {
		return nil, err
	}

	o.Tokens = r.watchFiles(tlsFiles)
	if err = r.start(ctx, "file watchers", &r.files); err != nil {
		return nil, err
	}
	r.receiver = receiver.New(o)
	r.broker.Guard(cfg, r.receiver.BytesInFlight)

	front := endpoint.Settings{
		HTTP: r.receiver.Server(tlsFiles.Config()), Listener: r.webhooks, Timeout: cfg.Webhooks.ShutdownTimeout,
		MaxConns:   func() int { return descriptors.ForConfig(cfg).Webhooks },
		OnShutdown: r.receiver.Drain, OnRefused: metrics.HTTPError, Log: log,
	}
	if cfg.Webhooks.ProxyProtocol {
		front.IsProxy = cfg.Webhooks.TrustedProxies.Contain
	}
	webhooks := endpoint.New(front)
	if err = r.start(ctx, "webhook endpoint", r.serverOf("webhook endpoint", webhooks, r.receiver.CancelInFlight)); err != nil {
		return nil, err
	}
	if r.watchdog != nil { // an external broker's health is not this process's
		r.watchdog.onBroken = func(ctx context.Context, broken error) {
			r.storeIsBroken(ctx, broken, func() {
				webhooks.SkipGracePeriod()
				r.receiver.CancelInFlight()
			})
		}
		if err = r.start(ctx, "health watcher", r.watchdog); err != nil {
			return nil, err
		}
	}
	r.started.Store(true)
	return r, nil
}

// Addr is the address at which webhooks are taken.
func (r *Relay) Addr() string { return r.webhooks.Addr().String() }

// AdminAddr is the address of the admin endpoint, or empty if it is off.
func (r *Relay) AdminAddr() string {
	if r.admin == nil {
		return ""
	}
	return r.admin.Addr().String()
}

// BrokerURL is where consumers find the broker, without credentials; empty
// while an external broker has not been reached yet.
func (r *Relay) BrokerURL() string { return r.broker.URL() }

// InFlight is how many webhooks are being worked on.
func (r *Relay) InFlight() int64 { return r.receiver.InFlight() }

// BytesInFlight is the size of the bodies of the webhooks that are being worked on.
func (r *Relay) BytesInFlight() int64 { return r.receiver.BytesInFlight() }

// Reload reads the files of tokens and certificates again, as happens anyway within two
// seconds of a change, and does not wait for that. What cannot be used is logged, and
// what was in force stays so.
func (r *Relay) Reload() {
	if len(r.files.configs) == 0 {
		r.log.Info("there is nothing to read again: no RELAY_WEBHOOK_TOKENS_FILE, no RELAY_TLS_CERT_FILE and no RELAY_EMBEDDED_TLS_CERT_FILE is set")
		return
	}
	r.log.Info("reading tokens and certificates again, as far as they are in files")
	r.files.reload()
}

// Failed delivers the error of a relay that cannot go on by itself.
func (r *Relay) Failed() <-chan error { return r.failed }

// Stop ends in order: readiness off, webhooks in flight and on their way finished
// (see package endpoint) and no new ones taken, publishing and the connection ended,
// the embedded broker stopped, the admin endpoint last. A webhook that is not
// stored when most of RELAY_SHUTDOWN_TIMEOUT is over gets 503. Stop may be called
// more than once.
func (r *Relay) Stop(ctx context.Context) error {
	r.stopOnce.Do(func() {
		r.draining.Store(true)
		ctx, cancel := context.WithTimeout(ctx, r.cfg.Webhooks.ShutdownTimeout)
		defer cancel()
		for _, c := range slices.Backward(r.cleanups) {
			if err := c.stop(ctx); err != nil {
				r.stopErr = errors.Join(r.stopErr, fmt.Errorf("stopping the %s: %w", c.name, err))
			}
		}
	})
	return r.stopErr
}

// start starts a service and has Stop stop it.
func (r *Relay) start(ctx context.Context, name string, s service.Service) error {
	if err := s.Start(ctx); err != nil {
		return err
	}
	r.addCleanup(name, s.Stop)
	return nil
}

// addCleanup has Stop do something, before what was added or started earlier. What is
// opened and closed, such as a listener or a connection, is no service and ends that way.
func (r *Relay) addCleanup(name string, stop func(context.Context) error) {
	r.cleanups = append(r.cleanups, cleanup{name, stop})
}

// health is nil while the relay can recover by itself, and while it ends: a store that is
// being closed says that it is broken.
func (r *Relay) health() error {
	if !r.started.Load() || r.draining.Load() {
		return nil
	}
	return r.storeHealth()
}

// storeHealth is that of the store inside this process; nil without one.
func (r *Relay) storeHealth() error {
	if r.watchdog == nil {
		return nil
	}
	return r.watchdog.check()
}

// ready is nil if a webhook would be accepted now.
func (r *Relay) ready() error {
	switch {
	case r.draining.Load():
		return errors.New("the relay is shutting down")
	case !r.started.Load():
		return errors.New("the relay is starting")
	}
	if r.outbox != nil {
		return errors.Join(r.outbox.Ready(), r.storeHealth())
	}
	return errors.Join(r.publisher.Ready(), r.broker.Cause(), r.broker.CheckDiskSpace(), r.storeHealth())
}

// notes are what readiness tells besides.
func (r *Relay) notes() (notes []string) {
	if !r.started.Load() {
		return nil
	}
	if r.outbox != nil {
		notes = r.outbox.Notes()
		if err := r.broker.Cause(); err != nil {
			notes = append(notes, "there is no connection to the broker: "+err.Error())
		}
	}
	if r.expected != nil {
		notes = append(notes, r.expected.Notes()...)
	}
	if r.api != nil {
		if err := r.api.Trouble(); err != nil {
			notes = append(notes, err.Error())
		}
	}
	return notes
}
