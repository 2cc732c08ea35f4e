package ui

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
)

// ownRelay is the name of the target to which quarantined webhooks are sent again.
const ownRelay = "relay"

// destination is a target that has been opened.
type destination struct {
	target      replay.Target
	concurrency int
	isRelay     bool // it takes webhooks
	notice      string
	close       func()
}

// relayTarget is where quarantined webhooks are sent again: the target called relay, or the
// webhook endpoint that this environment describes.
func (s *Server) relayTarget() config.Target {
	if target, ok := s.cfg.UI.Targets.Get(ownRelay); ok {
		return target
	}
	return config.Target{Name: ownRelay, To: s.cfg.CallbackURL()}
}

// open opens a target. Its error is for whoever chose it.
func (s *Server) open(ctx context.Context, to config.Target, mode string, quarantine bool, onTrouble func(string)) (d destination, err error) {
	d.close = func() {}
	if subject, ok := strings.CutPrefix(to.To, "nats:"); ok {
		if mode != "" {
			return d, fmt.Errorf("Form is about requests to a URL, and %s is a subject of NATS: leave it as configured", to.Name)
		}
		d.concurrency = replay.DefaultNATSConcurrency
		d.target, d.notice, err = replay.NATS(ctx, s.conn(), replay.NATSOptions{
			Domain: s.cfg.Stream.Domain, Subject: subject, Prefix: s.cfg.Stream.Prefix, Own: []string{s.cfg.Stream.Name, s.cfg.Stream.Quarantine}, Concurrency: replay.DefaultNATSConcurrency, Denied: s.denied,
		})
		return d, err
	}
	u, err := url.Parse(to.To)
	if err != nil {
		return d, fmt.Errorf("the URL of the target %s cannot be read", to.Name)
	}
	o := replay.HTTPOptions{URL: u, Timeout: replay.DefaultTimeout, Attempts: replay.DefaultAttempts, OnTrouble: onTrouble}
	isRelay := replay.IsWebhookPath(u.Path, s.cfg.Webhooks.Path, s.cfg.Webhooks.Tokens)
	if err := o.ChooseMode(mode, string(s.cfg.Event.Mode), quarantine, isRelay); err != nil {
		return d, fmt.Errorf("the target %s: %w; choose another target, form or selection", to.Name, err)
	}
	transport := httpclient.NewTransport(replay.DefaultHTTPConcurrency, s.clientTLS(to), http.ProxyFromEnvironment)
	o.Transport, d.close, d.concurrency = transport, transport.CloseIdleConnections, replay.DefaultHTTPConcurrency
	d.target, d.isRelay = replay.HTTP(o), o.Webhook
	return d, nil
}

// clientTLS trusts the relay of this environment by its own certificate, which need not be
// for the address at which it is reached from here.
func (s *Server) clientTLS(to config.Target) *tls.Config {
	if file := s.cfg.Webhooks.TLSCertFile; file != "" && to.To == s.cfg.CallbackURL() {
		return tlsfiles.PinnedConfig("RELAY_TLS_CERT_FILE", file)
	}
	return nil
}
