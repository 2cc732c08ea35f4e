package expected

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/apixo"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// AskTimeout is how long an answer of the API may take.
	AskTimeout = 10 * time.Second
	// leaseTime is how long who has claimed a task may ask for it before others do: longer than
	// an answer may take. What remains is for storing the result; if that takes longer,
	// another result of the same task is a duplicate.
	leaseTime = AskTimeout + 5*time.Second
	// maxInterval is the longest time between two requests for one task, unless
	// RELAY_EXPECT_AFTER is longer.
	maxInterval = 5 * time.Minute
	// retryAfter is when a task comes again whose result could not be stored, or whose key
	// could not be changed.
	retryAfter = 5 * time.Second
	// maxUnknown is after how many answers in a row that there is no such task it is given
	// up. The first may come before the API knows its own task everywhere.
	maxUnknown = 3
)

// dispatch begins to ask for tasks that are due, and returns how long it is until the next
// one is: less than 0 if that has to be waited for otherwise.
func (r *Reconciler) dispatch(ctx context.Context, b *Bucket) time.Duration {
	for {
		r.mu.Lock()
		full := r.asking >= maxAsking
		r.mu.Unlock()
		if full || r.conn.Load() == nil {
			return -1 // one that ends wakes the caller, or a connection
		}
		e, wait := r.tasks.next(time.Now())
		if e == nil {
			return wait
		}
		r.mu.Lock()
		r.asking++
		r.mu.Unlock()
		r.Go(func(running context.Context) {
			defer func() {
				r.mu.Lock()
				r.asking--
				r.mu.Unlock()
				notify(r.wake)
			}()
			r.reconcile(running, b, e)
		})
	}
}

// dueTime returns when a task is to be asked for next, by what the bucket has of it.
func (r *Reconciler) dueTime(task schema.ExpectedTask) time.Time {
	if task.Next.IsZero() {
		return task.Announced.Add(r.o.Config.Expect.After)
	}
	return task.Next
}

// nextTime returns when a task that has been asked for is to be asked for again: for the last
// time when it is to be given up.
func (r *Reconciler) nextTime(task schema.ExpectedTask) time.Time {
	now := time.Now()
	next := now.Add(r.interval(task.Asked))
	if last := r.giveUpTime(task); last.After(now) && next.After(last) {
		next = last
	}
	return next.UTC()
}

func (r *Reconciler) giveUpTime(task schema.ExpectedTask) time.Time {
	return task.Announced.Add(r.o.Config.Expect.GiveUp)
}

// interval returns how long it is until a task is asked for that has been so often.
func (r *Reconciler) interval(asked int) time.Duration {
	after := r.o.Config.Expect.After
	most := max(after, maxInterval)
	wait := after
	for range asked {
		if wait += wait / 2; wait >= most {
			return most
		}
	}
	return wait
}

// reconcile asks for a task, and does what the answer is reason for.
func (r *Reconciler) reconcile(ctx context.Context, b *Bucket, e *entry) {
	if r.o.Client.Wait(ctx, apixo.Reconciling) != nil {
		return
	}
	if !r.tasks.isCurrent(e) {
		return // its webhook has come, or it was changed
	}
	if err := r.o.CheckDiskSpace(); err != nil { // a claim is written, too
		r.tasks.postpone(e, time.Now().Add(r.retryAfter))
		return
	}
	claim := e.task
	claim.Asked++
	claim.Next = time.Now().Add(r.lease).UTC()
	revision, err := r.guarded(ctx, func(ctx context.Context) (uint64, error) { return b.updateKey(ctx, e.key, claim, e.revision) })
	if err != nil {
		// Another relay was first, or may have been: the bucket tells. Or nothing was changed.
		// What it does not tell is that somebody has purged it: then it is read anew.
		r.failed(err)
		if errors.Is(err, jetstream.ErrKeyRevisionMismatch) && r.tasks.mismatched(e) {
			notify(r.reopen)
		}
		r.tasks.postpone(e, time.Now().Add(r.retryAfter))
		return
	}
	answer := r.o.Client.Ask(ctx, claim.Model, e.id)
	if ctx.Err() != nil {
		return // others ask when the claim is over
	}
	claimed := &entry{id: e.id, key: e.key, revision: revision, task: claim}
	claim.Next = r.nextTime(claim)
	claim.LastAnswer = answer.String()
	switch answer.Kind {
	case apixo.Final:
		problem, again := r.storeResult(ctx, claimed, answer)
		if problem == nil {
			r.Settled(e.id)
			return
		}
		claim.LastAnswer = problem.Error()
		if again {
			claim.Next = time.Now().Add(min(r.retryAfter, r.interval(claim.Asked))).UTC()
			claim.Unknown = 0
			r.release(ctx, b, claimed, claim)
			return
		}
	case apixo.Unknown:
		claim.Unknown++
	case apixo.Pending, apixo.Refused:
		claim.Unknown = 0
	}
	switch {
	case claim.Unknown >= maxUnknown:
		r.giveUp(ctx, b, claimed, claim, schema.ReasonUnknownTask, fmt.Sprintf("the status API knew no such task of the model %s, %d times in a row", claim.Model, claim.Unknown))
	case !time.Now().Before(r.giveUpTime(claim)):
		r.giveUp(ctx, b, claimed, claim, schema.ReasonNotFinal, fmt.Sprintf("there was no result within %s (RELAY_EXPECT_GIVE_UP)", r.o.Config.Expect.GiveUp))
	default:
		r.release(ctx, b, claimed, claim)
	}
}

// release puts into the bucket what came of a claim, and when the task is to be asked for
// again. Without it, the claim ends by itself.
func (r *Reconciler) release(ctx context.Context, b *Bucket, claimed *entry, task schema.ExpectedTask) {
	_, err := r.guarded(ctx, func(ctx context.Context) (uint64, error) {
		return b.updateKey(ctx, claimed.key, task, claimed.revision)
	})
	r.failed(err)
}

// storeResult stores the result of a task as its webhook would have been, but for the header
// that tells the difference. Its error says why not, and again whether the same result can be
// stored later.
func (r *Reconciler) storeResult(ctx context.Context, e *entry, answer apixo.Answer) (problem error, again bool) {
	d := event.Delivery{Body: answer.Body, Attributes: r.attributes(e.task), Received: time.Now(), Recovered: schema.RecoveredReconciled}
	if r.o.Config.Verify.Mode != config.VerifyOff {
		d = d.WithVerified("true") // it is APIXO's own word
	}
	msg, err := r.o.Encoder.Encode(d)
	switch {
	case err != nil:
		return err, false
	case msg.Rejection != nil:
		return fmt.Errorf("what the API tells is no result: %s", r.o.Client.Redact(msg.Rejection.Detail)), false
	case msg.ID != e.id:
		return errors.New("the answer is about another task"), false
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.Config.Webhooks.PublishTimeout)
	defer cancel()
	receipt, err := r.o.Store.Store(ctx, msg)
	if err != nil {
		r.o.Log.Warn("the result of an announced task could not be stored yet", "taskId", e.id, "error", err)
		return fmt.Errorf("it has ended, and could not be stored yet: %w", err), true
	}
	switch {
	case receipt.Conflict:
		r.o.Log.Warn("the status API tells another outcome of a task than its webhook; what it tells is quarantined", "taskId", e.id, "stream", receipt.Stream, "sequence", receipt.Sequence)
	case !receipt.Duplicate:
		t := msg.Task
		r.o.Metrics.Recovered()
		r.o.Metrics.Stored(string(t.State), t.FailCode, t.CompleteTime, time.Now(), t.CostTime)
		r.o.Metrics.Normalized(msg.Normalized)
		r.o.Log.Warn("the webhook of an announced task did not come; its result was fetched, and is stored", "taskId", e.id, "state", string(t.State), "asked", e.task.Asked, "stream", receipt.Stream, "sequence", receipt.Sequence)
	}
	return nil, false
}

// attributes returns those of the event of an announced task.
func (r *Reconciler) attributes(task schema.ExpectedTask) map[string]string {
	names := r.o.Config.Event.Attributes
	attributes, _ := event.SelectAttributes(names, func(name string) string { return task.Attributes[name] })
	if slices.Contains(names, modelAttribute) {
		attributes[modelAttribute] = task.Model
	}
	return attributes
}

const modelAttribute = "model"

// giveUp tells that a task is missing, and removes its key.
func (r *Reconciler) giveUp(ctx context.Context, b *Bucket, claimed *entry, task schema.ExpectedTask, reason, detail string) {
	attributes := r.attributes(task)
	msg, err := r.o.Encoder.Missing(schema.MissingTask{
		ID: claimed.id, Model: task.Model, Announced: task.Announced.UTC(), Asked: task.Asked, LastAnswer: task.LastAnswer,
	}, reason, detail, attributes, time.Now())
	if err == nil {
		storing, cancel := context.WithTimeout(ctx, r.o.Config.Webhooks.PublishTimeout)
		defer cancel()
		receipt, storeErr := r.o.Store.Store(storing, msg)
		if err = storeErr; err == nil {
			if !receipt.Duplicate {
				r.o.Metrics.Missing()
			}
			r.o.Log.Error("an announced task is given up", "taskId", claimed.id, "model", task.Model, "reason", reason, "asked", task.Asked, "lastAnswer", task.LastAnswer, "stream", receipt.Stream, "sequence", receipt.Sequence)
		}
	}
	if err != nil {
		r.o.Log.Error("that an announced task is given up could not be told yet", "taskId", claimed.id, "error", err)
		task.Next = time.Now().Add(r.retryAfter).UTC()
		r.release(ctx, b, claimed, task)
		return
	}
	_, err = r.guarded(ctx, func(ctx context.Context) (uint64, error) { return 0, b.remove(ctx, claimed.key, claimed.revision) })
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return // it was announced anew meanwhile
	}
	r.failed(err)
}
