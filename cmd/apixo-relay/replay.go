package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/relay/timeparse"
)

// maxReplayConcurrency bounds what is under way at once.
const maxReplayConcurrency = 10_000

// replayFlags are the flags of replay as they were given.
type replayFlags struct {
	which       selectionFlags
	to          string
	mode        string
	headers     []string
	tls         tlsFlags
	timeout     time.Duration
	attempts    int
	rate        string
	concurrency int
	maxFailures int
	dryRun      bool
	follow      bool
	output      outputFlag
}

// ofHTTP are the flags that are about requests.
var ofHTTP = []string{"mode", "header", "insecure", "cacert", "cert", "key", "timeout", "attempts"}

func replayCommand(w cliEnv) *cobra.Command {
	var f replayFlags
	c := &cobra.Command{
		Use:   "replay (--since TIME | --from-seq N | --follow) --to TARGET",
		Short: "Deliver stored events again",
		Long: `Reads events that are stored and delivers them again, from a time or a sequence
on and up to the last one that is there when it begins. The stream stays as it is.
It reads the same environment as the relay, and finds the embedded broker of a
running one at RELAY_EMBEDDED_ADDR.

--to takes one of three targets:
  http://… or https://…  posts each as a CloudEvent; any 2xx is delivered. Where
                         there is no answer, or one that may be better later, it
                         tries again, and waits as Retry-After says. Events may
                         arrive in another order, unless --concurrency is 1. A
                         secret goes into the URL (https://user:password@host/)
                         or a header.
  nats:SUBJECT           publishes each to another subject, in order and with its
                         id: what a stream there has within its duplicate window
                         is skipped. The relay's own subjects are refused.
  -                      writes each to standard output, in order, as a line of
                         JSON (the CloudEvents JSON event format); the summary
                         goes to standard error then.

` + secretPlaces + ` --header takes both, too, with a header
in each line.

With --quarantine and the URL of a relay's webhook endpoint, it sends the webhooks
themselves, as APIXO sent them, for a relay that can read them by now. Those that
this version cannot read either are skipped. A relay that does not remember the
task of a conflicting webhook any more makes a second event of it: look at
'apixo-relay tail --quarantine' first.

With --follow it goes on with what comes, until it is interrupted: from now on, or
with --since or --from-seq what is stored first. For each event it shows a line with
the answer, or with --output json an object (sequence, stored, id, type, subject,
model, outcome, delivered, status, reason, attempts, durationMs), and the summary
goes to standard error. To a URL it delivers one event at a time, in order, unless
--concurrency says otherwise. A receiver that has answered once is never given up:
each event is tried --attempts times, and one that failed is sent once more with
--from-seq N --to-seq N. While the broker is away it waits.

In the end it says how many were delivered, failed and were skipped, and the
sequence from which to resume: with --from-seq and that in place of the beginning,
nothing is left out, though after a failure some may come twice. Interrupted, it
begins nothing more, waits for what is under way, and says the same.

Exit codes:
  0  everything that was selected is delivered, or was skipped; with --follow:
     interrupted, and nothing had failed
  1  something failed, or the replay was stopped
  2  wrong arguments or configuration: nothing was delivered`,
		Example: `  # the last hour as lines of JSON, CloudEvents all of them
  apixo-relay replay --since 1h --to -

  # what would be delivered of everything that is stored, without doing it
  apixo-relay replay --from-seq 1 --to nats:replayed.tasks --dry-run

  # the failed tasks to another subject, 50 in a second at most
  apixo-relay replay --from-seq 1 --state failed --to nats:replayed.tasks --rate 50/s

  # live events to a program on this machine, as CloudEvents in binary mode
  apixo-relay replay --follow --to http://localhost:3000/hook --mode binary

  # quarantined webhooks to the relay, which may be able to read them by now
  apixo-relay replay --from-seq 1 --quarantine --to http://127.0.0.1:8720/webhook/apixo

  # the same with the URL in a variable, since it may hold a token
  CALLBACK_URL=http://127.0.0.1:8720/webhook/apixo apixo-relay replay --from-seq 1 --quarantine --to env:CALLBACK_URL`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runReplay(c, w, f) },
	}
	flags := c.Flags()
	f.which.add(flags)
	flags.StringVar(&f.to, "to", "", "the `target`: nats:SUBJECT, a URL, the one in @file or env:NAME, or - for standard output")
	flags.StringVar(&f.mode, "mode", "", "`form` of what is posted to a URL: structured, binary or webhook (default RELAY_CE_MODE)")
	flags.StringArrayVar(&f.headers, "header", nil, "send the header `'Name: value'`, too, or those in @file or env:NAME, one a line; repeat it for several")
	f.tls.add(flags)
	durationVar(flags, &f.timeout, "timeout", replay.DefaultTimeout, "how long an answer may take")
	flags.IntVar(&f.attempts, "attempts", replay.DefaultAttempts, "how often each event is posted at most, until it is delivered")
	flags.StringVar(&f.rate, "rate", "0", "how many deliveries are begun in a second at most, such as `50/s`; 0 for no limit")
	flags.IntVar(&f.concurrency, "concurrency", 0, fmt.Sprintf("how many deliveries are under way at most (default %d to a URL, 1 with --follow; %d to a subject)", replay.DefaultHTTPConcurrency, replay.DefaultNATSConcurrency))
	flags.IntVar(&f.maxFailures, "max-failures", replay.DefaultMaxFailures, "stop after so many failures in a row; 0 for never, which it is with --follow")
	flags.BoolVar(&f.dryRun, "dry-run", false, "deliver nothing, but count what would be, and show where it begins and ends")
	flags.BoolVar(&f.follow, "follow", false, "go on with what comes, until interrupted")
	f.output.add(flags, "the summary, and with --follow of a line for each event")
	return c
}

func runReplay(c *cobra.Command, w cliEnv, f replayFlags) error {
	o, cfg, err := replayOptions(c, w, f)
	if err != nil {
		return usageError{err}
	}
	bar := showReplayProgress(w, f, &o)
	defer bar.end()
	stderr := bar.suspend(w.stderr)
	say := func(what string) { fmt.Fprintf(stderr, "apixo-relay: %s\n", what) }
	destination, err := replayTarget(c, w, f, cfg, &o, say)
	if err != nil {
		return usageError{err}
	}
	defer destination.close()
	conn, err := broker.Connect(cfg, "apixo-relay replay")
	if err != nil {
		return err
	}
	defer conn.Close()
	// Without a handler the client would write to standard error what the replay gets
	// over by itself, or tells in the end.
	conn.SetErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
	target, notice, err := destination.open(c.Context(), conn)
	if _, ok := errors.AsType[*replay.SubjectError](err); ok {
		return usageError{fmt.Errorf("--to: %w", err)}
	}
	if err != nil {
		return err
	}
	if notice != "" {
		say(notice)
	}
	if f.follow {
		f.sayWhatComes(w, &o, conn, say)
	}
	defer sayFinishing(c.Context(), w, bar)()
	summary, err := replay.Run(c.Context(), conn, target, o)
	bar.end()
	if err == nil && summary.Read == 0 && !f.follow {
		say(fmt.Sprintf("nothing that is stored in %s is what was asked for: look at the selection, and at RELAY_SUBJECT_PREFIX=%s", summary.Stream, cfg.Stream.Prefix))
	}
	if summary.ResumeSequence == 0 {
		return err // before the first message
	}
	out := w.stdout
	if f.to == "-" && !f.dryRun || f.follow {
		out = w.stderr
	}
	if err := f.output.write(out, summary); err != nil {
		return err
	}
	resume := fmt.Sprintf("go on with --from-seq %d", summary.ResumeSequence)
	switch {
	case errors.Is(err, replay.ErrTooManyFailures):
		return fmt.Errorf("%w; when the receiver takes events again, %s", err, resume)
	case err != nil:
		return fmt.Errorf("%w; %s", err, resume)
	case summary.Failed > 0:
		return fmt.Errorf("%s of %s were not delivered; %s", text.Count(summary.Failed), text.Count(summary.Failed+summary.Delivered), resume)
	}
	return nil
}

// showReplayProgress makes a bar, unless the terminal shows the events themselves, or a line
// for each.
func showReplayProgress(w cliEnv, f replayFlags, o *replay.Options) *progress {
	if f.follow || f.to == "-" && isTerminal(w.stdout) {
		return nil
	}
	bar := newProgress(w.stderr, -1, "messages", "replaying")
	o.OnProgress = func(p replay.Progress) { bar.set(p.Read, p.Total) }
	return bar
}

// replayOptions turns flags into what Run takes, but for the target. All its
// errors are about usage.
func replayOptions(c *cobra.Command, w cliEnv, f replayFlags) (o replay.Options, cfg config.Config, err error) {
	given := c.Flags().Changed
	switch {
	case f.follow && (given("until") || given("to-seq")):
		return o, cfg, errors.New("--follow goes on until it is interrupted: leave --until and --to-seq out, or leave --follow out")
	case !f.follow && !given("since") && !given("from-seq"):
		return o, cfg, errors.New("where to begin is missing: give --since, such as --since 1h, or --from-seq, which is 1 for everything; or --follow for what comes")
	case !given("to"):
		return o, cfg, errors.New("where to deliver is missing: give --to nats:SUBJECT, --to with a URL, or --to - for standard output")
	case f.concurrency < 1 && given("concurrency"), f.concurrency > maxReplayConcurrency:
		return o, cfg, fmt.Errorf("--concurrency %d is not between 1 and %d", f.concurrency, maxReplayConcurrency)
	case f.maxFailures < 0:
		return o, cfg, errors.New("--max-failures cannot be negative")
	}
	if o.Rate, err = timeparse.Rate(f.rate); err != nil {
		return o, cfg, fmt.Errorf("--rate: %q %w", f.rate, err)
	}
	if cfg, err = w.settings(); err != nil {
		return o, cfg, err
	}
	o.Selection, err = f.which.selection(c, cfg)
	o.Selection.Follow = f.follow
	o.Filter, o.Concurrency, o.MaxFailures, o.DryRun = f.which.filter, f.concurrency, f.maxFailures, f.dryRun
	if f.follow && !given("max-failures") {
		o.MaxFailures = 0 // whoever develops a receiver restarts it
	}
	return o, cfg, err
}
