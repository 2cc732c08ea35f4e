// Package expected looks after announced tasks: it keeps the register of those that are to
// end, in a key-value bucket, and asks the status API for those whose webhook does not come.
//
// All state is in the bucket. Relays that share a broker take turns by its revisions: who
// asks for a task has put the time of the next request into its key before, by compare and
// set. The package must not know HTTP.
package expected

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/apixo"
	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/jserr"
	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

// maxOutstanding is how many tasks may be outstanding for another one to be announced by
// [Reconciler.Announce]: twenty times as many as an account of APIXO may have at once. Each
// takes about a kilobyte of memory, and what its attributes have.
const maxOutstanding = 20000

// Options are what a Reconciler works with; all are required.
type Options struct {
	Config  config.Config
	Client  *apixo.Client
	Encoder event.Encoder
	// Store takes results and what is quarantined: a store whose receipts mean the broker.
	Store store.Store
	// CheckDiskSpace returns an error while the broker should be asked to write nothing.
	CheckDiskSpace func() error
	Metrics        *telemetry.Metrics
	Log            *slog.Logger
}

// Reconciler settles announced tasks. It implements service.Service, and observes a broker's
// connection.
type Reconciler struct {
	service.Background
	o     Options
	tasks *tasks

	conn        atomic.Pointer[nats.Conn] // nil while there is none
	connected   chan struct{}             // a connection is there, or there again
	wake        chan struct{}             // something may be due
	gone        chan struct{}             // keys are to go
	reopen      chan struct{}             // the bucket may be gone
	permissions broker.PermissionWatcher
	// leaseTime, reopenAfter, retryAfter and markerTTL, but for tests.
	lease, reopenAfter, retryAfter, forgetAfter time.Duration

	mu      sync.Mutex
	bucket  *Bucket       // nil while it cannot be used
	opened  chan struct{} // closed when it can be used again
	problem error         // why it cannot be
	warned  map[string]bool
	asking  int
}

// New returns a reconciler.
func New(o Options) *Reconciler {
	r := &Reconciler{
		o: o, tasks: newTasks(), warned: make(map[string]bool), opened: make(chan struct{}),
		connected: make(chan struct{}, 1), wake: make(chan struct{}, 1), gone: make(chan struct{}, 1), reopen: make(chan struct{}, 1),
		problem: errOpening, lease: leaseTime, reopenAfter: reopenAfter, retryAfter: retryAfter, forgetAfter: markerTTL,
	}
	o.Metrics.Expected(func() (tasks, overdue int) { return r.tasks.count(o.Config.Expect.After, time.Now()) })
	return r
}

var (
	errOpening      = errors.New("the bucket is being opened")
	errNotConnected = errors.New("there is no connection to the broker")
)

// notify wakes whoever waits for a channel.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is known
	}
}

// Start implements service.Service: it looks after tasks until Stop. A bucket that cannot be
// used is waited for: webhooks do not need it.
func (r *Reconciler) Start(context.Context) error {
	r.Go(r.run)
	r.Go(r.removeGone)
	return nil
}

// Connected implements broker.ConnObserver.
func (r *Reconciler) Connected(conn *nats.Conn) {
	r.conn.Store(conn)
	notify(r.connected)
}

// Disconnected implements broker.ConnObserver.
func (r *Reconciler) Disconnected() { r.conn.Store(nil) }

// PublishDenied implements broker.ConnObserver. Whichever key is denied, all are, and
// whichever consumer.
func (r *Reconciler) PublishDenied(subject string) {
	keys, watch := Subjects(r.o.Config.Expect.Bucket), r.watchSubject()
	switch {
	case strings.HasPrefix(subject, keyPrefix(r.o.Config.Stream.Domain)+strings.TrimSuffix(keys, ">")):
		subject = keys
	case strings.HasPrefix(subject, watch+"."):
		subject = watch
	}
	r.permissions.Denied(subject)
}

// SubscribeDenied implements broker.ConnObserver.
func (r *Reconciler) SubscribeDenied(string) {}

// Settled notes that the event of a task is stored, so that nobody need be asked for it. It
// takes no time of a webhook's.
func (r *Reconciler) Settled(taskID string) {
	if r.tasks.settle(taskID, time.Now()) {
		notify(r.gone)
	}
}

// Announce has a task looked after, with those of its attributes that an event can have. It
// returns when the bucket has it, and reports false without looking there if the task's event
// is known to be stored. Its error is a *store.Error.
func (r *Reconciler) Announce(ctx context.Context, taskID string, task schema.ExpectedTask) (expected bool, err error) {
	if r.tasks.isStored(taskID) {
		return false, nil
	}
	if err := r.o.CheckDiskSpace(); err != nil {
		return false, &store.Error{Code: store.StreamFull, Err: err}
	}
	if n := r.tasks.len(); n >= maxOutstanding {
		return false, &store.Error{Code: store.RegisterFull, Err: fmt.Errorf("%d tasks are outstanding: see 'apixo-relay expect --list'", n)}
	}
	task.Attributes, _ = event.SelectAttributes(r.o.Config.Event.Attributes, func(name string) string { return task.Attributes[name] })
	_, err = retry.Do(ctx, retry.Backoff(minBackoff, maxBackoff), func() (struct{}, error) {
		if r.conn.Load() == nil {
			return struct{}{}, backoff.Permanent(errNotConnected)
		}
		b, err := r.awaitBucket(ctx)
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		revision, err := r.guarded(ctx, func(ctx context.Context) (uint64, error) {
			revision, _, err := b.Announce(ctx, taskID, task)
			return revision, err
		})
		if err == nil && revision > 0 {
			r.know(taskID, revision, task)
		}
		if r.failed(err); err != nil && isFinal(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	})
	if err != nil {
		return false, &store.Error{Code: codeOf(err), Err: fmt.Errorf("the task is not announced: %w", err)}
	}
	return true, nil
}

// know takes a task over that was announced here, before the bucket tells of it: should that
// be deleted in between, it is put back.
func (r *Reconciler) know(id string, revision uint64, task schema.ExpectedTask) {
	task.Announced = time.Now()
	if r.tasks.putNew(&entry{id: id, key: schema.ExpectedKey(id), revision: revision, task: task, due: r.dueTime(task)}) {
		notify(r.gone)
	}
}

// isFinal reports whether the same request would fail again at once.
func isFinal(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return isPermission(err) || ok && !jserr.IsTransient(api.ErrorCode)
}

// codeOf returns the code of an error about the bucket.
func codeOf(err error) store.Code {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch api.ErrorCode {
		case jserr.StreamStoreFailed, jserr.InsufficientResources, jserr.StorageResourcesExceeded, jserr.AccountResourcesExceeded:
			return store.StreamFull
		}
	}
	switch {
	case isPermission(err):
		return store.BrokerError
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, ErrBucketMissing):
		return store.StreamMissing
	case isFinal(err):
		return store.BrokerError
	}
	return store.BrokerUnavailable
}

// Quarantine keeps an announcement that cannot be used, which came with a key or without.
// Its error is a *store.Error.
func (r *Reconciler) Quarantine(ctx context.Context, key string, value []byte, rejection *schema.Error) (store.Receipt, error) {
	msg, err := r.o.Encoder.RejectedAnnouncement(key, value, rejection, time.Now())
	if err != nil {
		return store.Receipt{}, &store.Error{Code: store.BrokerError, Err: err}
	}
	return r.o.Store.Store(ctx, msg)
}

// Notes returns what keeps announced tasks from being looked after, in words.
func (r *Reconciler) Notes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bucket != nil || r.conn.Load() == nil {
		return nil // without a connection readiness tells of that
	}
	return []string{"announced tasks are not looked after: " + r.problem.Error()}
}

// awaitBucket returns the bucket, when it can be used.
func (r *Reconciler) awaitBucket(ctx context.Context) (*Bucket, error) {
	for {
		r.mu.Lock()
		b, opened, problem := r.bucket, r.opened, r.problem
		r.mu.Unlock()
		if b != nil {
			return b, nil
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return nil, problem
		}
	}
}

// use has others use a bucket, or nobody while there is none.
func (r *Reconciler) use(b *Bucket, problem error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b != nil && r.bucket == nil {
		close(r.opened)
	}
	if b == nil && r.bucket != nil {
		r.opened = make(chan struct{})
	}
	if r.bucket, r.problem = b, problem; problem == nil {
		r.problem = errOpening
	}
}

// guarded makes a change of the bucket, which ends at once if this user may not make it, and
// within some seconds in any case.
func (r *Reconciler) guarded(ctx context.Context, change func(context.Context) (uint64, error)) (uint64, error) {
	ctx, stop := context.WithTimeout(ctx, requestTimeout)
	defer stop()
	ctx, cancel := r.permissions.Guard(ctx, Subjects(r.o.Config.Expect.Bucket))
	defer cancel(nil)
	revision, err := change(ctx)
	if cause := context.Cause(ctx); err != nil && isPermission(cause) {
		return 0, cause
	}
	return revision, err
}

// failed counts a failed request to the bucket, and has that opened again if it may be gone.
func (r *Reconciler) failed(err error) {
	if err == nil || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return
	}
	r.o.Metrics.ExpectError()
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound) {
		notify(r.reopen)
	}
}

func isPermission(err error) bool {
	_, is := errors.AsType[*broker.PermissionError](err)
	return is
}
