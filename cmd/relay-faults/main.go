// Command relay-faults breaks things under the relay and counts what is lost.
//
// It runs the built relay and real brokers as processes of their own, sends
// webhooks to them as APIXO does, kills, freezes, cuts, fills and corrupts, and
// reads afterwards what the broker holds: each webhook that was answered with 200
// must be there, once.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/test/faults"
)

// Exit codes.
const (
	exitPassed = 0 // every row has passed
	exitFailed = 1 // a promise was broken, or the suite did not come to its end
	exitUsage  = 2 // wrong arguments: running it again changes nothing
	exitNotRun = 3 // no row has failed, but some could not be run on this machine
)

func main() {
	debug.SetGCPercent(400) // the cores are better left to what is tried
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "relay-faults: %v\n", err)
	}
	return exitCode(err)
}

func exitCode(err error) int {
	if err == nil {
		return exitPassed
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if errors.Is(err, errNotAllRun) {
		return exitNotRun
	}
	return exitFailed
}

// errNotAllRun is the verdict on rows of which some could not be run.
var errNotAllRun = errors.New("not all rows could be run on this machine")

// usageError marks an error that is the caller's to mend: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// flags are the flags as they were given.
type flags struct {
	full, list bool
	seed       uint64
	rows       []string
	relay, out string
	into       string
}

func rootCommand(stdout, stderr io.Writer) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "relay-faults",
		Short: "Breaks things under the relay and counts what is lost",
		Long: `relay-faults runs the relay and its brokers as processes of their own and breaks
things: it kills, freezes and restarts them, takes the power away, cuts and
silences connections, fills disks, makes writes fail, steps clocks, flips bits,
and sends what no sender should send. Meanwhile it delivers webhooks as APIXO
does, and afterwards it reads what is stored. For every row this has to hold:

    each webhook that got 200 is in the stream exactly once,
    or in the outbox on its way there;
    each task that was announced ends as one event, or is told as missing.

For each row it tells how many webhooks were sent, how many got 200, how many of
those were lost, how many are stored twice, the longest time to an answer, and
the longest time from the end of a fault to the next 200. A fault that this
machine or this user does not allow is "not run", which is not "passed".

The short form takes some minutes; --full takes its time, for a release. What is
random comes from --seed. The relay is built here, from this module, unless
--relay names a program.

Exit codes:
  0  every row has passed
  1  a promise was broken, or the suite did not come to its end
  2  wrong arguments: nothing was run
  3  no row has failed, but some could not be run on this machine`,
		Example: `  # the short form
  go run ./cmd/relay-faults

  # the full form, with results, a table and logs of failed rows in a folder
  go run ./cmd/relay-faults --full --out faults

  # two rows of it, with other random numbers
  go run ./cmd/relay-faults --row relay-killed,power-loss --seed 7

  # which rows there are, and how they break things
  go run ./cmd/relay-faults --list`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("%q is not an argument of 'relay-faults'; 'relay-faults -h' shows what it takes", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return runSuite(c.Context(), f, stdout, stderr) },

		SilenceErrors:     true, // run prints them, once
		SilenceUsage:      true, // an error says what to do; a page of flags would bury it
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	c.SetOut(stdout)
	c.SetErr(stderr)
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; 'relay-faults -h' shows what it takes", err)}
	})
	fs := c.Flags()
	fs.SortFlags = false // by subject, as here
	fs.BoolVar(&f.full, "full", false, "the full form, for a release")
	fs.StringSliceVar(&f.rows, "row", nil, "run these `rows` only")
	fs.Uint64Var(&f.seed, "seed", 1, "`number` from which all random ones come")
	fs.StringVar(&f.relay, "relay", "", "try this `program` instead of building ./cmd/apixo-relay; rows that step clocks build their own")
	fs.StringVar(&f.out, "out", "", "write results (faults.json), a table (faults.md), and the logs of failed rows to this `folder`")
	fs.StringVar(&f.into, "into", "", "replace the rows in these results of an earlier run, a `file` such as faults.json")
	fs.BoolVar(&f.list, "list", false, "list the rows and run none")
	c.SetHelpCommand(&cobra.Command{Hidden: true}) // -h says the same
	return c
}

// choose returns the rows that are asked for.
func choose(names []string) ([]faults.Row, error) {
	all := faults.Rows()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []faults.Row
	for _, name := range names {
		i := slices.IndexFunc(all, func(r faults.Row) bool { return r.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("--row: there is no row %q; --list shows which there are", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func runSuite(ctx context.Context, f flags, stdout, stderr io.Writer) error {
	chosen, err := choose(f.rows)
	if err != nil {
		return usageError{err}
	}
	if f.list {
		return list(stdout, chosen)
	}
	if f.relay != "" {
		if f.relay, err = filepath.Abs(f.relay); err == nil {
			_, err = os.Stat(f.relay)
		}
		if err != nil {
			return usageError{fmt.Errorf("--relay: %w", err)}
		}
	}
	if f.into != "" {
		if _, err := readReport(f.into); err != nil {
			return usageError{fmt.Errorf("--into: %w", err)}
		}
	}
	if f.out != "" {
		if err := os.MkdirAll(f.out, 0o755); err != nil {
			return usageError{fmt.Errorf("--out: %w", err)}
		}
	}
	report := newReport(ctx, f)
	watch := newWatcher(stdout, stderr, chosen)
	if err := watch.heading(report); err != nil {
		return err
	}
	s := &faults.Suite{
		Rows: chosen, Full: f.full, Seed: f.seed, Relay: f.relay,
		Started: watch.started, Progress: watch.progress, Ended: watch.ended, Logs: f.keepLogs,
	}
	begin := time.Now()
	report.Rows, err = s.Run(ctx)
	report.Took = time.Since(begin)
	watch.close()
	switch {
	case ctx.Err() != nil:
		return errors.New("stopped before all rows were run; what was started has ended")
	case err != nil:
		return err
	}
	if _, err := io.WriteString(stdout, report.summary()); err != nil {
		return err
	}
	if err := f.write(report); err != nil {
		return err
	}
	if err := f.update(report); err != nil {
		return err
	}
	return report.verdict()
}

// write leaves the results in the folder of --out.
func (f flags) write(r *report) error {
	if f.out == "" {
		return nil
	}
	text, err := r.json()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(f.out, "faults.json"), text, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(f.out, "faults.md"), []byte(r.markdown()), 0o644)
}

// update puts the rows into the results of --into.
func (f flags) update(r *report) error {
	if f.into == "" {
		return nil
	}
	earlier, err := readReport(f.into)
	if err != nil {
		return err
	}
	if err := earlier.takeIn(r); err != nil {
		return err
	}
	text, err := earlier.json()
	if err != nil {
		return err
	}
	return os.WriteFile(f.into, text, 0o644)
}

// readReport reads the results of an earlier run.
func readReport(file string) (*report, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s has no results: %w", file, err)
	}
	return r, nil
}

// keepLogs leaves the logs of a failed row in the folder of --out.
func (f flags) keepLogs(row faults.Row, logs string) error {
	if f.out == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(f.out, row.Name+".log"), []byte(logs), 0o644)
}

// list tells what each row does.
func list(w io.Writer, chosen []faults.Row) error {
	var b strings.Builder
	for _, r := range chosen {
		fmt.Fprintf(&b, "%s\n    %s\n    %s\n", r.Name, r.Fault, r.Injected)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
