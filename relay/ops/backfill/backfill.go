// Package backfill fetches the results of tasks whose webhooks never came from APIXO's
// status API. It stores each as its webhook would have been stored: the same event under the
// same message id, by the same packages of the relay.
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
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/time/rate"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

const (
	// MaxRate is the documented limit of an account: 10,000 requests a minute.
	MaxRate = 10000.0 / 60
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
	Tasks *Tasks
	// Version names the program to the API.
	Version string
	// Transport carries the requests; its maker closes its idle connections.
	Transport http.RoundTripper
	// Concurrency is how many tasks are worked on at once, from 1 to MaxConcurrency.
	Concurrency int
	// Rate is how many requests are begun in a second, above 0 and up to MaxRate.
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
	case o.Rate <= 0 || o.Rate > MaxRate:
		return fmt.Errorf("a rate of %g/s is out of range: APIXO allows an account 10,000 requests a minute, so choose more than 0 and at most 166/s", o.Rate)
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
		header:  http.Header{"Authorization": {"Bearer " + cfg.API.Key}, "Accept": {"application/json"}},
		limiter: rate.NewLimiter(rate.Limit(o.Rate), 1),
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
	base, err := url.Parse(cfg.API.BaseURL)
	if err != nil {
		return summary, err // config has looked at it
	}
	r.client = httpclient.NewClient(httpclient.Options{
		Agent: "apixo-relay-backfill/" + o.Version, URL: base, Transport: o.Transport, Timeout: o.Timeout, MaxAnswer: cfg.Webhooks.MaxBodyBytes,
	})
	r.client.RedactURL(cfg.API.Key)

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

// run is what the workers share.
type run struct {
	o         Options
	cfg       config.Config
	client    *httpclient.Client
	header    http.Header
	encoder   event.Encoder
	publisher *publisher.Publisher // nil in a dry run
	limiter   *rate.Limiter
	gate      httpclient.Gate
	next      atomic.Int64 // task
	requests  atomic.Int64
	// stop lets nothing more begin, and says why.
	stop context.CancelCauseFunc

	mu      sync.Mutex
	summary Summary
	useless int // tasks in a row
}

// work returns when every task has been dealt with, or those in flight are when
// ctx ends.
func (r *run) work(ctx context.Context) {
	var workers sync.WaitGroup
	for range min(r.o.Concurrency, r.o.Tasks.Len()) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := r.next.Add(1) - 1
				if i >= int64(len(r.o.Tasks.list)) {
					return
				}
				t := &r.o.Tasks.list[i]
				if result := r.process(ctx, t); result.Result != "" {
					result.TaskID, result.Model = t.id, t.model
					r.report(result)
				}
			}
		})
	}
	workers.Wait()
}

// process finds out what there is to know of a task; nothing if ctx ended before.
func (r *run) process(ctx context.Context, t *task) Result {
	if at := t.at.Load(); at > 0 {
		return r.alreadyStored(at, "")
	}
	answer, v := r.ask(ctx, t)
	r.countUseless(v)
	switch v.kind {
	case notAsked:
		return Result{}
	case ended:
		return r.publish(ctx, t, v.state, answer.Body)
	case pending:
		return Result{Result: Pending, State: v.state}
	case unknown:
		return Result{Result: Unknown, Error: v.detail}
	case denied:
		r.stop(fmt.Errorf("the status API at %s does not take the key (%s): compare APIXO_API_KEY with APIXO's console", r.cfg.API.BaseURL, v.detail))
	}
	return Result{Result: Failed, State: v.state, Error: v.detail}
}

// alreadyStored is the result of a task whose event is in the stream.
func (r *run) alreadyStored(sequence uint64, state string) Result {
	return Result{Result: Already, State: state, Stream: r.cfg.Stream.Name, Sequence: sequence}
}

// publish stores the result of a task, as its webhook would have been.
func (r *run) publish(ctx context.Context, t *task, state string, body []byte) Result {
	failed := func(why string) Result { return Result{Result: Failed, State: state, Error: why} }
	d := event.Delivery{Body: body, Received: time.Now()}
	if slices.Contains(r.cfg.Event.Attributes, modelAttribute) {
		d.Attributes = map[string]string{modelAttribute: t.model}
	}
	msg, err := r.encoder.Encode(d)
	switch {
	case err != nil:
		return failed(r.client.Redact(err.Error()))
	case msg.Rejection != nil:
		return failed("what the API tells is no result: " + r.client.Redact(msg.Rejection.Detail))
	case msg.ID != t.id:
		return failed("the answer is about another task, " + quote(r.client.Redact(msg.ID)))
	}
	// Its webhook may have come while the API was asked.
	if at := t.at.Load(); at > 0 {
		return r.alreadyStored(at, state)
	}
	if r.publisher == nil {
		return Result{Result: WouldStore, State: state}
	}
	if err := r.checkSpace(); err != nil {
		r.stop(err)
		return failed("the broker was not asked to store it: " + err.Error())
	}
	storing, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.Webhooks.PublishTimeout)
	defer cancel()
	receipt, err := r.publisher.Store(storing, msg)
	if err != nil {
		if refusal, ok := errors.AsType[*store.Error](err); !ok || refusal.Code != store.TooLarge {
			// What the next result would get is the same.
			r.stop(errors.New("the broker does not store what the API tells, so no more is asked; mend that and run it again"))
		}
		return failed("the broker did not store it: " + err.Error())
	}
	result := Result{Result: Stored, State: state, Stream: receipt.Stream, Sequence: receipt.Sequence}
	switch {
	case receipt.Conflict:
		result.Result = Conflict
	case receipt.Duplicate:
		result.Result = Already
	}
	return result
}

// checkSpace returns an error if the disk of an embedded broker on this machine is nearly full:
// a failed write freezes the store, and ends the relay.
func (r *run) checkSpace() error {
	if !r.cfg.UsesEmbedded() {
		return nil
	}
	if err := r.o.checkDiskSpace(r.cfg.Embedded.DataDir); err != nil {
		return fmt.Errorf("the relay's broker takes nothing more: %w, and run it again", err)
	}
	return nil
}

// countUseless notices that the API is away.
func (r *run) countUseless(v apiResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch v.kind {
	case notAsked:
	case again, useless:
		if r.useless++; r.useless == maxUseless {
			r.stop(fmt.Errorf("the status API at %s gave no usable answer for %d tasks in a row: look at APIXO_BASE_URL, and run it again later", r.cfg.API.BaseURL, maxUseless))
		}
	default:
		r.useless = 0
	}
}

func (r *run) report(result Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.summary.count(result.Result)
	if err := r.o.OnResult(result, &r.summary); err != nil {
		r.stop(fmt.Errorf("the results cannot be written: %w", err))
	}
}
