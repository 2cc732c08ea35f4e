// Package replay delivers stored events again: to an HTTP endpoint, to another
// NATS subject or as lines of JSON, so that nothing of what was selected is lost
// on the way and what is left over can be resumed.
//
// It reads the streams and never writes into them. Flags, files, terminals and
// exit codes are the command's affair.
package replay

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
)

// maxListed bounds the failures and the skipped messages that a summary names;
// beyond that they are only counted.
const maxListed = 100

// Options say what is delivered, and how fast.
type Options struct {
	// Selection is what is read. Without Follow its beginning must be set. With Follow the
	// replay goes on with what comes until ctx ends, which is no error then; the selection
	// has no end.
	Selection streamreader.Selection
	// Filter picks those of the selected that are delivered.
	Filter streamreader.Filter
	// Rate is how many deliveries are begun in a second at most; 0 means no limit.
	Rate float64
	// Concurrency is how many deliveries are under way at most, 1 or more. It bounds
	// the memory that a replay takes.
	Concurrency int
	// MaxFailures ends the replay after so many failed deliveries without one that
	// succeeded in between; 0 means never.
	MaxFailures int
	// DryRun delivers nothing, and counts what would be.
	DryRun bool
	// OnStart, when set, is called once the stream is being read, with the name of the target,
	// which has no secrets in it, and the sequence from which on the stream is read.
	OnStart func(target string, firstSequence uint64)
	// OnProgress, when set, is told how far the replay is, after each message that was
	// read and each delivery that has ended.
	//
	// It, OnFailure and OnResult are never called at the same time, and hold the replay up
	// while they run.
	OnProgress func(Progress)
	// OnFailure, when set, is told of each failed delivery as it happens.
	OnFailure func(Undelivered)
	// OnResult, when set, is told what came of each message that the filter picks, in the
	// order in which that became known. An error ends the replay, which returns it.
	OnResult func(Delivery) error
}

// Target is where events are delivered to. [Lines], [HTTP] and [NATS] make one,
// which is good for one replay.
type Target interface {
	// name is what the summary calls it, without secrets.
	name() string
	// prepare makes of a message what is delivered. An error is a reason to skip it.
	prepare(m streamreader.Message) (outgoing, error)
	// deliver is called for each outgoing message, in order. It calls done once,
	// at once or later. With the end of ctx it gives up what has not left yet.
	deliver(ctx context.Context, p outgoing, done func(result))
	// close is called when each outgoing message is done.
	close()
}

// outgoing is a message on its way.
type outgoing struct {
	header map[string][]string
	body   []byte
	query  map[string]string // parameters to add to the URL, if there is one
}

// result is what came of a delivery.
type result struct {
	outcome             Outcome // Skipped: the target has the event already
	status              string  // that an HTTP endpoint has answered with; empty without an answer
	reason              string  // of the last attempt that failed
	attempts            int
	duplicate, conflict bool  // what the receiver tells of a delivered webhook
	stop                error // not nil if there is no sense in going on
}

// givenUp is the result of a delivery that ends without having succeeded or failed: the
// replay was stopped, or is to stop because of an error.
func (r result) givenUp(stop error) result {
	r.outcome, r.stop = Unfinished, stop
	return r
}

// Errors with which a replay ends before its end.
var (
	errEnd = errors.New("the end of what is selected")
	// ErrStopped: ctx has ended, and with it a replay that does not follow.
	ErrStopped = errors.New("stopped before everything was delivered")
	// ErrTooManyFailures: the target takes nothing any more.
	ErrTooManyFailures = errors.New("too many failures in a row")
)

// Run delivers the selected events, and returns a summary.
//
// With the end of ctx it begins nothing more, lets what is under way end, and
// returns ErrStopped; ErrTooManyFailures is about Options.MaxFailures. Each error
// but that of a stream which cannot be read at all comes with a summary that tells
// from where to resume. That some deliveries failed is no error, nor is the end of ctx for a
// replay that follows.
func Run(ctx context.Context, conn *nats.Conn, target Target, o Options) (Summary, error) {
	began := time.Now()
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := &run{
		o: o, target: target, stop: stop,
		slots:   make(chan struct{}, o.Concurrency),
		limiter: rate.NewLimiter(rate.Inf, 1),
		summary: Summary{Target: target.name(), Stream: o.Selection.Stream, DryRun: o.DryRun, Unconfirmed: isPlain(target)},
		total:   -1,
	}
	if o.Rate > 0 {
		r.limiter.SetLimit(rate.Limit(o.Rate))
		r.limiter.SetBurst(burst(o.Rate))
	}
	// What ends by time is looked at here: the first message behind the end is where
	// the next replay begins.
	selection := o.Selection
	selection.Until = time.Time{}
	err := streamreader.Read(running, conn, selection, r.started, func(m streamreader.Message) error { return r.take(running, m) })
	for range o.Concurrency {
		r.slots <- struct{}{} // until nothing is under way
	}
	target.close()

	switch cause := context.Cause(running); {
	case cause != nil && cause == context.Cause(ctx):
		if err = ErrStopped; o.Selection.Follow {
			err = nil
		}
	case cause != nil:
		err = cause
	case errors.Is(err, errEnd):
		err = nil
	case err == nil:
		r.next = max(r.next, r.end+1) // to the end, whatever was at it
	}
	s := r.summary
	s.LastSequence, s.ResumeSequence, s.DurationSeconds = r.last, r.next, time.Since(began).Seconds()
	s.Filtered = r.filtered
	if r.undone != 0 {
		s.ResumeSequence = min(r.undone, r.next)
	}
	return s, err
}

// burst is how many deliveries may begin at once: a hundredth of a second's, since
// nobody can wait for less than a fraction of a millisecond.
func burst(rate float64) int { return int(max(1, min(rate/100, 1e6))) }

// isPlain reports whether a target takes events without a word.
func isPlain(t Target) bool {
	p, ok := t.(*natsTarget)
	return ok && p.plain
}

// run is a replay under way.
type run struct {
	o       Options
	target  Target
	stop    context.CancelCauseFunc
	slots   chan struct{}
	limiter *rate.Limiter
	total   int

	// Of the goroutine that reads:
	next     uint64 // the lowest sequence that has not been looked at
	end      uint64 // the last sequence that is selected
	last     uint64 // the last sequence that was looked at; 0 for none
	filtered int    // messages that the filter did not pick

	telling sync.Mutex // held while one of the options' functions is called

	mu       sync.Mutex
	summary  Summary
	undone   uint64 // the lowest sequence that was to be delivered and was not; 0 for none
	failures int    // in a row
}

func (r *run) started(s streamreader.Start) {
	r.next, r.end = s.FirstSeq, s.LastSeq
	if to := r.o.Selection.ToSeq; to != 0 {
		r.end = min(r.end, to)
	}
	if r.o.Selection.Until.IsZero() && !r.o.Selection.Follow {
		r.total = int(min(s.Pending, r.end+1-min(r.next, r.end+1)))
	}
	if r.o.OnStart != nil {
		r.o.OnStart(r.target.name(), s.FirstSeq)
	}
	r.progress()
}

// take looks at a message and begins its delivery. After an error it has not been
// looked at.
func (r *run) take(ctx context.Context, m streamreader.Message) error {
	if until := r.o.Selection.Until; !until.IsZero() && m.Stored.After(until) {
		r.next = m.Sequence
		return errEnd
	}
	r.next = m.Sequence
	if !r.o.Filter.Matches(m) {
		r.filtered++
	} else if err := r.deliver(ctx, m); err != nil {
		return err
	}
	r.last = m.Sequence
	r.next++
	r.mu.Lock()
	r.summary.Read++
	r.mu.Unlock()
	r.progress()
	return nil
}

// deliver begins the delivery of a message, if it can be delivered at all.
func (r *run) deliver(ctx context.Context, m streamreader.Message) error {
	d := deliveryOf(m)
	p, err := outgoing{}, m.Err
	if err == nil {
		p, err = r.target.prepare(m)
	}
	switch {
	case err != nil:
		r.skip(d, err)
		return nil
	case r.o.DryRun:
		r.wouldDeliver(d)
		return nil
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	began := time.Now()
	r.target.deliver(ctx, p, func(result result) {
		d.Duration = time.Since(began)
		r.settle(d, result)
		<-r.slots
	})
	return nil
}

// begin waits until another delivery may be under way.
func (r *run) begin(ctx context.Context) error {
	if err := r.limiter.Wait(ctx); err != nil {
		<-ctx.Done() // where the turn would only come after that
		return ctx.Err()
	}
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil { // the select had the choice
		<-r.slots
		return err
	}
	return nil
}
