// Command relay-bench measures the relay against a naive handler of the same
// webhooks, the peer to beat, and against a floor, a net/http handler that reads
// and answers, in one run on one machine, so that what is compared was measured
// under the same conditions. It measures another build of the relay, or any other
// receiver of the same webhooks, too.
//
// It runs the relay as users do, as a program of its own, and knows nothing of
// how it works inside.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/apixo-relay/apixo-relay/relay/ops/secretarg"
	"github.com/apixo-relay/apixo-relay/relay/ops/send"
)

// Exit codes.
const (
	exitMeasured = 0 // whatever the figures are
	exitFailed   = 1 // something did not work: the figures, if there are any, are not to be trusted
	exitUsage    = 2 // wrong arguments: running it again changes nothing
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitMeasured
	}
	fmt.Fprintf(stderr, "relay-bench: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

// usageError marks an error that is the caller's to mend: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// flags are the flags as they were given.
type flags struct {
	options
	urls []string
	full bool
	json bool
	plot string
}

func rootCommand(stdout, stderr io.Writer) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "relay-bench",
		Short: "Measures the relay against a naive handler and a bare one, in one run",
		Long: `relay-bench measures what a webhook costs: with a net/http handler that reads it
and answers (the floor), with a naive handler (encoding/json, the CloudEvents SDK
and a synchronous publish; no logs, no metrics), with the relay and an external
broker, and with the embedded broker that fsyncs always or at intervals. Each is
a process of its own, with a broker of its own, started anew for each load, and
all take turns round by round, so that a machine that drifts does so under all of
them. What is printed are medians over the rounds; ratios are made within each
round before that, and come first.

First all are left idle. Then the load is a closed loop: each connection sends
its next webhook, with a task id of its own, when it has the answer to the last.
In the end it is an open loop: so many webhooks a second, whatever the answers
take, in rounds three times as long. What is not answered with 200 and a new
event is counted as failed. The load comes from this process, on the same cores,
so that ratios say more than absolute figures. CPU and memory are measured on
Linux only.

The relay and its peers are built here, from this module, unless --relay and --peer
name programs. They and
the brokers get folders below a temporary one that is removed in the end; it may
take up to 2 GB meanwhile. The disk below it is what fsync is measured on: that
of --dir, or else of the system's temporary folder, or, where that is kept in
memory, of the working directory.

Exit codes:
  0  measured, whether or not the figures are as good as they should be
  1  something failed, single webhooks among it, or the run was stopped
  2  wrong arguments: nothing was measured`,
		Example: `  # everything, in about three minutes
  go run ./cmd/relay-bench

  # for the README beside this program, in about a quarter of an hour
  go run ./cmd/relay-bench --full --json >full.json

  # another build of the relay by turns with this one
  go run ./cmd/relay-bench --against ./apixo-relay-old

  # what a setting costs: the same build with it, by turns with the one without
  go run ./cmd/relay-bench --against-env RELAY_EXPECT=true --against-env APIXO_API_KEY=none

  # a quick look at one number of connections
  go run ./cmd/relay-bench --connections 64 --rounds 2 --rate 0 --idle 0

  # another receiver of the same webhooks beside it, with its CPU and memory
  go run ./cmd/relay-bench --url http://127.0.0.1:8080/webhook/apixo --pid 4711

  # on the disk that is meant for the relay's data
  go run ./cmd/relay-bench --dir /var/lib`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("%q is not an argument of 'relay-bench'; 'relay-bench -h' shows what it takes", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			for name, value := range map[string]string{"rounds": "9", "duration": "2s", "idle": "1m"} {
				if given := c.Flags().Lookup(name); f.full && !given.Changed {
					if err := given.Value.Set(value); err != nil {
						return err
					}
				}
			}
			return runBench(c.Context(), f, stdout, stderr)
		},

		SilenceErrors:     true, // run prints them, once
		SilenceUsage:      true, // an error says what to do; a page of flags would bury it
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	c.SetOut(stdout)
	c.SetErr(stderr)
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; 'relay-bench -h' shows what it takes", err)}
	})
	fs := c.Flags()
	fs.SortFlags = false // by subject, as here
	fs.IntSliceVar(&f.connections, "connections", []int{1, 8, 64, 256}, "`numbers` of connections of the closed loop, each measured by itself")
	fs.IntVar(&f.rate, "rate", 200, "webhooks a second of the open loop; 0 leaves it out")
	fs.DurationVar(&f.idle, "idle", 15*time.Second, "how long all are left idle; 0 leaves it out")
	fs.IntVar(&f.rounds, "rounds", 3, "how often each load is measured")
	fs.DurationVar(&f.duration, "duration", 1200*time.Millisecond, "how long a round is")
	fs.BoolVar(&f.full, "full", false, "measure for longer: --rounds 9 --duration 2s --idle 1m, unless they are given")
	fs.StringVar(&f.against, "against", "", "measure this other build of the relay, a `program`, by turns with it")
	fs.StringArrayVar(&f.againstEnv, "against-env", nil, "give that other build this `variable`, as NAME=VALUE; without --against it is the same build. Repeat it for several")
	fs.StringArrayVar(&f.urls, "url", nil, "measure the receiver at this callback `URL`, or the one in @file or env:NAME, too; repeat it for several. Of the URL, only the host is shown")
	fs.IntSliceVar(&f.pids, "pid", nil, "process `id` of the receiver of --url on this machine, for its CPU and memory; one for each --url, in the same order")
	fs.StringVar(&f.relay, "relay", "", "measure this `program` instead of building ./cmd/apixo-relay")
	fs.StringVar(&f.peer, "peer", "", "take this `program` as naive handler and floor instead of building ./cmd/relay-bench/peer")
	fs.StringVar(&f.dir, "dir", "", "make the temporary folder in this `folder`, to measure its disk")
	fs.BoolVar(&f.json, "json", false, "print JSON instead of tables")
	fs.StringVar(&f.plot, "plot", "", "write a plot, in SVG, to this `file`, too")
	c.AddCommand(brokerCommand(stdout))
	c.SetHelpCommand(&cobra.Command{Hidden: true}) // -h says the same
	return c
}

// check finds what is wrong with the flags before anything is started.
func (f *flags) check() error {
	for i, n := range f.connections {
		switch {
		case n < 1 || n > send.MaxConcurrency:
			return fmt.Errorf("--connections: %d is not between 1 and %d", n, send.MaxConcurrency)
		case slices.Contains(f.connections[:i], n):
			return fmt.Errorf("--connections: %d is given twice", n)
		}
	}
	switch {
	case len(f.connections) == 0:
		return errors.New("--connections is empty: give one number or several, such as 1,64,256")
	case f.rounds < 1:
		return fmt.Errorf("--rounds %d: at least 1 is needed", f.rounds)
	case f.duration <= 0:
		return fmt.Errorf("--duration %v: a round takes some time, such as 1.2s", f.duration)
	case f.rate < 0 || f.rate > maxRate:
		return fmt.Errorf("--rate: %d is not between 0 and %d", f.rate, maxRate)
	case f.idle < 0:
		return fmt.Errorf("--idle %v is negative", f.idle)
	case len(f.pids) > 0 && len(f.pids) != len(f.urls):
		return fmt.Errorf("%d --pid for %d --url: give one for each, in the same order", len(f.pids), len(f.urls))
	}
	for _, variable := range f.againstEnv {
		if !strings.Contains(variable, "=") {
			return fmt.Errorf("--against-env %s: write it as NAME=VALUE", variable)
		}
	}
	for _, given := range f.urls {
		text, _, err := secretarg.Read(given, os.Environ(), os.Stdin)
		if err != nil {
			return fmt.Errorf("--url: %w", err)
		}
		u, err := send.ParseURL(text)
		if err != nil {
			return fmt.Errorf("--url: %w", err)
		}
		f.others = append(f.others, u)
	}
	return nil
}

func runBench(ctx context.Context, f flags, stdout, stderr io.Writer) error {
	if err := f.check(); err != nil {
		return usageError{err}
	}
	if f.plot != "" { // said now rather than in the end
		if _, err := os.Stat(filepath.Dir(f.plot)); err != nil {
			return usageError{fmt.Errorf("--plot: %w", err)}
		}
	}
	f.progress = progressOn(stderr, f.turns())
	report, err := measure(ctx, f.options)
	f.progress.end()
	switch {
	case ctx.Err() != nil:
		return errors.New("stopped before everything was measured; what was started has ended")
	case err != nil:
		return err
	}
	write := report.writeText
	if f.json {
		write = report.writeJSON
	}
	if err := write(stdout); err != nil {
		return fmt.Errorf("the figures could not be written: %w", err)
	}
	if f.plot != "" {
		if err := os.WriteFile(f.plot, report.plot(), 0o644); err != nil {
			return fmt.Errorf("the plot could not be written: %w", err)
		}
	}
	if n := report.failed(); n > 0 {
		return fmt.Errorf("%d webhooks failed; the figures of their rows are not to be trusted", n)
	}
	return nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
