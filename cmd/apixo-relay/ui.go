package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/cli/browser"
	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/ops/ui"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

func uiCommand(w cliEnv) *cobra.Command {
	var open, readOnly bool
	c := &cobra.Command{
		Use:   "ui",
		Short: "Serve the operator's page",
		Long: `Serves a page for a browser: what flows, one task with its pictures and its
timeline, events by time, state and model, the quarantine and what to do about it,
replays, announced tasks, and the report of 'apixo-relay check'. It reads the same
environment as the relay, finds the embedded broker of a running one at
RELAY_EMBEDDED_ADDR, and costs the relay nothing while it is off.

It is for this machine alone, unless RELAY_UI_TOKENS has secrets to sign in with;
then RELAY_UI_ADDR may be an address that others can reach, RELAY_UI_HOSTS names
the page for them, and RELAY_UI_TLS_CERT_FILE and RELAY_UI_TLS_KEY_FILE have it
served by HTTPS. A script reads with 'Authorization: Bearer SECRET'.

Pictures, video and audio are loaded by the browser, from RELAY_UI_MEDIA_HOSTS, and
from elsewhere only on a click. Replays go to RELAY_UI_TARGETS and nowhere else;
quarantined webhooks are sent again to the relay of this environment, or to the
target that is called relay. With --read-only nothing can be changed.

It prints its address on standard output. SIGTERM, SIGINT and, on a terminal,
SIGHUP end it in order: a replay under way begins nothing more, and says from
which sequence to resume.

Exit codes: 0 stopped in order, 1 failed, 2 wrong usage or configuration.`,
		Example: `  # beside a running relay
  apixo-relay ui

  # and show it in the browser, for looking only
  apixo-relay ui --open --read-only

  # for others, who sign in with a secret
  RELAY_UI_TOKENS=$(openssl rand -hex 16) RELAY_UI_HOSTS=relay.example.com RELAY_UI_ADDR=0.0.0.0:8722 apixo-relay ui

  # with somewhere to replay to
  RELAY_UI_TARGETS=local=http://127.0.0.1:3000/hook,again=nats:replayed.tasks apixo-relay ui`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			// A reader of the log that has ended is no reason to end.
			signal.Ignore(syscall.SIGPIPE)
			cfg, err := w.settings()
			if err != nil {
				return usageError{err}
			}
			if err := cfg.UI.Check(); err != nil {
				return usageError{err}
			}
			format := w.logFormat(cfg.Log.Format)
			out := openLog(w.stderr, format)
			defer out.Close()
			log := telemetry.NewLogger(out, format, cfg.Log.Level)
			b, err := broker.OpenClient(cfg, "apixo-relay ui", log)
			if err != nil {
				return err
			}
			defer func() { _ = b.Close(context.WithoutCancel(c.Context())) }()
			server, err := ui.New(ui.Options{Config: cfg, Environ: w.environ, Broker: b, ReadOnly: readOnly, Version: version(), Log: log, Audit: telemetry.NewLogger(out.Sync(), format, cfg.Log.Level)})
			if err != nil {
				return err
			}
			if !w.onTerminal() {
				onHangup(c.Context(), func() {}) // files are looked at all the time
			}
			if _, err := fmt.Fprintln(w.stdout, server.URL()); err != nil {
				log.Warn("the address of the page cannot be printed", "url", server.URL(), "error", err)
			}
			if open {
				openBrowser(server.URL(), log)
			}
			return server.Serve(c.Context())
		},
	}
	c.Flags().BoolVar(&open, "open", false, "show the page in the browser of this machine")
	c.Flags().BoolVar(&readOnly, "read-only", false, "serve nothing that changes anything")
	return c
}

// openBrowser shows an address in the user's browser. Without one the address is on standard
// output all the same.
func openBrowser(url string, log *slog.Logger) {
	browser.Stdout, browser.Stderr = io.Discard, io.Discard // what it runs says nothing of ours
	if err := browser.OpenURL(url); err != nil {
		log.Warn("no browser could be opened; the page is there all the same", "url", url, "error", err)
	}
}
