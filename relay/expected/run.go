package expected

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// requestTimeout bounds one request to the bucket.
	requestTimeout = 5 * time.Second
	// Back-off after a failed request.
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
	// reopenAfter is when a bucket that could not be used is tried again, if nothing tells
	// that it may be there before.
	reopenAfter = 5 * time.Second
	// removeAfter is how long a settled task's key may stay, so that many go together, and
	// removeBatch how many at the most: fewer than the client has under way at once.
	removeAfter = 200 * time.Millisecond
	removeBatch = 256
	// maxAsking is how many tasks are being asked for at once: enough for any rate, since
	// an answer takes far less than a second.
	maxAsking = 16
)

// run opens the bucket and follows it, again whenever it has to be opened anew.
func (r *Reconciler) run(ctx context.Context) {
	var told string
	opened := false // before, by this relay
	for ctx.Err() == nil {
		conn := r.conn.Load()
		if conn == nil {
			select {
			case <-r.connected:
			case <-ctx.Done():
			}
			continue
		}
		err := r.follow(ctx, conn, &opened)
		r.use(nil, err)
		if ctx.Err() != nil {
			return
		}
		if err == nil { // another connection, or a bucket that is gone
			told = ""
			continue
		}
		r.o.Metrics.ExpectError()
		if told != err.Error() {
			told = err.Error()
			r.o.Log.Error("announced tasks cannot be looked after; it is tried again", "error", err)
		}
		timer := time.NewTimer(r.reopenAfter)
		select {
		case <-r.connected:
		case <-r.reopen:
			_ = retry.Sleep(ctx, maxBackoff)
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// follow opens the bucket, and works by what it tells until the connection is another one,
// the bucket is gone, or ctx ends.
func (r *Reconciler) follow(ctx context.Context, conn *nats.Conn, opened *bool) error {
	for _, news := range []chan struct{}{r.connected, r.reopen} {
		select {
		case <-news: // which this is for
		default:
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	js, err := jsapi.New(conn, r.o.Config.Stream.Domain, jetstream.WithDefaultTimeout(requestTimeout), jetstream.WithPublishAsyncTimeout(requestTimeout))
	if err != nil {
		return err
	}
	b, err := r.open(ctx, js)
	if err != nil {
		return err
	}
	// Where this user may not listen to that, a request finds out that the bucket is gone.
	advisories, err := conn.Subscribe(DeletionSubject(b.Config.Bucket), func(*nats.Msg) { notify(r.reopen) })
	if err != nil {
		return err
	}
	defer func() { _ = advisories.Unsubscribe() }()
	if b.Made && *opened {
		r.restore(ctx, b)
	}
	*opened = true
	watcher, err := r.watch(ctx, b)
	if err != nil {
		return fmt.Errorf("the bucket %s cannot be watched: %w", b.Config.Bucket, err)
	}
	defer func() { _ = watcher.Stop() }()
	r.use(b, nil)
	notify(r.gone) // what could not be removed before
	return r.work(ctx, b, watcher)
}

// open opens the bucket within some seconds, and tells the log what is new about it.
func (r *Reconciler) open(ctx context.Context, js jetstream.JetStream) (*Bucket, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	prefix, stream := jsapi.Prefix(r.o.Config.Stream.Domain), StreamName(r.o.Config.Expect.Bucket)
	ctx, stop := r.permissions.Guard(ctx, prefix+"STREAM.INFO."+stream)
	defer stop(nil)
	ctx, stopMaking := r.permissions.Guard(ctx, prefix+"STREAM.CREATE."+stream)
	defer stopMaking(nil)
	ctx, stopAsking := r.permissions.Guard(ctx, prefix+"INFO") // of the account, before a bucket is made
	defer stopAsking(nil)
	b, err := OpenBucket(ctx, js, r.o.Config, func(before, after jetstream.KeyValueConfig) {
		r.o.Log.Info("changed the bucket of announced tasks", "bucket", before.Bucket,
			"replicas", fmt.Sprintf("%d to %d", before.Replicas, after.Replicas), "markerTTL", fmt.Sprintf("%s to %s", before.LimitMarkerTTL, after.LimitMarkerTTL), "ttl", fmt.Sprintf("%s to %s", before.TTL, after.TTL))
	})
	if cause := context.Cause(ctx); err != nil && isPermission(cause) {
		return nil, cause
	} else if err != nil {
		return nil, err
	}
	if b.Made {
		r.o.Log.Info("made the bucket of announced tasks", "bucket", b.Config.Bucket, "replicas", b.Config.Replicas)
	}
	now := make(map[string]bool)
	for _, weakness := range Weaknesses(b.Config, DesiredBucket(r.o.Config)) {
		if now[weakness] = true; !r.warned[weakness] {
			r.o.Log.Warn("the bucket " + b.Config.Bucket + " " + weakness)
		}
	}
	r.warned = now
	return b, nil
}

// watch begins to follow the bucket until ctx ends. It takes some seconds at the most.
func (r *Reconciler) watch(ctx context.Context, b *Bucket) (jetstream.KeyWatcher, error) {
	ctx, stop := r.permissions.Guard(ctx, r.watchSubject())
	late := time.AfterFunc(requestTimeout, func() { stop(errNoAnswer) })
	watcher, err := b.kv.WatchAll(ctx)
	late.Stop()
	if err == nil {
		context.AfterFunc(ctx, func() { stop(nil) })
		return watcher, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	stop(nil)
	return nil, err
}

var errNoAnswer = fmt.Errorf("the broker did not answer within %s", requestTimeout)

// watchSubject begins the subject on which a consumer of the bucket is asked for.
func (r *Reconciler) watchSubject() string {
	return jsapi.Prefix(r.o.Config.Stream.Domain) + "CONSUMER.CREATE." + StreamName(r.o.Config.Expect.Bucket)
}

// restore puts the tasks that this relay knows into a bucket that was made anew, since
// somebody has deleted the one before.
func (r *Reconciler) restore(ctx context.Context, b *Bucket) {
	all := r.tasks.outstanding()
	r.o.Log.Warn("somebody has deleted the bucket of announced tasks; it is made again, with those that are known here", "bucket", b.Config.Bucket, "tasks", len(all))
	for _, e := range all {
		// Another relay may have been first.
		_, err := r.guarded(ctx, func(ctx context.Context) (uint64, error) { return b.kv.Create(ctx, e.key, encode(e.task)) })
		if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
			r.o.Log.Error("an announced task could not be put back into the bucket, and is not looked after", "taskId", e.id, "error", err)
		}
	}
}

// work takes what the bucket tells, and asks for what is due.
func (r *Reconciler) work(ctx context.Context, b *Bucket, watcher jetstream.KeyWatcher) error {
	initial := make(map[string]bool) // tasks; nil once the bucket has been read whole
	var forget time.Time             // when to remove markers that the bucket does not remove itself
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := r.dispatch(ctx, b)
		if !forget.IsZero() {
			if until := time.Until(forget); until <= 0 {
				forget = time.Time{}
				r.Go(func(ctx context.Context) { r.failed(b.forgetMarkers(ctx, r.forgetAfter)) })
			} else if wait < 0 || until < wait {
				wait = until
			}
		}
		if timer.Stop(); wait >= 0 {
			timer.Reset(wait)
		}
		select {
		case e, ok := <-watcher.Updates():
			switch {
			case !ok && ctx.Err() == nil && r.conn.Load() != nil:
				return errors.New("the bucket is not told of any more")
			case !ok:
				return nil
			case e == nil:
				r.tasks.retain(initial)
				initial = nil
			default:
				if id := r.update(ctx, b, e); initial != nil && id != "" {
					initial[id] = true
				}
				if e.Operation() != jetstream.KeyValuePut && b.Config.LimitMarkerTTL == 0 && forget.IsZero() {
					forget = time.Now().Add(r.forgetAfter)
				}
			}
		case <-r.wake:
		case <-timer.C:
		case <-r.connected:
			return nil
		case <-r.reopen:
			return r.recheck(ctx, b)
		case <-ctx.Done():
			return nil
		}
	}
}

// recheck waits a moment before a bucket is opened again that may be gone: whoever deletes it
// may be about to make another one.
func (r *Reconciler) recheck(ctx context.Context, b *Bucket) error {
	r.use(nil, fmt.Errorf("the bucket %s was deleted, or its stream has no leader", b.Config.Bucket))
	_ = retry.Sleep(ctx, maxBackoff/4)
	return nil
}

// update takes over what the bucket tells of a key, and returns the id of its task where it
// has one.
func (r *Reconciler) update(ctx context.Context, b *Bucket, told jetstream.KeyValueEntry) (id string) {
	id, err := schema.TaskIDOfKey(told.Key())
	if told.Operation() != jetstream.KeyValuePut {
		r.tasks.remove(told.Key(), id, told.Revision())
		return ""
	}
	e := &entry{id: id, key: told.Key(), revision: told.Revision()}
	if err == nil {
		e.task, err = schema.ParseExpectedTask(told.Value())
	}
	if err != nil {
		if rejection, ok := errors.AsType[*schema.Error](err); ok {
			r.reject(ctx, b, told, rejection)
		}
		return ""
	}
	if e.key != schema.ExpectedKey(id) {
		r.rename(ctx, b, told, id)
		return ""
	}
	if e.task.Announced.IsZero() {
		e.task = r.tasks.continued(id, e.task, told.Created())
	}
	e.due = r.dueTime(e.task)
	if r.tasks.put(e) {
		notify(r.gone)
	}
	return id
}
