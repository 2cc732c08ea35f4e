package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
)

// destination is where events are to be delivered, before there is a connection.
type destination struct {
	open  func(context.Context, *nats.Conn) (target replay.Target, notice string, err error)
	close func()
}

// replayTarget finds out what --to means. All its errors are about usage.
func replayTarget(c *cobra.Command, w cliEnv, f replayFlags, cfg config.Config, o *replay.Options, say func(string)) (d destination, err error) {
	d.close = func() {}
	defaultTo := func(n int) {
		if o.Concurrency == 0 {
			o.Concurrency = n
		}
	}
	subject, isSubject := strings.CutPrefix(f.to, "nats:")
	if isSubject || f.to == "-" {
		for _, flag := range ofHTTP {
			if c.Flags().Changed(flag) {
				return d, fmt.Errorf("--%s is about requests to a URL, but --to is %s", flag, f.to)
			}
		}
	}
	switch {
	case f.to == "-":
		defaultTo(1)
		d.open = func(context.Context, *nats.Conn) (replay.Target, string, error) {
			return replay.Lines(w.stdout), "", nil
		}
		return d, nil
	case isSubject:
		defaultTo(replay.DefaultNATSConcurrency)
		d.open = func(ctx context.Context, conn *nats.Conn) (replay.Target, string, error) {
			to := replay.NATSOptions{
				Domain: cfg.Stream.Domain, Subject: subject, Prefix: cfg.Stream.Prefix, Own: []string{cfg.Stream.Name, cfg.Stream.Quarantine}, Concurrency: o.Concurrency,
			}
			if f.follow {
				to.RetryTimeout = math.MaxInt64 // what comes waits as long as the broker is away
			}
			return replay.NATS(ctx, conn, to)
		}
		return d, nil
	}
	if f.follow {
		defaultTo(followHTTPConcurrency)
	}
	defaultTo(replay.DefaultHTTPConcurrency)
	post, err := replayHTTP(w, f, cfg)
	if err != nil {
		return d, err
	}
	transport, err := f.tls.transport(o.Concurrency)
	if err != nil {
		return d, err
	}
	post.Transport, d.close = transport, transport.CloseIdleConnections
	post.OnTrouble = func(reason string) { say("trying again: " + reason) }
	d.open = func(context.Context, *nats.Conn) (replay.Target, string, error) { return replay.HTTP(post), "", nil }
	return d, nil
}

// replayHTTP is how to post to the URL of --to. All its errors are about usage.
func replayHTTP(w cliEnv, f replayFlags, cfg config.Config) (o replay.HTTPOptions, err error) {
	if o.URL, err = w.secretURL("to", f.to); err != nil {
		return o, fmt.Errorf("%w; --to takes nats:SUBJECT and - for standard output, too", err)
	}
	o.Timeout, o.Attempts, o.Patient = f.timeout, f.attempts, f.follow
	switch {
	case f.timeout <= 0:
		return o, fmt.Errorf("--timeout %v is no time to wait", f.timeout)
	case f.attempts < 1:
		return o, fmt.Errorf("--attempts %d is less than one", f.attempts)
	}
	if err := setReplayMode(&o, f, cfg); err != nil {
		return o, err
	}
	o.Header, err = w.replayHeader(f.headers)
	return o, err
}

// setReplayMode takes --mode, or what fits.
func setReplayMode(o *replay.HTTPOptions, f replayFlags, cfg config.Config) error {
	toRelay := replay.IsWebhookPath(o.URL.Path, cfg.Webhooks.Path, cfg.Webhooks.Tokens)
	err := o.ChooseMode(f.mode, string(cfg.Event.Mode), f.which.quarantine, toRelay)
	switch {
	case errors.Is(err, replay.ErrNoWebhooks):
		return fmt.Errorf("--mode webhook needs --quarantine: %w", err)
	case errors.Is(err, replay.ErrWebhookEndpoint) && f.which.quarantine:
		return fmt.Errorf("%s: %w; leave --mode out, or give --mode webhook", cfg.Webhooks.Path, err)
	case errors.Is(err, replay.ErrWebhookEndpoint):
		return fmt.Errorf("%s: %w. Give the URL of a consumer; "+
			"with --quarantine, quarantined webhooks are sent there. Tasks whose webhooks never came are fetched by 'apixo-relay backfill'", cfg.Webhooks.Path, err)
	}
	return err
}
