package backfill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/apixo"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/tasklist"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/schema"
)

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
