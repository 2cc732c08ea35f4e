package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/ops/tail"
)

func tailCommand(w cliEnv) *cobra.Command {
	var (
		which  selectionFlags
		output outputFlag
		count  int
		all    bool
	)
	c := &cobra.Command{
		Use:   "tail",
		Short: "Show events as they come",
		Long: `Follows the events in the relay's stream, or what is in its quarantine, until
it is interrupted, or shows what is stored up to --until or --to-seq. It reads the
same environment as the relay, and finds the embedded broker of a running one at
RELAY_EMBEDDED_ADDR.

As text it shows a line for each event and below it one for each URL; as JSON an
object a line, with the event in the CloudEvents JSON format. Where more events
come than can be read, a terminal shows some of them, failures above all, and how
many there were besides; --all shows every one, and so does what is no terminal.

Exit codes: 0 interrupted or all of --count shown, 1 failed, 2 wrong usage or configuration.`,
		Example: `  # new events, as they come
  apixo-relay tail

  # those of the last hour first
  apixo-relay tail --since 1h

  # failed tasks only, for a script
  apixo-relay tail --state failed --output json

  # one task, whenever it ended
  apixo-relay tail --from-seq 1 --task task_abc123xyz

  # what could not become an event, and why
  apixo-relay tail --quarantine --since 24h`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if count < 0 {
				return usageError{errors.New("--count cannot be negative")}
			}
			cfg, err := w.settings()
			if err != nil {
				return usageError{err}
			}
			opts, err := which.selection(c, cfg)
			if err != nil {
				return usageError{err}
			}
			opts.Follow = which.toSeq == 0 && which.until.time.IsZero()
			conn, err := broker.Connect(cfg, "apixo-relay tail")
			if err != nil {
				return err
			}
			defer conn.Close()
			color := w.hasColors(w.stdout)
			show := func(m streamreader.Message) error { return tail.Text(w.stdout, m, color) }
			switch {
			case output == outputJSON:
				show = func(m streamreader.Message) error { return tail.JSON(w.stdout, m) }
			case isTerminal(w.stdout) && !all && count == 0:
				screen := tail.NewThrottledPrinter(w.stdout, color, time.Now())
				show = screen.Print
				defer screen.Close()
			}
			shown := 0
			err = streamreader.Read(c.Context(), conn, opts, func(streamreader.Start) {
				if opts.Follow {
					fmt.Fprintf(w.stderr, "following %s in the stream %s; Ctrl-C ends it\n", opts.Subjects[0], opts.Stream)
				}
			}, func(m streamreader.Message) error {
				if !which.filter.Matches(m) {
					return nil
				}
				if err := show(m); err != nil {
					return err
				}
				if shown++; shown == count {
					return errEnough
				}
				return nil
			})
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		},
	}
	which.add(c.Flags())
	output.add(c.Flags(), "each event")
	c.Flags().IntVar(&count, "count", 0, "end after `N` events; 0 goes on")
	c.Flags().BoolVar(&all, "all", false, "show every event on a terminal, however many come")
	return c
}

// errEnough ends following after --count events.
var errEnough = errors.New("all events of --count have been shown")
