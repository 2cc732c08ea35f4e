package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/apixo-relay/apixo-relay/relay"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

func serveCommand(w cliEnv) *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the relay (what apixo-relay does without a command)",
		Long: `Receives webhooks, stores each as a CloudEvent in NATS JetStream, and answers
200 once it is stored. Without NATS_URL the broker runs inside the relay.

SIGTERM or SIGINT ends it in order: it becomes unready, finishes the webhooks
that are in flight or on their way, and stops. A second signal ends it at once.
SIGHUP ends it in order on a terminal; elsewhere it reads tokens and certificates
from their files again, and goes on. The log goes to standard error and holds
nothing up: lines that nobody reads in time are dropped and counted.

Exit codes: 0 stopped in order, 1 failed, 2 wrong usage or configuration.

Settings, all of them environment variables:

` + settings(),
		Example: `  # try it: embedded broker, webhooks from this machine only
  apixo-relay

  # behind a proxy that ends TLS, with a secret in the callback URL
  RELAY_WEBHOOK_TOKENS=$(openssl rand -hex 16) apixo-relay serve

  # with a broker of yours, and an outbox for when it is away
  NATS_URL=nats://127.0.0.1:4222 RELAY_OUTBOX=true apixo-relay serve`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			// A reader of the log that has ended is no reason to end.
			signal.Ignore(syscall.SIGPIPE)
			cfg, err := config.Load(w.environ)
			if err != nil {
				return usageError{err}
			}
			var running atomic.Pointer[relay.Relay]
			inFlight := func(of func(*relay.Relay) int64) func() int64 {
				return func() int64 {
					if r := running.Load(); r != nil {
						return of(r)
					}
					return 0
				}
			}
			tuneGC(cfg, inFlight((*relay.Relay).BytesInFlight))
			if storesHere := cfg.UsesEmbedded() || cfg.Outbox.Enabled; !storesHere {
				tuneProcessors(inFlight((*relay.Relay).InFlight))
			}
			format := w.logFormat(cfg.Log.Format)
			out := openLog(w.stderr, format)
			defer out.Close()
			log := telemetry.NewLogger(out, format, cfg.Log.Level)
			slog.SetDefault(log) // for libraries that use package log
			if now := time.Now(); now.Before(built()) {
				log.Warn("this machine's clock is before the time at which this program was built: events are stored as long past, and are gone when the broker restarts; set the clock", "clock", now, "built", built())
			}
			if !w.onTerminal() {
				onHangup(c.Context(), func() {
					if r := running.Load(); r != nil {
						r.Reload()
					}
				})
			}
			return relay.Run(c.Context(), cfg, version(), log, func(r *relay.Relay) {
				running.Store(r)
				welcome(out, format, log, cfg, r)
			})
		},
	}
}

// settings lists all variables with their defaults, for the help text.
func settings() string {
	var b strings.Builder
	for _, v := range config.Variables() {
		fmt.Fprintf(&b, "  %s", v.Name)
		if v.Default != "" {
			fmt.Fprintf(&b, " (%s)", v.Default)
		}
		if v.Secret {
			fmt.Fprintf(&b, ", or %s_FILE", v.Name)
		}
		b.WriteString("\n" + wrap(v.Doc, 74, "      ") + "\n")
	}
	b.WriteString("  OTEL_EXPORTER_OTLP_ENDPOINT\n")
	b.WriteString(wrap("a collector that takes traces by OTLP, such as http://collector:4318; without it there is no tracing. OpenTelemetry's other variables mean what they mean everywhere", 74, "      "))
	return b.String()
}

// wrap breaks a text into lines of at most width characters after the indent.
func wrap(text string, width int, indent string) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
			b.WriteString(indent)
		case column+1+len(word) > width:
			b.WriteString("\n" + indent)
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

// logFormat decides what auto means, and how text looks on a terminal.
func (w cliEnv) logFormat(f config.LogFormat) telemetry.Format {
	terminal := isTerminal(w.stderr)
	switch {
	case f == config.LogJSON, f == config.LogAuto && !terminal:
		return telemetry.JSON
	case !terminal:
		return telemetry.Text
	case w.hasColors(w.stderr):
		return telemetry.Color
	}
	return telemetry.NoColor
}

// hasColors reports whether a stream is a terminal that shows colors to somebody who
// wants them (https://no-color.org).
func (w cliEnv) hasColors(stream any) bool {
	wanted := !slices.ContainsFunc(w.environ, func(variable string) bool {
		value, isSet := strings.CutPrefix(variable, "NO_COLOR=")
		return isSet && value != "" || variable == "TERM=dumb"
	})
	return wanted && isTerminal(stream)
}

// isTerminal reports whether a stream of the process is one.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// onTerminal reports whether somebody runs the process on a terminal.
func (w cliEnv) onTerminal() bool {
	return isTerminal(w.stdin) || isTerminal(w.stdout) || isTerminal(w.stderr)
}

// sample is a webhook that fits on a line, for trying.
const sample = `{"code":200,"message":"success","data":{"taskId":"task_abc123xyz","state":"success","resultJson":"{\"resultUrls\":[\"https://cdn.apixo.ai/output/abc.jpg\"]}","costTime":12500,"createTime":1704067200000,"completeTime":1704067212500}}`

// welcome says where everything is and what to do first: as text for a person,
// and as one record where a program reads the log.
func welcome(w io.Writer, format telemetry.Format, log *slog.Logger, cfg config.Config, r *relay.Relay) {
	// A token is never shown; who runs the line has it.
	placeholder := ""
	if len(cfg.Webhooks.Tokens) > 0 {
		placeholder = "TOKEN"
	}
	webhooks := cfg.WebhookURL(r.Addr(), placeholder)
	brokerURL, kind := r.BrokerURL(), "embedded, data in "+cfg.Embedded.DataDir
	if !cfg.UsesEmbedded() {
		kind = "external"
		if brokerURL == "" {
			brokerURL = config.RedactURLs(cfg.NATS.URL)
			kind = "external, not reached yet"
		}
		if cfg.Outbox.Enabled {
			kind += ", with an outbox in " + cfg.Embedded.DataDir
		}
	}
	admin := "off"
	if addr := r.AdminAddr(); addr != "" {
		admin = "http://" + addr
	}
	announcements := "off"
	if cfg.Expect.Enabled {
		announcements = cfg.AnnounceURL(r.Addr(), placeholder)
	}
	curl := fmt.Sprintf("curl -sS '%s?model=nano-banana' -H 'Content-Type: application/json' -d '%s'", webhooks, sample)
	if format == telemetry.JSON {
		log.Info("ready", "version", version(), "webhooks", webhooks, "broker", brokerURL, "brokerKind", kind, "stream", cfg.Stream.Name, "admin", admin, "announcements", announcements, "verify", string(cfg.Verify.Mode), "try", curl)
		return
	}
	asked := "" // what APIXO is asked for, where it is
	if cfg.Expect.Enabled {
		asked += "  expect    " + announcements + ", bucket " + cfg.Expect.Bucket + "\n"
	}
	if cfg.Verify.Mode != config.VerifyOff {
		asked += "  verify    " + string(cfg.Verify.Mode) + ", by " + cfg.API.BaseURL + "\n"
	}
	fmt.Fprintf(w, `
apixo-relay %s is ready.

  webhooks  %s
  broker    %s (%s), stream %s
  admin     %s (/healthz /readyz /metrics)
%s
Send it a webhook:

  %s

and watch the events arrive, in a second terminal:

  %s tail --since 1h

`, version(), webhooks, brokerURL, kind, cfg.Stream.Name, admin, asked, curl, invocation())
}

// invocation is how this program can be run again from the same folder: what
// 'go run' builds is gone afterwards.
func invocation() string {
	if _, err := exec.LookPath("apixo-relay"); err == nil {
		return "apixo-relay"
	}
	if executable, err := os.Executable(); err == nil && isOfGoRun(executable) {
		return "go run ./cmd/apixo-relay"
	}
	return os.Args[0]
}

// isOfGoRun reports whether a program is where 'go run' puts it: in a temporary folder,
// or, from Go 1.24 on, in its cache, which can be anywhere, in a folder with a hash of
// 64 digits and -d for a name (cmd/go/internal/cache).
func isOfGoRun(executable string) bool {
	folder := filepath.Base(filepath.Dir(executable))
	return strings.Contains(executable, "go-build") || len(folder) == 66 && strings.HasSuffix(folder, "-d")
}
