package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
)

// deniedError says that the broker's permissions keep something from this user.
type deniedError struct{ broker.PermissionViolation }

// Error names the subject.
func (e *deniedError) Error() string {
	if e.Subscribing {
		return "this user may not subscribe to " + e.Subject
	}
	return "this user may not publish to " + e.Subject
}

// errSilent is that of a question to which nothing was replied in time.
var errSilent = errors.New("the broker did not answer")

// requester puts questions to a broker. Many may be asked at once.
type requester struct {
	conn    *nats.Conn
	domain  string // of JetStream
	timeout time.Duration

	mu      sync.Mutex
	inbox   *deniedError // no reply reaches this user, if so
	waiting map[*context.CancelCauseFunc]string
}

// denied learns what this user may not do. The broker says so apart from the question.
func (a *requester) denied(d broker.PermissionViolation) {
	if d.Subscribing && strings.HasPrefix(d.Subject, "$") {
		return // who listens there sees it itself
	}
	err := &deniedError{d}
	a.mu.Lock()
	defer a.mu.Unlock()
	if d.Subscribing {
		a.inbox = err
	}
	for cancel, subject := range a.waiting {
		if d.Subscribing || subject == d.Subject {
			(*cancel)(err)
		}
	}
}

// request returns the reply to a message. Its error is a *deniedError, errSilent,
// nats.ErrNoResponders, or that the connection is lost.
func (a *requester) request(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(a.timeout, func() { cancel(errSilent) })
	defer timer.Stop()
	a.mu.Lock()
	if a.inbox != nil {
		defer a.mu.Unlock()
		return nil, a.inbox
	}
	if a.waiting == nil {
		a.waiting = make(map[*context.CancelCauseFunc]string)
	}
	a.waiting[&cancel] = msg.Subject
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.waiting, &cancel)
	}()
	reply, err := a.conn.RequestMsgWithContext(ctx, msg)
	if err == nil {
		return reply, nil
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(cause, context.Canceled):
		return nil, errSilent // the time for the whole is over
	case cause != nil:
		return nil, cause
	}
	return nil, err
}

// subscribe returns a *deniedError if this user may not subscribe to a subject, or
// errSilent.
func (a *requester) subscribe(ctx context.Context, subject string) error {
	sub, err := a.conn.SubscribeSync(subject)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be lost
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if a.conn.FlushWithContext(ctx) != nil {
		return errSilent
	}
	if _, err := sub.NextMsg(time.Nanosecond); errors.Is(err, nats.ErrPermissionViolation) {
		return &deniedError{broker.PermissionViolation{Subject: subject, Subscribing: true}}
	}
	return nil
}

// api asks JetStream something, and reads its answer. Its error is one of ask's, or
// a *jetstream.APIError.
func (a *requester) api(ctx context.Context, subject string, answer any) error {
	reply, err := a.request(ctx, &nats.Msg{Subject: jsapi.Prefix(a.domain) + subject})
	if err != nil {
		return err
	}
	var refusal struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &refusal); err != nil {
		return fmt.Errorf("the broker's answer to %s is no JSON: %w", subject, err)
	}
	if refusal.Error != nil {
		return refusal.Error
	}
	return json.Unmarshal(reply.Data, answer)
}

// isDenied returns the error of what this user may not do.
func isDenied(err error) (*deniedError, bool) { return errors.AsType[*deniedError](err) }

// apiCode is the code of JetStream's refusal, or 0.
func apiCode(err error) jetstream.ErrorCode {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode
	}
	return 0
}
