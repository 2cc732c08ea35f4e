package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/tail"
	"github.com/apixo-relay/apixo-relay/schema"
)

func tailCommand(w world) *cobra.Command {
	var (
		since      time.Duration
		state      string
		quarantine bool
		output     string
		count      int
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
			switch {
			case state != "" && state != string(schema.StateSuccess) && state != string(schema.StateFailed):
				return usageError{fmt.Errorf("--state %q is neither success nor failed", state)}
			case state != "" && quarantine:
				return usageError{errors.New("--state and --quarantine exclude each other: what is quarantined has no state")}
			case output != "text" && output != "json":
				return usageError{fmt.Errorf("--output %q is neither text nor json", output)}
			case since < 0 || count < 0:
				return usageError{errors.New("--since and --count cannot be negative")}
			}
			cfg, err := config.Load(w.environ)
			if err != nil {
				return usageError{err}
			}
			opts := tail.Options{Stream: cfg.Stream.Name, Subjects: []string{schema.TaskSubjects(cfg.Stream.Prefix)}}
			if quarantine {
				opts.Stream, opts.Subjects = cfg.Stream.Quarantine, []string{schema.QuarantineSubjects(cfg.Stream.Prefix)}
			}
			if state != "" {
				opts.Subjects = []string{schema.TaskSubject(cfg.Stream.Prefix, schema.State(state))}
			}
			if since > 0 {
				opts.Since = time.Now().Add(-since)
			}

			conn, err := broker.Connect(cfg, "apixo-relay tail")
			if err != nil {
				return err
			}
			defer conn.Close()
			color := isTerminal(w.stdout)
			shown := 0
			err = tail.Follow(c.Context(), conn, opts, func() {
				fmt.Fprintf(w.stderr, "following %s in the stream %s; Ctrl-C ends it\n", opts.Subjects[0], opts.Stream)
			}, func(m tail.Message) error {
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
	c.Flags().DurationVar(&since, "since", 0, "show stored events of this much time first, for instance 10m or 24h")
	c.Flags().StringVar(&state, "state", "", "only events of tasks that ended so: success or failed")
	c.Flags().BoolVar(&quarantine, "quarantine", false, "show what could not become an event instead")
	c.Flags().StringVar(&output, "output", "text", "text or json")
	c.Flags().IntVar(&count, "count", 0, "end after so many events; 0 goes on")
	return c
}

// errEnough ends following after --count events.
var errEnough = errors.New("all events of --count have been shown")
