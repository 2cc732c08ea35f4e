package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
)

func checkCommand(w cliEnv) *cobra.Command {
	var (
		probe   string
		url     string
		tls     tlsFlags
		timeout time.Duration
		output  outputFlag
	)
	c := &cobra.Command{
		Use:   "check",
		Short: "Say whether everything that the relay needs is there",
		Long: `Looks at everything that the relay needs: its configuration, the broker,
JetStream, permissions, streams, the bucket of announced tasks, duplicate window,
replicas, limits, how far behind the archive is where one is used, clock, disk and
the relay itself. It says for each what is the case and, where something is not as
it should be, what to do. It reads the same environment as the relay, and
needs no relay that runs, unless the broker is the one inside it.

It changes nothing and stores nothing. To see whether events can be stored it
sends messages that JetStream refuses; a plain NATS subscriber to their subjects
sees them, empty. With APIXO_API_KEY it asks the status API once, about a task
that does not exist, to see whether the key is taken.

With --url it also delivers something through a callback URL, from outside in.
That is no result of a task, so no consumer sees it: the relay answers 422 and
keeps it in the quarantine, once in a duplicate window, where it is looked for.
With a wrong token in the place of the right one, it must get 401. With
RELAY_VERIFY the URL must have the model in it, as in ?model=nano-banana.

` + secretPlaces + `

With --probe it asks the running relay one question, prints one line, and looks at
nothing else: health, whether it can recover by itself, or ready, whether a webhook
would be accepted now; or ui, whether the operator's page answers, or archive,
whether the archive can store now. That is for containers, in which there is no
other program to ask with. It waits for two seconds, unless --timeout says otherwise.

Each line is ok, warn, fail, or skip for what could not be looked at. As JSON it
is one object: {"ok":…,"checks":[{"name":…,"status":…,"fact":…,"remedy":…}]}.

Exit codes: 0 nothing fails, 1 something fails, a wrong configuration too, 2 wrong
usage, or nobody to probe since RELAY_ADMIN_ADDR (RELAY_ARCHIVE_ADMIN_ADDR) is off.`,
		Example: `  # beside a running relay; with an external broker before it starts, too
  apixo-relay check

  # for scripts, and for no longer than two seconds
  apixo-relay check --output json --timeout 2s

  # the health check of a container
  apixo-relay check --probe ready

  # through the callback URL, too; give it yours
  apixo-relay check --url http://127.0.0.1:8720/webhook/apixo

  # with a token in it: from a file, or from a variable
  echo http://127.0.0.1:8720/webhook/apixo > callback.url; apixo-relay check --url @callback.url
  CALLBACK_URL=http://127.0.0.1:8720/webhook/apixo apixo-relay check --url env:CALLBACK_URL`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return usageError{fmt.Errorf("--timeout %v leaves no time: choose more than 0s", timeout)}
			}
			if c.Flags().Changed("probe") {
				return runProbe(c, w, probe, timeout)
			}
			o := check.Options{Environ: w.environ, Timeout: timeout, Built: built()}
			if c.Flags().Changed("url") {
				u, err := w.secretURL("url", url)
				if err != nil {
					return usageError{err}
				}
				o.CallbackURL = u
			} else if tls != (tlsFlags{}) {
				return usageError{errors.New("--insecure, --cacert, --cert and --key are about a delivery: give --url with them")}
			}
			transport, err := tls.transport(1)
			if err != nil {
				return usageError{err}
			}
			defer transport.CloseIdleConnections()
			o.Transport = transport

			report := check.Run(c.Context(), o)
			if output == outputJSON {
				err = report.WriteJSON(w.stdout)
			} else {
				err = report.WriteText(w.stdout, w.hasColors(w.stdout))
			}
			switch {
			case err != nil:
				return fmt.Errorf("the report could not be written: %w", err)
			case c.Context().Err() != nil:
				return errors.New("stopped before everything was looked at")
			case !report.OK:
				return fmt.Errorf("%d of %d checks failed", report.Count(check.Fail), len(report.Checks))
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.StringVar(&probe, "probe", "", "ask the running relay this `question` alone: health or ready, or the page: ui, or the archive: archive")
	flags.StringVar(&url, "url", "", "deliver through this callback `URL`, too, or the one in @file or env:NAME")
	tls.add(flags)
	durationVar(flags, &timeout, "timeout", 10*time.Second, "for how long it looks at everything, at the most")
	output.add(flags, "the report")
	return c
}

// probeTimeout is shorter than what containers give to a health check.
const probeTimeout = 2 * time.Second

// runProbe asks the running relay one question.
func runProbe(c *cobra.Command, w cliEnv, probe string, timeout time.Duration) error {
	if _, ok := check.Probes[probe]; !ok {
		return usageError{fmt.Errorf("--probe %q is none of health, ready, ui and archive", probe)}
	}
	for _, flag := range []string{"url", "output", "insecure", "cacert", "cert", "key"} {
		if c.Flags().Changed(flag) {
			return usageError{fmt.Errorf("--probe and --%s exclude each other: a probe asks one question, and prints one line", flag)}
		}
	}
	if !c.Flags().Changed("timeout") {
		timeout = probeTimeout
	}
	line, err := check.Probe(c.Context(), w.environ, probe, timeout)
	switch {
	case errors.Is(err, check.ErrNoProbe):
		return usageError{err}
	case err != nil:
		return err
	}
	_, err = fmt.Fprintln(w.stdout, line)
	return err
}
