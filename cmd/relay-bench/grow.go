package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/ops/send"
)

// growOptions say how far a store grows, and how.
type growOptions struct {
	options
	events      int
	window      time.Duration
	connections int
	sync        string
	settle      time.Duration
	json        bool
}

const (
	// minEvents make sections that have something in them.
	minEvents = 1000

	// diskPerEvent is what an event takes of the disk, and a line of the log.
	diskPerEvent = 1100
)

func growCommand(stdout, stderr io.Writer) *cobra.Command {
	var o growOptions
	c := &cobra.Command{
		Use:   "grow",
		Short: "Measures what an event costs as the store grows, and a restart then",
		Long: `relay-bench grow fills the embedded broker of a fresh relay with events, and says
section by section what each cost: CPU, memory and disk. Where that is flat, the
ten-millionth event costs what the first did. Memory grows with the ids that the
broker remembers for the length of the duplicate window, and with nothing else.

The relay is then killed (SIGKILL) and started again on what it left, ended in
order (SIGTERM) and started again, and in the end started once more with a window
that has nothing in it. The difference between the last two is what the ids in a
window cost: memory, and time to read them at the start. For that, the window has
to be longer than the run. Memory is compared as heap in use after two garbage
collections, which are waited for, since what is garbage has nothing to do with
the window. After each start the events are counted, and one of the last webhooks
is repeated, which has to be known.

The load is that of 'relay-bench': a closed loop, from this process, on the same
cores. An event takes about 1 KB of disk, its line in the relay's log included,
below a temporary folder that is removed in the end.

Exit codes:
  0  measured, whatever the figures are
  1  something failed, was lost or was stored twice, or the run was stopped
  2  wrong arguments: nothing was measured`,
		Example: `  # a million events, all in the window
  go run ./cmd/relay-bench grow

  # ten million; after two minutes as many ids leave the window as enter it
  go run ./cmd/relay-bench grow --events 10000000 --window 2m

  # with an fsync before each answer, on the disk that is meant for the data
  go run ./cmd/relay-bench grow --sync always --connections 256 --dir /var/lib

  # figures for a script
  go run ./cmd/relay-bench grow --json >grow.json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("%q is not an argument of 'relay-bench grow'; 'relay-bench grow -h' shows what it takes", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return runGrow(c.Context(), o, stdout, stderr) },
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; 'relay-bench grow -h' shows what it takes", err)}
	})
	fs := c.Flags()
	fs.SortFlags = false // by subject, as here
	fs.IntVar(&o.events, "events", 1_000_000, "how many events are stored")
	fs.DurationVar(&o.window, "window", time.Hour, "the duplicate window, RELAY_DEDUPE_WINDOW")
	fs.IntVar(&o.connections, "connections", 64, "`number` of connections")
	fs.StringVar(&o.sync, "sync", idInterval, "RELAY_EMBEDDED_SYNC: always or interval")
	fs.DurationVar(&o.settle, "settle", 12*time.Second, "how long a restarted relay is left alone before its memory is compared: its caches are let go after 10s")
	fs.StringVar(&o.relay, "relay", "", "measure this `program` instead of building ./cmd/apixo-relay")
	fs.StringVar(&o.dir, "dir", "", "make the temporary folder in this `folder`, to measure its disk")
	fs.BoolVar(&o.json, "json", false, "print JSON instead of tables")
	return c
}

func (o *growOptions) check() error {
	switch {
	case o.events < minEvents:
		return fmt.Errorf("--events %d: at least %d are needed", o.events, minEvents)
	case o.window < time.Second:
		return fmt.Errorf("--window %v: at least 1s is needed; the relay is meant to have 15m or more", o.window)
	case o.connections < 1 || o.connections > send.MaxConcurrency:
		return fmt.Errorf("--connections: %d is not between 1 and %d", o.connections, send.MaxConcurrency)
	case o.sync != idAlways && o.sync != idInterval:
		return fmt.Errorf("--sync %q: always or interval was expected", o.sync)
	case o.settle < 0:
		return fmt.Errorf("--settle %v is negative", o.settle)
	}
	return nil
}

func runGrow(ctx context.Context, o growOptions, stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return usageError{err}
	}
	o.progress = progressOn(stderr, len(o.bounds())+starts)
	g := &growth{options: o, Problems: []string{}}
	err := withRelay(ctx, o.options, func(program, dir string) error { return g.measure(ctx, program, dir) })
	o.progress.end()
	switch {
	case ctx.Err() != nil:
		return errors.New("stopped before everything was measured; what was started has ended")
	case err != nil:
		return err
	}
	write := g.writeText
	if o.json {
		write = g.writeJSON
	}
	if err := write(stdout); err != nil {
		return fmt.Errorf("the figures could not be written: %w", err)
	}
	if len(g.Problems) > 0 {
		return fmt.Errorf("%s; the first: %s", count(len(g.Problems), "check")+" failed", g.Problems[0])
	}
	return nil
}

// bounds are the numbers of events at which sections end: the first hundredth
// shows the beginning, and tenths the rest.
func (o *growOptions) bounds() []int {
	bounds := []int{o.events / 100}
	for tenth := 1; tenth <= 10; tenth++ {
		bounds = append(bounds, o.events*tenth/10)
	}
	return bounds
}
