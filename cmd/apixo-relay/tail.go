package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/stored"
	"github.com/apixo-relay/apixo-relay/relay/ops/tail"
)

func tailCommand(w world) *cobra.Command {
	var (
		which  chosen
		output outputFlag
		count  int
	)
	c := &cobra.Command{
		Use:   "tail",
		Short: "Show events as they come",
		Long: `Follows the events in the relay's stream, or what is in its quarantine, until
it is interrupted. It reads the same environment as the relay, and finds the
embedded broker of a running one at RELAY_EMBEDDED_ADDR.

As text it shows a line for each event and a line for each URL; as JSON an
object a line, with the event in the CloudEvents JSON format.

Exit codes: 0 interrupted or all of --count shown, 1 failed, 2 wrong usage or configuration.`,
		Example: `  # new events, as they come
  apixo-relay tail

  # those of the last hour first
  apixo-relay tail --since 1h

  # failed tasks only, for a script
  apixo-relay tail --state failed --output json

  # what could not become an event
  apixo-relay tail --quarantine --since 24h`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if count < 0 {
				return usageError{errors.New("--count cannot be negative")}
			}
			if err := output.check(); err != nil {
				return usageError{err}
			}
			cfg, err := config.Load(w.environ)
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
			color := isTerminal(w.stdout)
			shown := 0
			err = stored.Read(c.Context(), conn, opts, func(stored.Start) {
				fmt.Fprintf(w.stderr, "following %s in the stream %s; Ctrl-C ends it\n", opts.Subjects[0], opts.Stream)
			}, func(m stored.Message) error {
				write := func() error { return tail.Text(w.stdout, m, color) }
				if output == "json" {
					write = func() error { return tail.JSON(w.stdout, m) }
				}
				if err := write(); err != nil {
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
	c.Flags().SortFlags = false // by subject, as here
	which.add(c.Flags())
	output.add(c.Flags(), "each event")
	c.Flags().IntVar(&count, "count", 0, "end after so many events; 0 goes on")
	return c
}

// errEnough ends following after --count events.
var errEnough = errors.New("all events of --count have been shown")
