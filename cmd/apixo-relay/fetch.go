package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/fetch"
	"github.com/apixo-relay/apixo-relay/relay/ops/tasklist"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

func fetchCommand(w cliEnv) *cobra.Command {
	var (
		dir    string
		output outputFlag
	)
	c := &cobra.Command{
		Use:   "fetch [--out DIR] [ID... | -]",
		Short: "Bring the files of tasks back from the archive",
		Long: `fetch brings the files of tasks back that 'apixo-relay archive' has stored, also
long after APIXO has deleted them. Where they are it reads in the stream
APIXO_ARCHIVE; it reads the environment of the relay, finds the embedded broker of
a running one at RELAY_EMBEDDED_ADDR, and for files in S3 the AWS_ variables.

Tasks are given by their ids. Without arguments, or with -, they are read from
standard input, one a line; empty lines and those that begin with # are passed over.

The files of a task are in DIR/TASK, each as NN-name. A file is there whole, with the
SHA-256 that the archive has told of it, or not at all. If one target does not have it
any more, another one that was told of is asked. What is there already with the same
digest is kept, so that a run that was stopped goes on; something else in a file's
place is never replaced.

For each file there is a line:
  fetched       it is there now, with its size and media type
  kept          it was there
  failed        it is not there, and why
  not-archived  the archive does not have it, and why
and for a task without any:
  no-files      there are no addresses in its result
  unknown       the archive has told nothing of it, and whether there is its event

Exit codes:
  0  all files are there
  1  some are not
  2  wrong arguments, ids or configuration: nothing was done`,
		Example: `  # the files of one task
  apixo-relay fetch task_abc123xyz

  # into another folder, for a program: an object a line, the last one is the summary
  apixo-relay fetch --out results --output json task_abc123xyz task_12345678

  # those of tasks that another program names, from an archive in S3
  printf '%s\n' task_abc123xyz task_12345678 | AWS_REGION=eu-central-1 AWS_PROFILE=archive apixo-relay fetch --out results`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := w.settings()
			if err != nil {
				return usageError{err}
			}
			tasks, err := readTasks(c.Context(), w, tasklist.AnyModel, args)
			if c.Context().Err() != nil {
				return errors.New("stopped while the task ids were read; nothing was done")
			} else if err != nil {
				return usageError{err}
			}
			return runFetch(c.Context(), w, cfg, fetch.Options{Tasks: tasks, Dir: dir, Environ: w.environ}, output)
		},
	}
	flags := c.Flags()
	flags.StringVar(&dir, "out", ".", "the `folder` that the files are to be in, each task in one of its own")
	output.add(flags, "the results")
	return c
}

func runFetch(ctx context.Context, w cliEnv, cfg config.Config, o fetch.Options, output outputFlag) error {
	conn, err := broker.Connect(cfg, "apixo-relay fetch")
	if err != nil {
		return err
	}
	defer conn.Close()
	files := -1
	bar := newProgress(w.stderr, files, "files", "looking through the archive")
	defer bar.end()
	defer sayFinishing(ctx, w, bar)()
	o.Log = telemetry.NewLogger(bar.suspend(w.stderr), w.logFormat(config.LogText), max(cfg.Log.Level, slog.LevelWarn))
	o.OnSearch = func(read, total uint64) {
		bar.describe(fmt.Sprintf("looking through the archive: %s of %s", text.Count(read), text.Count(total)))
	}
	o.OnFiles = func(n int) {
		files = n
		bar.describe("fetching")
		bar.set(0, files)
	}
	out, color := bar.suspend(w.stdout), w.hasColors(w.stdout)
	o.OnResult = func(r fetch.Result, s *fetch.Summary) error {
		bar.set(min(s.Done(), files), files)
		if output == outputJSON {
			return text.WriteJSON(out, r)
		}
		return r.WriteText(out, color)
	}
	summary, err := fetch.Run(ctx, conn, cfg, o)
	bar.end()
	if err == nil || summary.Done()+summary.Missing() > 0 {
		if written := output.write(w.stdout, &summary); err == nil {
			err = written
		}
	}
	if err != nil || summary.Missing() == 0 {
		return err
	}
	if summary.Missing() == 1 {
		return errors.New("one is missing; its line above says why")
	}
	return fmt.Errorf("%s files or tasks are missing; the lines above say why", text.Count(summary.Missing()))
}
