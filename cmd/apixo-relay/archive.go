package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/apixo-relay/apixo-relay/relay/admin"
	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

// archiveFlags are the flags of archive as they were given.
type archiveFlags struct {
	to          string
	untilNow    bool
	concurrency int
	since       time.Duration
	durable     string
	useProxy    bool
	maxAge      time.Duration
	maxBytes    int64
	output      outputFlag
}

func archiveCommand(w cliEnv) *cobra.Command {
	var f archiveFlags
	c := &cobra.Command{
		Use:   "archive --to TARGET",
		Short: "Store the files of results before their addresses expire",
		Long: `archive stores the files of results, which APIXO deletes a day after it made them:
all addresses of each successful task. It runs beside the relay, reads the same
environment, and finds the embedded broker of a running one at RELAY_EMBEDDED_ADDR.

A target is
  nats:BUCKET        a JetStream object store, made if it is missing
  s3://BUCKET/PREFIX a bucket of S3 or of what speaks like it, by the variables
                     AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
                     AWS_ENDPOINT_URL and so on
  file:///DIR        a folder
and there a file has the name TASK/NN-name. An event is acknowledged when all its
files are safe; then APIXO_ARCHIVE has an event that names them, with their
digests. What cannot be had for the moment is tried again for as long as its address
lives; what cannot be had at all is told in an event, too, with the reason.
'apixo-relay fetch' brings files back.

Webhooks are not signed, so their addresses are not trusted: files come by https, from
RELAY_ARCHIVE_HOSTS, at public addresses, up to RELAY_ARCHIVE_MAX_BYTES each.

Several instances with one target share the work. A second target needs a name of its
own: --durable. While a target is full or away nothing is acknowledged; it goes on by
itself. SIGTERM, SIGINT and, on a terminal, SIGHUP end it in order.

Exit codes:
  0  stopped in order, or all that was there is archived (--until-now)
  1  it failed; with --until-now: some files are not archived
  2  wrong usage or configuration`,
		Example: `  # beside a running relay, into a folder
  apixo-relay archive --to file:///var/lib/apixo-archive

  # what is there now, into an object store that keeps files for a month, and end
  apixo-relay archive --to nats:APIXO_FILES --durable month --max-age 720h --until-now

  # into a bucket, of several instances each with its part of the work
  AWS_REGION=eu-central-1 apixo-relay archive --to s3://results/apixo --durable s3 --concurrency 16`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runArchive(c.Context(), w, f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.to, "to", "", "`target`: nats:BUCKET, s3://BUCKET/PREFIX or file:///DIR")
	flags.BoolVar(&f.untilNow, "until-now", false, "end with what is there; what cannot be had now is left for another run")
	flags.IntVar(&f.concurrency, "concurrency", archive.DefaultConcurrency, fmt.Sprintf("how many tasks are worked on at once, at most %d", archive.MaxConcurrency))
	durationVar(flags, &f.since, "since", archive.DefaultSince, "at the first start: how old an event may be; older addresses have expired")
	flags.StringVar(&f.durable, "durable", archive.DefaultDurable, "`name` of the consumer, which the broker remembers")
	flags.BoolVar(&f.useProxy, "use-proxy", false, "download by the proxies of HTTPS_PROXY and NO_PROXY, which then keep private addresses out")
	durationVar(flags, &f.maxAge, "max-age", 0, "an object store that is made, and APIXO_ARCHIVE, delete what is older; 0 keeps it for ever")
	flags.Int64Var(&f.maxBytes, "max-bytes", -1, "an object store that is made takes so much; -1 for no bound")
	f.output.add(flags, "the results")
	return c
}

func runArchive(ctx context.Context, w cliEnv, f archiveFlags) (err error) {
	cfg, o, spec, err := archiveOptions(w, f)
	if err != nil {
		return usageError{err}
	}
	// A reader of the log or of the results that has ended is no reason to end without a word.
	signal.Ignore(syscall.SIGPIPE)
	format := w.logFormat(cfg.Log.Format)
	bar := newProgress(w.stderr, -1, "tasks", "archiving")
	defer bar.end()
	out := openLog(w.stderr, format)
	defer out.Close()
	log := telemetry.NewLogger(bar.suspend(out), format, cfg.Log.Level)
	slog.SetDefault(log) // for libraries that use package log
	b, err := broker.OpenClient(cfg, "apixo-relay archive", log)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close(context.WithoutCancel(ctx)) }()
	defer func() {
		if ctx.Err() != nil && !f.untilNow {
			err = nil // it was told to stop while it was starting
		}
	}()
	o.Conn = b.Conn()
	o.Metrics = telemetry.NewArchiveMetrics(version())
	o.Metrics.BrokerConnected(o.Conn.IsConnected)
	o.Metrics.Log(log)

	js, err := jsapi.New(o.Conn, cfg.Stream.Domain)
	if err != nil {
		return err
	}
	o.Target, err = spec.Open(ctx, target.Options{
		JetStream: js, MaxAge: f.maxAge, MaxBytes: f.maxBytes, Replicas: cfg.Stream.Replicas,
		Environ: w.environ, LargestFile: cfg.Archive.MaxBytes, Log: log,
	})
	if err != nil {
		return err
	}
	defer func() { _ = o.Target.Close() }()
	o.Client = download.New(download.Options{Hosts: cfg.Archive.Hosts, MaxBytes: cfg.Archive.MaxBytes, UseProxy: f.useProxy, Agent: "apixo-relay/" + version()})
	defer o.Client.Close()

	if f.untilNow { // otherwise there is the log
		printer := archive.NewPrinter(bar.suspend(w.stdout), w.hasColors(w.stdout))
		o.OnResult = printer.Text
		if f.output == outputJSON {
			o.OnResult = printer.JSON
		}
	}
	if bar != nil {
		o.OnProgress = func(done, total uint64) { bar.set(int(done), int(total)) }
	}
	archiver, err := archive.New(ctx, cfg, log, o)
	if err != nil {
		return err
	}
	stop, err := serveArchiveAdmin(cfg, archiver, o.Metrics, log)
	if err != nil {
		return err
	}
	defer stop()
	log.Info("archiving", "target", o.Target.String(), "stream", cfg.Stream.Name, "consumer", o.Durable, "hosts", []string(cfg.Archive.Hosts))
	defer sayFinishing(ctx, w, bar)()
	summary, err := archiver.Run(ctx, cfg.Webhooks.ShutdownTimeout)
	bar.end()
	if summary.Tasks() > 0 || err == nil {
		err = cmp.Or(err, f.output.write(w.stdout, &summary))
	}
	switch {
	case err != nil || !f.untilNow:
		return err
	case ctx.Err() != nil:
		return errors.New("stopped before all was archived; run it again, and it goes on")
	case summary.Failed+summary.Left+summary.DeadLetters > 0:
		return fmt.Errorf("%s of %s tasks have files that are not archived; the lines above say why", text.Count(summary.Failed+summary.Left), text.Count(summary.Tasks()))
	}
	return nil
}

// archiveOptions turns flags and environment into what the archive takes, but for what is
// opened. All its errors are about usage.
func archiveOptions(w cliEnv, f archiveFlags) (cfg config.Config, o archive.Options, spec target.Spec, err error) {
	if f.to == "" {
		return cfg, o, spec, errors.New("--to is missing: nats:BUCKET, s3://BUCKET/PREFIX or file:///DIR")
	}
	if spec, err = target.Parse(f.to); err != nil {
		return cfg, o, spec, fmt.Errorf("--to: %w", err)
	}
	if f.maxBytes == 0 || f.maxBytes < -1 {
		return cfg, o, spec, fmt.Errorf("--max-bytes: %d leaves no room for a file: choose 1 or more, or -1 for no bound", f.maxBytes)
	}
	o = archive.Options{
		Durable: f.durable, Since: f.since, MaxAge: f.maxAge, Concurrency: f.concurrency, UntilNow: f.untilNow,
	}
	if err = o.Check(); err != nil {
		return cfg, o, spec, err
	}
	cfg, err = w.settings()
	return cfg, o, spec, err
}

// serveArchiveAdmin answers at RELAY_ARCHIVE_ADMIN_ADDR, unless that is off, until stop is called.
func serveArchiveAdmin(cfg config.Config, a *archive.Archiver, metrics *telemetry.ArchiveMetrics, log *slog.Logger) (stop func(), err error) {
	addr := string(cfg.Archive.AdminAddr)
	if addr == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("RELAY_ARCHIVE_ADMIN_ADDR=%s cannot be listened on: %w; choose another address, or stop what is using it", addr, err)
	}
	checks := admin.Checks{Health: func() error { return nil }, Ready: a.Ready}
	server := admin.Server(admin.Handler(checks, metrics.Handler()), log)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // until it is closed
	}()
	log.Info("admin endpoint", "url", "http://"+listener.Addr().String())
	return func() {
		_ = server.Close() // whoever asks comes again
		<-ended
	}, nil
}
