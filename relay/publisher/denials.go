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

// denials remember to which subjects this user may not publish, and wake whoever
// waits for an answer that will not come: the broker says no to a question apart
// from it, and does not reply to it.
//
// The subjects are those that the relay itself publishes to, a handful.
type denials struct {
	mu      sync.Mutex
	waiting map[string]chan struct{}
	denied  map[string]time.Time // when, and not allowed again since as far as is known
	any     atomic.Bool          // there is something in denied
}

// of is closed when the next question to a subject is denied.
func (d *denials) of(subject string) <-chan struct{} {
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

// add notes that publishing to a subject was denied.
func (d *denials) add(subject string) {
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

// lift forgets that a subject was denied.
func (d *denials) lift(subject string) {
	if !d.any.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.denied, subject)
	d.any.Store(len(d.denied) > 0)
}

// forget forgets all: permissions belong to a connection, and it is a new one.
func (d *denials) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.denied)
	d.any.Store(false)
}

// deniedFor is how long a subject counts as denied when nothing more is heard of
// it: a permission that is given back is not told.
const deniedFor = 10 * time.Second

// events are the denied subjects of messages, and not of questions.
func (d *denials) events() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(d.denied)), func(s string) bool {
		return strings.HasPrefix(s, "$") || time.Since(d.denied[s]) > deniedFor
	})
}

// asking ends ctx with a [DeniedError] when a question to a subject is denied.
// The returned function must be called when it has been answered.
func (d *denials) asking(ctx context.Context, subject string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	denied := d.of(subject)
	go func() {
		select {
		case <-denied:
			cancel(&DeniedError{subject})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		d.lift(subject)
	}
}
