package publisher

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// DeniedError says that the broker's permissions keep a subject from this user.
type DeniedError struct {
	Subject string
}

// Error names the subject and what to do.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("the broker does not let this user publish to %s; allow it in the user's permissions", e.Subject)
}

// permissionTracker remember to which subjects this user may not publish, and wake whoever
// waits for an answer that will not come: the broker says no to a question apart
// from it, and does not reply to it.
//
// The subjects are those that the relay itself publishes to, a handful.
type permissionTracker struct {
	mu      sync.Mutex
	waiting map[string]chan struct{}
	denied  map[string]time.Time // when, and not allowed again since as far as is known
	any     atomic.Bool          // there is something in denied
}

// watch is closed when the next question to a subject is denied.
func (d *permissionTracker) watch(subject string) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.waiting[subject]
	if c == nil {
		if d.waiting == nil {
			d.waiting = make(map[string]chan struct{})
		}
		c = make(chan struct{})
		d.waiting[subject] = c
	}
	return c
}

// record notes that publishing to a subject was denied.
func (d *permissionTracker) record(subject string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.denied == nil {
		d.denied = make(map[string]time.Time)
	}
	d.denied[subject] = time.Now()
	d.any.Store(true)
	if c := d.waiting[subject]; c != nil {
		delete(d.waiting, subject)
		close(c)
	}
}

// clear forgets that a subject was denied.
func (d *permissionTracker) clear(subject string) {
	if !d.any.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.denied, subject)
	d.any.Store(len(d.denied) > 0)
}

// reset forgets all: permissions belong to a connection, and it is a new one.
func (d *permissionTracker) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.denied)
	d.any.Store(false)
}

// deniedTTL is how long a subject counts as denied when nothing more is heard of
// it: a permission that is given back is not told.
const deniedTTL = 10 * time.Second

// deniedSubjects are the denied subjects of messages, and not of questions.
func (d *permissionTracker) deniedSubjects() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(d.denied)), func(s string) bool {
		return strings.HasPrefix(s, "$") || time.Since(d.denied[s]) > deniedTTL
	})
}

// guard ends ctx with a [DeniedError] when a question to a subject is denied.
// The returned function must be called when it has been answered.
func (d *permissionTracker) guard(ctx context.Context, subject string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	denied := d.watch(subject)
	go func() {
		select {
		case <-denied:
			cancel(&DeniedError{subject})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		d.clear(subject)
	}
}
