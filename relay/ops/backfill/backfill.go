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
	"slices"
	"sync"
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
	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
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

// run is what the workers share.
type run struct {
	o         Options
	cfg       config.Config
	client    *apixo.Client
	encoder   event.Encoder
	publisher *publisher.Publisher // nil in a dry run
	stored    []atomic.Uint64      // sequences of the tasks; 0 while none is known
	next      atomic.Int64         // task
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
				i := int(r.next.Add(1) - 1)
				if i >= r.o.Tasks.Len() {
					return
				}
				t := r.o.Tasks.At(i)
				if result := r.process(ctx, t, &r.stored[i]); result.Result != "" {
					result.TaskID, result.Model = t.ID, t.Model
					r.report(result)
				}
			}
		})
	}
	workers.Wait()
}

// process finds out what there is to know of a task; nothing if ctx ended before. It is
// stored at a sequence, which can become known meanwhile.
func (r *run) process(ctx context.Context, t tasklist.Task, stored *atomic.Uint64) Result {
	if at := stored.Load(); at > 0 {
		return r.alreadyStored(at, "")
	}
	answer, asked := r.ask(ctx, t)
	if !asked {
		return Result{}
	}
	r.countUseless(answer)
	switch answer.Kind {
	case apixo.Final:
		return r.publish(ctx, t, stored, answer)
	case apixo.Pending:
		return Result{Result: Pending, State: answer.State}
	case apixo.Unknown:
		return Result{Result: Unknown, Error: answer.Detail}
	case apixo.Denied:
		r.stop(r.client.DeniedError(answer))
	}
	return Result{Result: Failed, State: answer.State, Error: answer.Detail}
}

// ask asks for a task until there is an answer that asking again would not change. When ctx
// ends, what is in flight is finished and nothing more is begun; it reports false if nothing
// was.
func (r *run) ask(ctx context.Context, t tasklist.Task) (answer apixo.Answer, asked bool) {
	pauses := r.o.backoff()
	for attempt := 1; ; attempt++ {
		if r.client.Wait(ctx, apixo.Reconciling) != nil {
			answer.Detail = "stopped before it was asked for again: " + answer.Detail
			return answer, attempt > 1
		}
		answer = r.client.Ask(context.WithoutCancel(ctx), t.Model, t.ID)
		switch {
		case answer.Kind != apixo.Retry:
			return answer, true
		case attempt == r.o.Attempts:
			if attempt > 1 {
				answer.Detail += fmt.Sprintf(" (%d times)", attempt)
			}
			return answer, true
		case !answer.Paused:
			_ = retry.Sleep(ctx, pauses.NextBackOff())
		}
	}
}

// alreadyStored is the result of a task whose event is in the stream.
func (r *run) alreadyStored(sequence uint64, state string) Result {
	return Result{Result: Already, State: state, Stream: r.cfg.Stream.Name, Sequence: sequence}
}

// publish stores the result of a task, as its webhook would have been but for the header that
// tells the difference.
func (r *run) publish(ctx context.Context, t tasklist.Task, stored *atomic.Uint64, answer apixo.Answer) Result {
	state := answer.State
	failed := func(why string) Result { return Result{Result: Failed, State: state, Error: why} }
	d := event.Delivery{Body: answer.Body, Received: time.Now(), Recovered: schema.RecoveredBackfill}
	if slices.Contains(r.cfg.Event.Attributes, modelAttribute) {
		d.Attributes = map[string]string{modelAttribute: t.Model}
	}
	if r.cfg.Verify.Mode != config.VerifyOff {
		d = d.WithVerified("true") // it is APIXO's own word
	}
	msg, err := r.encoder.Encode(d)
	switch {
	case err != nil:
		return failed(r.client.Redact(err.Error()))
	case msg.Rejection != nil:
		return failed("what the API tells is no result: " + r.client.Redact(msg.Rejection.Detail))
	case msg.ID != t.ID:
		return failed(fmt.Sprintf("the answer is about another task, %q", msg.ID))
	}
	// Its webhook may have come while the API was asked.
	if at := stored.Load(); at > 0 {
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
func (r *run) countUseless(answer apixo.Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch answer.Kind {
	case apixo.Retry, apixo.Unusable:
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
