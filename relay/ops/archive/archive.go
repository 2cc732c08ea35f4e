// Package archive stores the files of results before their addresses expire: it is a durable
// consumer of the events of successful tasks, and tells in events of its own what became of
// their files.
//
// An event is acknowledged when all its files are safe, or are known never to be had, and that
// has been told. So whatever crashes, each task is dealt with, and told once. It must not know how
// files are fetched, which is package download's, nor how they are kept, which is target's.
package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// DefaultDurable is the consumer's name.
	DefaultDurable = "apixo-archive"
	// DefaultSince is how old an event may be for which a new consumer looks: addresses live
	// for a day, and clocks differ.
	DefaultSince = schema.AddressLife + time.Hour
	// DefaultConcurrency is how many tasks are worked on at once, and MaxConcurrency more than
	// anybody needs.
	DefaultConcurrency = 8
	MaxConcurrency     = 256

	// MaxFiles is how many files of one result are archived.
	MaxFiles = 500

	// minHeld is how many events are held at least, so that there is one to choose that
	// expires first, and a failing one holds up no other.
	minHeld = 64
	// cleanEvery is how often leftovers of killed programs are looked for.
	cleanEvery = time.Hour
)

// Options say what to archive, and where.
type Options struct {
	// Conn is the connection to the broker; Run does not close it.
	Conn *nats.Conn
	// Target is where files go. Run does not close it.
	Target target.Target
	// Client fetches them.
	Client *download.Client
	// Durable is the consumer's name.
	Durable string
	// Since is how old an event may be for which a new consumer looks.
	Since time.Duration
	// MaxAge is after how long a stream of the archive that is made deletes its events; 0 means
	// never.
	MaxAge time.Duration
	// Concurrency is how many tasks are worked on at once, from 1 to MaxConcurrency.
	Concurrency int
	// UntilNow ends with what is in the stream when Run begins. What cannot be had at the
	// moment is left for another run then, after a few tries.
	UntilNow bool

	// Metrics count; they are required.
	Metrics *telemetry.ArchiveMetrics
	// OnResult is told what became of each task, not by two goroutines at once; it may be nil.
	// Its error ends the run.
	OnResult func(Result) error
	// OnProgress is told of how many tasks how many are done, now and then; it may be nil.
	OnProgress func(done, total uint64)

	ackWait time.Duration // the constant if it is 0
	backoff time.Duration // before the second try; the constant if it is 0
}

// Check returns an error for wrong options, in terms of the command's arguments.
func (o Options) Check() error {
	switch {
	case o.Concurrency < 1 || o.Concurrency > MaxConcurrency:
		return fmt.Errorf("--concurrency: %d is out of range: choose from 1 to %d", o.Concurrency, MaxConcurrency)
	case o.Since <= 0:
		return fmt.Errorf("--since: %s leaves no event to look for", o.Since)
	case o.MaxAge < 0:
		return fmt.Errorf("--max-age: %s is below zero", o.MaxAge)
	case !isConsumerName(o.Durable):
		return fmt.Errorf("--durable: %q cannot be the name of a consumer: 1 to 64 letters, digits, _ and - can", o.Durable)
	}
	return nil
}

// Archiver archives. It is made by New, and runs once.
type Archiver struct {
	o       Options
	cfg     config.Config
	log     *slog.Logger
	encoder event.Encoder
	js      jetstream.JetStream
	denied  *broker.PermissionWatcher

	consumer atomic.Pointer[jetstream.Consumer] // another one after it was made anew
	held     *held
	tries    tries
	gate     gate
	backlog  backlog

	mu      sync.Mutex // held while a result is told
	summary Summary
	failed  context.CancelCauseFunc // ends Run with an error
}

// New opens what the archive needs: the stream of its events, which it makes if it is missing,
// and the durable consumer. Its error says what is missing and what to do.
func New(ctx context.Context, cfg config.Config, log *slog.Logger, o Options) (*Archiver, error) {
	js, err := jsapi.New(o.Conn, cfg.Stream.Domain, jetstream.WithDefaultTimeout(brokerTimeout))
	if err != nil {
		return nil, err
	}
	a := &Archiver{
		o: o, cfg: cfg, log: log, js: js, denied: broker.WatchPermissions(o.Conn),
		encoder: event.NewEncoder(cfg), held: newHeld(max(minHeld, 2*o.Concurrency)), tries: tries{counts: make(map[uint64]int)},
		gate: gate{log: log, first: cmp.Or(o.backoff, firstTargetWait)},
	}
	if err := a.openStream(ctx, a.stream()); err != nil {
		return nil, err
	}
	c, err := a.openConsumer(ctx)
	if err != nil {
		return nil, err
	}
	a.consumer.Store(&c)
	o.Metrics.Backlog(a.Backlog)
	o.Metrics.TargetUp(func() bool { return a.gate.err() == nil })
	return a, nil
}

// Ready returns an error while nothing can be archived: the broker is away, or the target cannot
// store.
func (a *Archiver) Ready() error {
	var err error
	if !a.o.Conn.IsConnected() {
		err = errors.New("there is no connection to the broker")
	}
	return errors.Join(err, a.gate.err())
}

// Run archives until ctx ends, or what is there is done (Options.UntilNow). When ctx ends, it
// finishes the tasks that it works on within the grace, and gives the others back.
func (a *Archiver) Run(ctx context.Context, grace time.Duration) (Summary, error) {
	began := time.Now()
	ctx, a.failed = context.WithCancelCause(ctx)
	defer a.failed(nil)
	// What is worked on goes on after the end of ctx, for a while.
	work, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abort(nil)
	stopTimer := context.AfterFunc(ctx, func() {
		time.AfterFunc(grace, func() { abort(errStopped) })
	})
	defer stopTimer()

	var last uint64
	if a.o.UntilNow {
		event, err := a.lastEvent(ctx)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return a.summary, nil
		case err != nil:
			return a.summary, explain("the stream "+a.cfg.Stream.Name, err)
		}
		last = event.Sequence
	}
	pulling, stop := context.WithCancel(ctx)
	defer stop()
	var all, holders sync.WaitGroup
	all.Go(func() { a.keepAlive(work) })
	all.Go(func() { a.clean(ctx, pulling) })
	holders.Go(func() { a.pull(pulling) })
	for range a.o.Concurrency {
		holders.Go(func() { a.work(pulling, work) })
	}
	closed := a.o.Conn.StatusChanged(nats.CLOSED)
	defer a.o.Conn.RemoveStatusListener(closed)
	all.Go(func() {
		select {
		case <-closed:
			a.failed(errors.New("the broker has ended the connection for good; start the archive again"))
		case <-pulling.Done():
		}
	})
	a.report(pulling, last)
	stop()
	holders.Wait() // so that nothing comes after what is given back
	for _, m := range a.held.drop() {
		a.again(m, giveBackDelay)
	}
	abort(nil)
	all.Wait()
	a.summary.Seconds = time.Since(began).Seconds()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return a.summary, err
	}
	return a.summary, nil
}

// errStopped: what was worked on has not ended within the grace.
var errStopped = errors.New("the archive was stopped")

// clean removes leftovers, now and then until pulling ends. What it has begun ends with ctx.
func (a *Archiver) clean(ctx, pulling context.Context) {
	ticker := time.NewTicker(cleanEvery)
	defer ticker.Stop()
	for {
		if err := a.o.Target.Clean(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("what killed programs have left in the archive cannot be removed; it is tried again in an hour", "target", a.o.Target.String(), "error", err)
		}
		select {
		case <-pulling.Done():
			return
		case <-ticker.C:
		}
	}
}

// told counts a result, and passes it on.
func (a *Archiver) told(r Result) {
	for _, f := range r.Failures {
		a.o.Metrics.Failure(f.Reason)
		if a.o.OnResult != nil {
			continue // who is told
		}
		a.log.Warn("a file is not archived", "taskId", r.TaskID, "reason", f.Reason, "error", f.Detail)
	}
	if r.Result == ResultArchived {
		a.log.Debug("archived", "taskId", r.TaskID, "files", r.Files, "bytes", r.Bytes, "new", r.New)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.summary.count(r)
	if a.o.OnResult == nil {
		return
	}
	if err := a.o.OnResult(r); err != nil {
		a.failed(err)
	}
}
