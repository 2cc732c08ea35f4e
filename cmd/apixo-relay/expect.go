package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/expect"
	"github.com/apixo-relay/apixo-relay/relay/ops/tasklist"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

func expectCommand(w cliEnv) *cobra.Command {
	var (
		model      string
		attributes map[string]string
		list       bool
		output     outputFlag
	)
	c := &cobra.Command{
		Use:   "expect [--model M] [ID... | -] | --list",
		Short: "Announce tasks that the relay is to look after",
		Long: `expect announces tasks, so that none of them ends in silence: a relay that runs
with RELAY_EXPECT=true asks APIXO's status API for those whose webhook does not
come, and stores their results as their webhooks would have been stored. It reads
the environment of the relay, and finds the embedded broker of a running one at
RELAY_EMBEDDED_ADDR. It needs no APIXO_API_KEY: the relay does.

A task is an ID, with its model in --model, or "MODEL ID" for one of another
model. Without arguments, or with -, tasks are read from standard input, one a
line; empty lines and those that begin with # are passed over. All of them are
read and checked before the first one is announced. To announce a task twice is
harmless.

For each task there is a line:
  announced  the bucket (RELAY_EXPECT_BUCKET) has it now
  already    it had it

With --list it shows what is outstanding: when each task was announced, how often
the status API was asked for it, when it is asked for next, and what it said last.

Exit codes:
  0  all of them are announced; --list: shown
  1  some are not
  2  wrong arguments, ids or configuration: nothing was done`,
		Example: `  # one task
  apixo-relay expect --model nano-banana task_abc123xyz

  # tasks of several models from another program, one "MODEL ID" a line
  printf '%s\n' 'nano-banana task_abc123xyz' 'veo-3 task_12345678' | apixo-relay expect

  # with what the callback URL would bring to the event besides the model
  RELAY_CALLBACK_ATTRIBUTES=model,user apixo-relay expect --model nano-banana --attribute user=42 task_abc123xyz

  # what is outstanding, for how long, and when it is asked for next
  apixo-relay expect --list`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := w.settings()
			if err != nil {
				return usageError{err}
			}
			if list {
				if len(args) > 0 || model != "" || len(attributes) > 0 {
					return usageError{errors.New("--list shows all that is outstanding, and takes neither tasks nor what belongs to them")}
				}
				return listExpected(c.Context(), w, cfg, output)
			}
			if model != "" {
				if err := tasklist.CheckModel(model); err != nil {
					return usageError{fmt.Errorf("--model: %w", err)}
				}
			}
			if err := checkAttributes(cfg, attributes); err != nil {
				return usageError{err}
			}
			tasks, err := readTasks(c.Context(), w, model, args)
			if c.Context().Err() != nil {
				return errors.New("stopped while the task ids were read; nothing was done")
			} else if err != nil {
				return usageError{err}
			}
			return announce(c.Context(), w, cfg, tasks, attributes, output)
		},
	}
	flags := c.Flags()
	flags.StringVar(&model, "model", "", "the `model` of the tasks that come without one, such as nano-banana")
	flags.StringToStringVar(&attributes, "attribute", nil, "`name=value`, as the callback URL would bring it to the event")
	flags.BoolVar(&list, "list", false, "show what is outstanding")
	output.add(flags, "the tasks")
	return c
}

// checkAttributes refuses what the relay would not take over into the event.
func checkAttributes(cfg config.Config, attributes map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		switch {
		case !slices.Contains(cfg.Event.Attributes, name):
			return fmt.Errorf("--attribute: %q is not in RELAY_CALLBACK_ATTRIBUTES (%s), so the relay would not take it", name, strings.Join(cfg.Event.Attributes, ","))
		case name == "model":
			return errors.New("--attribute: the model is given with --model")
		case !event.ValidAttribute(attributes[name]):
			return fmt.Errorf("--attribute: the value of %s cannot be an attribute: 1 to %d bytes without control characters can", name, event.MaxAttributeBytes)
		}
	}
	return nil
}

func announce(ctx context.Context, w cliEnv, cfg config.Config, tasks *tasklist.List, attributes map[string]string, output outputFlag) error {
	conn, err := broker.Connect(cfg, "apixo-relay expect")
	if err != nil {
		return err
	}
	defer conn.Close()
	width := 0
	for i := range tasks.Len() {
		width = max(width, min(len(tasks.At(i).ID), 40))
	}
	color, done := w.hasColors(w.stdout), 0
	err = expect.New(conn, cfg).Run(ctx, expect.Options{
		Tasks: tasks, Attributes: attributes,
		OnMade: func(bucket string) {
			fmt.Fprintf(w.stderr, "apixo-relay: made the bucket %s: no relay has looked after tasks here before; is one running with RELAY_EXPECT=true?\n", bucket)
		},
		OnResult: func(r expect.Result) error {
			done++
			if output == outputJSON {
				return text.WriteJSON(w.stdout, r)
			}
			paint := text.Green
			if r.Result == expect.Already {
				paint = text.Faint
			}
			_, err := fmt.Fprintf(w.stdout, "%s  %-*s  %s\n", text.Paint(color, paint, fmt.Sprintf("%-9s", r.Result)), width, r.TaskID, r.Model)
			return err
		},
	})
	if err != nil && done < tasks.Len() {
		return fmt.Errorf("%s of %s tasks are announced: %w", text.Count(done), text.Count(tasks.Len()), err)
	}
	return err
}

func listExpected(ctx context.Context, w cliEnv, cfg config.Config, output outputFlag) error {
	conn, err := broker.Connect(cfg, "apixo-relay expect")
	if err != nil {
		return err
	}
	defer conn.Close()
	tasks, err := expect.New(conn, cfg).List(ctx)
	if err != nil {
		return err
	}
	if output != outputJSON {
		return expect.WriteText(w.stdout, tasks, time.Now(), w.hasColors(w.stdout))
	}
	for _, t := range tasks {
		if err := text.WriteJSON(w.stdout, t); err != nil {
			return err
		}
	}
	return nil
}
