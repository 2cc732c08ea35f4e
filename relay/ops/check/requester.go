package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
)

// errSilent is that of a question to which nothing was replied in time.
var errSilent = errors.New("the broker did not answer")

// requester puts questions to a broker. Many may be asked at once.
type requester struct {
	conn    *nats.Conn
	domain  string // of JetStream
	timeout time.Duration

	permissions broker.PermissionWatcher
	// replies ends, with a *broker.PermissionError, when no reply reaches this user.
	replies   context.Context
	noReplies context.CancelCauseFunc
}

func newRequester(domain string, timeout time.Duration) *requester {
	a := &requester{domain: domain, timeout: timeout}
	a.replies, a.noReplies = context.WithCancelCause(context.Background())
	return a
}

// denied learns what this user may not do. The broker says so apart from the question.
func (a *requester) denied(e *broker.PermissionError) {
	switch {
	case !e.Subscribing:
		a.permissions.Denied(e.Subject)
	case !strings.HasPrefix(e.Subject, "$"): // who listens there sees it itself
		a.noReplies(e)
	}
}

// request returns the reply to a message. Its error is a *broker.PermissionError, errSilent,
// nats.ErrNoResponders, or that the connection is lost.
func (a *requester) request(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := a.permissions.Guard(ctx, msg.Subject)
	defer cancel(nil)
	timer := time.AfterFunc(a.timeout, func() { cancel(errSilent) })
	defer timer.Stop()
	defer context.AfterFunc(a.replies, func() { cancel(context.Cause(a.replies)) })()
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

// subscribe returns a *broker.PermissionError if this user may not subscribe to a subject, or
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
		return &broker.PermissionError{Subject: subject, Subscribing: true}
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
func isDenied(err error) (*broker.PermissionError, bool) {
	return errors.AsType[*broker.PermissionError](err)
}

// apiCode is the code of JetStream's refusal, or 0.
func apiCode(err error) jetstream.ErrorCode {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode
	}
	return 0
}
