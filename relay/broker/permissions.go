package broker

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// PermissionError says that the broker's permissions keep a subject from this user.
type PermissionError struct {
	Subject string
	// Subscribing: it may not be subscribed to. Otherwise it may not be published to.
	Subscribing bool
}

// Error names the subject and what to do.
func (e *PermissionError) Error() string {
	verb := "publish"
	if e.Subscribing {
		verb = "subscribe"
	}
	return "the broker does not let this user " + verb + " to " + e.Subject + "; allow it in the user's permissions"
}

// permissionViolation is how nats-server words that a user may not do something.
var permissionViolation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]+)"`)

// parsePermissionError reads an error that the client reports, if it is about permissions.
func parsePermissionError(err error) (*PermissionError, bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil, false
	}
	match := permissionViolation.FindStringSubmatch(err.Error())
	if match == nil {
		return nil, false
	}
	return &PermissionError{Subject: match[2], Subscribing: strings.EqualFold(match[1], "subscription")}, true
}

// LastPermissionError returns the last error of a connection if it is that this user may
// not publish to a subject, and nil otherwise. What was published before a flush that was
// answered is known by then.
func LastPermissionError(conn *nats.Conn, subject string) *PermissionError {
	if e, ok := parsePermissionError(conn.LastError()); ok && e.Subject == subject && !e.Subscribing {
		return e
	}
	return nil
}

// PermissionWatcher wakes whoever waits for the answer to a message that this user may not
// publish: the broker says so apart from the message, and does not reply to it.
//
// The zero value is ready for use, by many goroutines. It remembers each subject that was
// ever watched: those of a program's own, a handful.
type PermissionWatcher struct {
	mu      sync.Mutex
	waiting map[string]chan struct{}
}

// WatchPermissions returns a watcher of what is published over a connection. Its errors go
// on to the handler that it has.
func WatchPermissions(conn *nats.Conn) *PermissionWatcher {
	w, handler := new(PermissionWatcher), conn.ErrorHandler()
	conn.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if e, ok := parsePermissionError(err); ok && !e.Subscribing {
			w.Denied(e.Subject)
		}
		if handler != nil {
			handler(nc, sub, err)
		}
	})
	return w
}

// Watch returns a channel that is closed when the next message to the subject is denied.
func (w *PermissionWatcher) Watch(subject string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.waiting[subject]
	if c == nil {
		if w.waiting == nil {
			w.waiting = make(map[string]chan struct{})
		}
		c = make(chan struct{})
		w.waiting[subject] = c
	}
	return c
}

// Denied wakes those who watch the subject.
func (w *PermissionWatcher) Denied(subject string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.waiting[subject]; c != nil {
		delete(w.waiting, subject)
		close(c)
	}
}

// Guard returns a context for one request to the subject. It ends with a *[PermissionError]
// as its cause when the subject is denied. Cancel releases what watches it.
func (w *PermissionWatcher) Guard(parent context.Context, subject string) (ctx context.Context, cancel context.CancelCauseFunc) {
	ctx, cancel = context.WithCancelCause(parent)
	denied := w.Watch(subject)
	go func() {
		select {
		case <-denied:
			cancel(&PermissionError{Subject: subject})
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
