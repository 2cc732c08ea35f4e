// Command apixo-relay receives APIXO's webhooks, turns each into a CloudEvent
// and stores it in NATS JetStream before it answers 200.
//
// This package knows what a person meets: arguments, signals, exit codes and
// what is printed. What the program does is behind the doors of relay and
// relay/ops.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Exit codes, the same for every command.
const (
	exitDone   = 0 // it did what was asked
	exitFailed = 1 // it tried and failed
	exitUsage  = 2 // wrong arguments or configuration: running it again changes nothing
)

func main() {
	os.Exit(run(untilSignal(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// sayFinishing says at the first signal what the program waits for, until the function
// that it returns is called.
func sayFinishing(ctx context.Context, w cliEnv, bar *progress) (end func() bool) {
	return context.AfterFunc(ctx, func() {
		fmt.Fprintln(bar.suspend(w.stderr), "apixo-relay: finishing what is in flight; once more ends it at once")
	})
}

// cliEnv is what a command sees of the process that it runs in.
type cliEnv struct {
	environ        []string // as os.Environ gives it
	stdin          io.Reader
	stdout, stderr io.Writer
}

// settings are those of a command that listens nowhere. Who could reach the relay is no
// question of its, in a container for instance whose image opens the address.
func (w cliEnv) settings() (config.Config, error) {
	return config.Load(append(slices.Clip(w.environ), "RELAY_ALLOW_UNAUTHENTICATED=true"))
}

func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand(cliEnv{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr})
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	var setting config.Error
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage), errors.As(err, &setting):
		printError(stderr, err)
		return exitUsage
	default:
		printError(stderr, err)
		return exitFailed
	}
}

// printError prints what a command failed with. A reader that has stopped reading does
// not keep the process from ending with its exit code.
func printError(stderr io.Writer, err error) {
	out := telemetry.NewAsyncWriter(stderr, telemetry.Text)
	fmt.Fprintf(out, "apixo-relay: %v\n", err)
	_ = out.Close() // it has no error
}

// usageError marks an error that is the caller's to mend: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func rootCommand(w cliEnv) *cobra.Command {
	serve := serveCommand(w)
	root := &cobra.Command{
		Use:   "apixo-relay",
		Short: "Receives APIXO's webhooks and stores each as a CloudEvent in NATS JetStream",
		Long: `apixo-relay receives the webhooks that APIXO sends when a task ends, and
stores each as a CloudEvent in NATS JetStream before it answers 200.

Without a command it serves. All settings are environment variables:
'apixo-relay serve -h' lists them.`,
		Example: serve.Example,
		Args:    noArguments,
		RunE:    serve.RunE,

		SilenceErrors: true, // run prints them, once
		SilenceUsage:  true, // an error says what to do; a page of flags would bury it
	}
	root.SetIn(w.stdin)
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			err = fmt.Errorf("--%s: %w", invalid.GetFlag().Name, invalid.Unwrap())
		}
		return usageError{fmt.Errorf("%w; '%s -h' shows what it takes", err, c.CommandPath())}
	})
	root.AddCommand(
		serve,
		sendCommand(w),
		tailCommand(w),
		checkCommand(w),
		backfillCommand(w),
		expectCommand(w),
		schemaCommand(w),
		replayCommand(w),
		archiveCommand(w),
		fetchCommand(w),
		uiCommand(w),
		versionCommand(w),
	)
	arrangeCommands(root, w)
	return root
}

// groups are the commands by what somebody wants; the others come after them.
var groups = []struct {
	title    string
	commands []string
}{
	{"Run it:", []string{"serve", "check"}},
	{"Try and watch it:", []string{"ui", "send", "tail"}},
	{"Lose nothing:", []string{"expect", "backfill", "replay", "archive", "fetch"}},
}

// secretFlags are those whose values may hold a secret.
var secretFlags = []string{"url", "to", "header"}

// completions are the values of flags that have few.
var completions = map[string][]string{
	"output": {"text", "json"},
	"state":  {string(schema.StateSuccess), string(schema.StateFailed)},
	"mode":   {"structured", "binary", "webhook"},
	"probe":  {"health", "ready", "ui", "archive"},
}

// arrangeCommands puts the commands into groups, and tells shells what flags can be.
func arrangeCommands(root *cobra.Command, w cliEnv) {
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
	}
	for _, c := range root.Commands() {
		c.Flags().SortFlags = false // they are added by subject
		for _, g := range groups {
			if slices.Contains(g.commands, c.Name()) {
				c.GroupID = g.title
			}
		}
		for flag, values := range completions {
			if c.Flags().Lookup(flag) != nil {
				// No error: the flag is there, and nobody else has said what it can be.
				_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
			}
		}
		for _, flag := range secretFlags {
			if c.Flags().Lookup(flag) != nil {
				_ = c.RegisterFlagCompletionFunc(flag, w.completeSecret)
			}
		}
	}
}

// noArguments refuses what a command does not take, a mistyped command above all.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("%q is not a command or argument of '%s'; '%[2]s -h' shows what it takes", shown(args[0]), c.CommandPath())}
}
