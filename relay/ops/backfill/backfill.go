// Package backfill fetches the results of tasks whose webhooks never came from APIXO's
// status API. It stores each as its webhook would have been stored: the same event under the
// same message id, by the same packages of the relay, with one header besides that tells the
// difference.
//
// It does not ask for a task whose event is in the stream, however old, so that a second run
// changes nothing. It must not know where the tasks' ids come from, nor where its results go.
package backfill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/apixo-relay/apixo-relay/relay/apixo"
	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/ops/tasklist"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

const (
	// MaxConcurrency and MaxAttempts are more than anybody needs.
	MaxConcurrency = 100
	MaxAttempts    = 100

	// maxUseless is after how many tasks in a row without one usable answer the
	// API is taken to be away.
	maxUseless = 20

	modelAttribute = "model"
)

// Options say what to ask for, and how.
type Options struct {
	Tasks *tasklist.List
	// Version names the program to the API.
	Version string
	// Transport carries the requests; its maker closes its idle connections.
	Transport http.RoundTripper
	// Concurrency is how many tasks are worked on at once, from 1 to MaxConcurrency.
	Concurrency int
	// Rate is how many requests are begun in a second, up to config.MaxAPIRate; 0 means
	// RELAY_API_RATE.
	Rate float64
	// Timeout is how long an answer may take.
	Timeout time.Duration
	// Attempts is how often a task is asked for at the most, from 1 to MaxAttempts.
	Attempts int
	// DryRun publishes nothing.
	DryRun bool

	// OnScan is told how many messages of how many in the stream have been looked
	// through, now and then. OnWait is told that the API asks for a pause. Both may
	// be nil.
	OnScan func(read, total uint64)
	OnWait func(time.Duration)
	// OnResult is called for each task that something is known of, in the order in
	// which it becomes known, with the counts up to then; not by two goroutines at
	// once. Its error ends the run.
	OnResult func(Result, *Summary) error

	backoff        func() backoff.BackOff    // httpclient.Backoff if it is nil
	stall          time.Duration             // stallTime if it is 0
	checkDiskSpace func(folder string) error // broker.CheckDiskSpaceAt if it is nil
}

// Check returns an error for wrong options or a wrong configuration, in terms of the command's
// arguments and variables.
func (o Options) Check(cfg config.Config) error {
	switch {
	case cfg.API.Key == "":
		return errors.New("APIXO_API_KEY is not set, and the status API tells nothing without a key: copy it from APIXO's console, into the variable or into a file that APIXO_API_KEY_FILE names")
	case o.Concurrency < 1 || o.Concurrency > MaxConcurrency:
		return fmt.Errorf("a concurrency of %d is out of range: choose from 1 to %d", o.Concurrency, MaxConcurrency)
	case o.Rate < 0 || o.Rate > config.MaxAPIRate:
		return fmt.Errorf("a rate of %g/s is out of range: APIXO allows an account 10,000 requests a minute, so choose at most 166/s", o.Rate)
	case o.Timeout <= 0:
		return fmt.Errorf("a timeout of %v leaves no time for an answer", o.Timeout)
	case o.Attempts < 1 || o.Attempts > MaxAttempts:
		return fmt.Errorf("%d attempts are out of range: choose from 1 to %d", o.Attempts, MaxAttempts)
	}
	return nil
}

// Run asks for the tasks that are not stored, and stores the results. The options
// must have passed Check.
//
// When ctx ends it begins no further task, and finishes the tasks in flight. It stops in the
// same way when no further task can succeed: the key is wrong, the broker refuses, the API is
// away. Both are errors, and the summary counts the tasks up to then.
func Run(ctx context.Context, cfg config.Config, log *slog.Logger, o Options) (summary Summary, err error) {
	began := time.Now()
	r := &run{
		o: o, cfg: cfg, encoder: event.NewEncoder(cfg),
		stored:  make([]atomic.Uint64, o.Tasks.Len()),
		summary: Summary{Tasks: o.Tasks.Len(), NotAsked: o.Tasks.Len()},
	}
	if r.o.backoff == nil {
		r.o.backoff = httpclient.Backoff
	}
	if r.o.checkDiskSpace == nil {
		r.o.checkDiskSpace = broker.CheckDiskSpaceAt
	}
	defer func() {
		r.summary.Requests, r.summary.Seconds = r.requests.Load(), time.Since(began).Seconds()
		summary = r.summary
	}()
	api := cfg.API
	if o.Rate > 0 {
		api.Rate = config.Rate(o.Rate)
	}
	r.client, err = apixo.New(apixo.Options{
		API: api, Agent: "apixo-relay-backfill/" + o.Version, Transport: o.Transport, Timeout: o.Timeout, MaxAnswer: cfg.Webhooks.MaxBodyBytes,
		OnAnswer: func(apixo.Kind, time.Duration) { r.requests.Add(1) }, OnPause: o.OnWait, Backoff: r.o.backoff,
	})
	if err != nil {
		return summary, err
	}

	b, err := broker.OpenClient(cfg, "apixo-relay backfill", log)
	if err != nil {
		return summary, err
	}
	defer func() { _ = b.Close(context.WithoutCancel(ctx)) }() // what is stored has been acknowledged
	if !o.DryRun {
		p := publisher.New(publisher.Options{
			Config: cfg.Stream, Encoder: r.encoder, MaxMessage: broker.MaxMessageBytes(cfg.Webhooks.MaxBodyBytes),
			Metrics: telemetry.NewMetrics(o.Version), Log: log,
		})
		b.Observe(p)
		if err := p.Start(ctx); err != nil {
			return summary, err
		}
		defer func() { _ = p.Stop(context.WithoutCancel(ctx)) }()
		if err := p.Ready(); err != nil {
			return summary, fmt.Errorf("nothing could be stored, so nothing was asked: %w", err)
		}
		r.publisher = p
	}

	asking, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.stop = stop
	endScan := r.watchStream(asking, b.Conn())
	defer endScan()
	if asking.Err() == nil {
		r.work(asking)
	}
	cause := context.Cause(asking)
	switch {
	case cause != nil && !errors.Is(cause, context.Canceled):
		return summary, cause
	case r.summary.NotAsked > 0:
		return summary, errors.New("stopped before the end; run it again, and it goes on with what is missing")
	}
	return summary, nil
}
