package send

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
)

// Run sends what the options ask for and tells what came of it.
//
// When ctx ends first, it begins nothing more, breaks off what is in flight and
// returns the summary of what was done with an error that wraps the context's
// cause. An error that wraps ErrOptions means that nothing was sent. That
// webhooks were not delivered is not an error: Summary.AllDelivered tells.
func Run(ctx context.Context, o Options) (Summary, error) {
	if err := o.check(); err != nil {
		return Summary{}, err
	}
	s := newSender(o)
	jobs := make(chan delivery)
	results := make(chan result)
	var workers sync.WaitGroup
	for range min(o.Concurrency, o.total()) {
		workers.Go(func() {
			for d := range jobs {
				results <- s.try(ctx, d)
			}
		})
	}
	c := &scheduler{options: o, tally: newSummaryBuilder(o), jobs: jobs, results: results}
	began := time.Now()
	c.run(ctx)
	close(jobs)
	workers.Wait()

	summary := c.tally.summary(time.Since(began), c.begun)
	if summary.Unfinished+summary.NotStarted > 0 {
		return summary, fmt.Errorf("stopped before the end: %d of %d webhooks were not started and %d not finished: %w",
			summary.NotStarted, summary.Webhooks, summary.Unfinished, context.Cause(ctx))
	}
	return summary, nil
}

// sender makes the attempts. It is used by all workers at once and changes
// nothing of itself.
type sender struct {
	options Options
	client  *httpclient.Client
	limiter *rate.Limiter // nil without a limit
	began   time.Time
}

func newSender(o Options) *sender {
	s := &sender{
		options: o,
		began:   o.Now(),
		client:  httpclient.NewClient(httpclient.Options{Agent: userAgent, URL: o.URL, Transport: o.Transport, Timeout: o.AnswerTimeout, MaxAnswer: maxAnswerBytes}),
	}
	if o.Rate > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(o.Rate), 1)
	}
	return s
}

// try makes one attempt when the rate allows, the first one with an id and a
// time made for the webhook.
func (s *sender) try(ctx context.Context, d delivery) result {
	if s.limiter != nil && s.limiter.Wait(ctx) != nil {
		// The turn does not come before the context's end.
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return result{delivery: d, skipped: true}
	}
	payload := s.options.Payloads[d.number%len(s.options.Payloads)]
	if d.attempts == 0 {
		d.began = time.Now()
	}
	if d.attempts == 0 && payload.TakesTaskID() {
		d.taskID, d.made = s.options.TaskID, s.began
		if d.taskID == "" {
			d.taskID, d.made = freshTaskID(), s.options.Now()
		}
	}
	d.attempts++
	answer := s.post(ctx, payload.body(d.taskID, d.made))
	return result{delivery: d, answer: answer}
}

// result is what came of handing a delivery to a worker.
type result struct {
	delivery delivery
	answer   httpclient.Result
	skipped  bool // the run was stopped before the attempt was made
}

// scheduler decides what is sent next and counts what came back. All of it
// happens in one goroutine.
type scheduler struct {
	options Options
	tally   *summaryBuilder
	jobs    chan<- delivery
	results <-chan result

	begun    int // webhooks handed out, however often
	inFlight int // deliveries that the workers have
	waiting  retryQueue
}

// run returns when every webhook has ended, or when ctx is done and no
// worker has anything left.
func (c *scheduler) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	for {
		next, ready := c.next(ctx)
		if !ready && c.inFlight == 0 && (c.waiting.len() == 0 || ctx.Err() != nil) {
			return
		}
		// A channel that stays nil is never chosen below.
		var jobs chan<- delivery
		if ready {
			jobs = c.jobs
		}
		var wake <-chan time.Time
		if !ready && c.waiting.len() > 0 && ctx.Err() == nil {
			timer.Reset(time.Until(c.waiting.first().due))
			wake = timer.C
		}
		select {
		case jobs <- next:
			c.inFlight++
			if next.attempts == 0 {
				c.begun++
			} else {
				c.waiting.removeFirst()
			}
		case r := <-c.results:
			c.inFlight--
			c.take(r)
		case <-wake:
		case <-done:
			done = nil // known from now on, and not to be chosen again
		}
	}
}

// next tells which delivery should go out now, if any: one that is due again
// before one that was never tried.
func (c *scheduler) next(ctx context.Context) (d delivery, ready bool) {
	switch {
	case ctx.Err() != nil:
		return delivery{}, false
	case c.waiting.len() > 0 && !c.waiting.first().due.After(time.Now()):
		return c.waiting.first(), true
	case c.begun < c.options.total() && c.inFlight+c.waiting.len() < maxPending:
		return delivery{number: c.begun}, true
	}
	return delivery{}, false
}

// take counts a result and puts the delivery on the waiting list when it is to
// be tried again.
func (c *scheduler) take(r result) {
	if r.skipped {
		if r.delivery.attempts == 0 {
			c.begun--
		}
		return
	}
	attempt := Attempt{
		TaskID:  r.delivery.taskID,
		Number:  r.delivery.attempts,
		Status:  r.answer.Status,
		Cause:   r.answer.Cause,
		Latency: r.answer.Latency,
		At:      time.Since(r.delivery.began),
	}
	c.tally.attempt(r)
	switch retries := c.options.Retries; {
	case r.answer.Status == http.StatusOK:
		c.tally.delivered++
		c.tally.deliveredAt[min(r.delivery.attempts, len(c.tally.deliveredAt))-1]++
	case r.answer.Cause == httpclient.CauseInterrupted:
		// Neither delivered nor given up.
	case r.delivery.attempts <= len(retries):
		attempt.Retrying = true
		attempt.RetryIn = retries[r.delivery.attempts-1]
		r.delivery.due = time.Now().Add(attempt.RetryIn)
		c.waiting.add(r.delivery)
	default:
		c.tally.failed++
	}
	if c.options.OnAttempt != nil {
		attempt.Title, attempt.Detail = c.tally.explain(r.answer)
		attempt.Delivered, attempt.Failed, attempt.Waiting = c.tally.delivered, c.tally.failed, c.waiting.len()
		c.options.OnAttempt(attempt)
	}
}
