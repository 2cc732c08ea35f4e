package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/ops/backfill"
	"github.com/apixo-relay/apixo-relay/relay/ops/tasklist"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/relay/timeparse"
)

// backfillFlags are the flags of backfill as they were given.
type backfillFlags struct {
	model       string
	dryRun      bool
	concurrency int
	rate        string
	timeout     time.Duration
	attempts    int
	output      outputFlag
}

func backfillCommand(w cliEnv) *cobra.Command {
	var f backfillFlags
	c := &cobra.Command{
		Use:   "backfill [--model M] [ID... | -]",
		Short: "Fetch results whose webhooks never came from APIXO's status API",
		Long: `backfill asks APIXO's status API how tasks ended whose webhooks never came, and
stores each result as its webhook would have been stored: the same event, under
the same message id. It needs the account's key in APIXO_API_KEY, and else the
environment of the relay; it finds the embedded broker of a running one at
RELAY_EMBEDDED_ADDR.

A task is an ID, with its model in --model, or "MODEL ID" for one of another
model. Without arguments, or with -, tasks are read from standard input, one a
line; empty lines and those that begin with # are passed over. All of them are
read and checked before the first request: a million take about 150 MB.

First it looks through the whole stream, for what is there already, and keeps an
eye on it: such tasks are not asked for. So a second run changes nothing, however
late it is. A webhook that comes after all, and several runs at once, change
nothing within the duplicate window.

For each task there is a line:
  stored    its result is in the stream now (would-store, in a dry run)
  already   it was there
  conflict  another outcome was there; this one is kept in the quarantine
  pending   it has not ended; its webhook is still to come
  unknown   the API knows no such task of that model
  failed    it is not stored, and why

What may pass is tried again, up to --attempts times: no answer, half an answer,
429 and 5xx. When the API asks for a pause, all requests wait, for five minutes at
the most. The run ends early if the key is wrong, the broker refuses or is away, or
the API is. Interrupted, it finishes what is in flight; run it again, and it goes on
with what is missing.

Exit codes:
  0  every task that has ended is stored
  1  some are unknown or failed, or the run was stopped
  2  wrong arguments, ids or configuration: nothing was asked`,
		Example: `  # one task
  apixo-relay backfill --model nano-banana task_abc123xyz

  # first see what would be stored, and store nothing
  apixo-relay backfill --dry-run --model nano-banana task_abc123xyz task_12345678

  # tasks of several models from another program, one "MODEL ID" a line
  printf '%s\n' 'nano-banana task_abc123xyz' 'veo-3 task_12345678' | apixo-relay backfill

  # gently, and for a program: an object a line, the last one is the summary
  echo task_abc123xyz | apixo-relay backfill --model nano-banana --rate 10/s --concurrency 2 --output json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error { return runBackfill(c.Context(), w, f, args) },
	}
	flags := c.Flags()
	flags.StringVar(&f.model, "model", "", "the `model` of the tasks that come without one, such as nano-banana")
	flags.BoolVar(&f.dryRun, "dry-run", false, "ask, and tell what would be stored; store nothing")
	flags.IntVar(&f.concurrency, "concurrency", 8, "how many tasks are worked on at once, at most 100")
	flags.StringVar(&f.rate, "rate", "", "how many requests are begun at most, such as 50/s or 5000/m (RELAY_API_RATE)")
	durationVar(flags, &f.timeout, "timeout", 30*time.Second, "how long an answer of the API may take")
	flags.IntVar(&f.attempts, "attempts", 5, "how often a task is asked for at most, when the API is in trouble")
	f.output.add(flags, "the results")
	return c
}

func runBackfill(ctx context.Context, w cliEnv, f backfillFlags, args []string) error {
	cfg, o, err := backfillOptions(w, f)
	if err != nil {
		return usageError{err}
	}
	if o.Tasks, err = readTasks(ctx, w, f.model, args); ctx.Err() != nil {
		return errors.New("stopped while the task ids were read; nothing was done")
	} else if err != nil {
		return usageError{err}
	}
	transport := httpclient.NewTransport(o.Concurrency, nil, http.ProxyFromEnvironment)
	defer transport.CloseIdleConnections()
	o.Transport = transport

	bar, log := watchBackfill(w, f, cfg.Log.Level, &o)
	defer sayFinishing(ctx, w, bar)()
	summary, err := backfill.Run(ctx, cfg, log, o)
	bar.end()
	if summary.Done() > 0 || err == nil {
		err = cmp.Or(err, f.output.write(w.stdout, &summary))
	}
	missing := summary.Unknown + summary.Failed
	switch {
	case err != nil || missing == 0:
		return err
	case summary.Tasks == 1:
		return errors.New("the task is not stored; the line above says why")
	}
	return fmt.Errorf("%d of %d tasks are unknown or failed; the lines above say why", missing, summary.Tasks)
}

// backfillOptions turns flags and environment into what Run takes, but for the
// tasks. All its errors are about usage.
func backfillOptions(w cliEnv, f backfillFlags) (cfg config.Config, o backfill.Options, err error) {
	o = backfill.Options{
		Version: version(), DryRun: f.dryRun,
		Concurrency: f.concurrency, Timeout: f.timeout, Attempts: f.attempts,
	}
	if o.Rate, err = timeparse.Rate(f.rate); err != nil {
		return cfg, o, fmt.Errorf("--rate: %q %w", f.rate, err)
	}
	if f.rate != "" && o.Rate == 0 {
		return cfg, o, errors.New("--rate: 0 lets no request be made; without the flag it is RELAY_API_RATE")
	}
	if f.model != "" {
		if err = tasklist.CheckModel(f.model); err != nil {
			return cfg, o, fmt.Errorf("--model: %w", err)
		}
	}
	if cfg, err = w.settings(); err != nil {
		return cfg, o, err
	}
	return cfg, o, o.Check(cfg)
}

// readTasks reads the tasks that a command works on. Where they come from a terminal, that ends with
// ctx, too.
func readTasks(ctx context.Context, w cliEnv, model string, args []string) (*tasklist.List, error) {
	switch {
	case len(args) == 0, len(args) == 1 && args[0] == "-":
	case slices.Contains(args, "-"):
		return nil, errors.New("- means standard input, and task ids are given as arguments besides: give one of them")
	default:
		return tasklist.FromArguments(args, model)
	}
	if in, _ := w.stdin.(io.Writer); isTerminal(in) {
		fmt.Fprintln(w.stderr, "reading task ids from standard input, one a line; Ctrl-D ends them")
	}
	type read struct {
		tasks *tasklist.List
		err   error
	}
	done := make(chan read, 1)
	go func() {
		tasks, err := tasklist.FromLines(w.stdin, model)
		done <- read{tasks, err}
	}()
	select {
	case r := <-done:
		return r.tasks, r.err
	case <-ctx.Done():
		return nil, ctx.Err() // the process ends, and with it who still reads
	}
}

// watchBackfill has the run show its results and, on a terminal, a bar. The log
// that it returns does not write into that.
func watchBackfill(w cliEnv, f backfillFlags, level slog.Level, o *backfill.Options) (*progress, *slog.Logger) {
	bar := newProgress(w.stderr, o.Tasks.Len(), "tasks", "looking through the stream")
	printer := backfill.NewPrinter(bar.suspend(w.stdout), o.Tasks, o.DryRun, w.hasColors(w.stdout))
	print := printer.Text
	if f.output == outputJSON {
		print = printer.JSON
	}
	o.OnScan = func(read, total uint64) {
		bar.describe(fmt.Sprintf("looking through the stream: %s of %s", text.Count(read), text.Count(total)))
	}
	o.OnWait = waiting(w, bar)
	o.OnResult = func(r backfill.Result, s *backfill.Summary) error {
		doing := "asking"
		if n := s.Unknown + s.Failed; n > 0 {
			doing = fmt.Sprintf("asking (%s unknown or failed)", text.Count(n))
		}
		err := print(r)
		bar.describe(doing)
		bar.set(s.Done(), o.Tasks.Len())
		return err
	}
	return bar, telemetry.NewLogger(bar.suspend(w.stderr), w.logFormat(config.LogText), max(level, slog.LevelWarn))
}

// waiting tells that the API asks for a pause: in the bar, or where there is none on a
// line of its own, one for all that wait at once.
func waiting(w cliEnv, bar *progress) func(time.Duration) {
	var mu sync.Mutex
	var until time.Time
	return func(wait time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		switch end := time.Now().Add(wait); {
		case bar != nil:
			bar.describe(fmt.Sprintf("waiting %s, as the API asks", text.Duration(wait)))
		case end.After(until.Add(time.Second)):
			fmt.Fprintf(w.stderr, "apixo-relay: the API asks for a pause: going on in %s\n", text.Duration(wait))
			until = end
		}
	}
}
