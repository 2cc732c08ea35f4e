// Package receiver is the webhook endpoint: paths, tokens, limits, answers.
//
// It sees storage only through [Store], and must not know NATS.
package receiver

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// Receiver answers webhooks. It is an http.Handler.
type Receiver struct {
	cfg        config.Webhooks
	attributes []string
	tokens     *Tokens
	encoder    event.Encoder
	store      store.Store
	metrics    *telemetry.Metrics
	tracing    *telemetry.Tracing
	log        *slog.Logger

	crossSite   http.CrossOriginProtection
	ownHostOnly bool
	strangers   *anonymousLog

	inFlight, bytesInFlight atomic.Int64
	// answering are the requests whose answer is being written: of those that had a
	// place, and of those that got none.
	answering, refusing atomic.Int64
	accepted            func(context.Context)
	draining            atomic.Bool
	// closing ends what is still being stored when the time for an orderly end is over.
	closing context.Context
	close   context.CancelFunc
}

// New makes a receiver. The attributes are the query parameters of the callback
// URL that become CloudEvents attributes. Without tracing that is nil.
func New(cfg config.Webhooks, attributes []string, tokens *Tokens, encoder event.Encoder, s store.Store, metrics *telemetry.Metrics, tracing *telemetry.Tracing, log *slog.Logger) *Receiver {
	closing, cancel := context.WithCancel(context.Background())
	metrics.Problems(slugs())
	return &Receiver{
		cfg: cfg, attributes: attributes, tokens: tokens, encoder: encoder, store: s, metrics: metrics, tracing: tracing, log: log,
		ownHostOnly: ownHostOnly(cfg), strangers: newAnonymousLog(), closing: closing, close: cancel, accepted: func(context.Context) {},
	}
}

// OnAccept has a function called, before the first request comes, with the context of
// each request that gets a place among those in flight.
func (rc *Receiver) OnAccept(accepted func(context.Context)) { rc.accepted = accepted }

// Drain makes each answer the last one of its connection.
func (rc *Receiver) Drain() { rc.draining.Store(true) }

// CancelInFlight answers 503 to the webhooks that are still being worked on.
func (rc *Receiver) CancelInFlight() { rc.close() }

// InFlight is how many webhooks are being worked on.
func (rc *Receiver) InFlight() int64 { return rc.inFlight.Load() }

// BytesInFlight is the size of the bodies that are being worked on, and of what
// has come of others.
func (rc *Receiver) BytesInFlight() int64 { return rc.bytesInFlight.Load() }

// ServeHTTP answers one request, counts it and writes one line about it, or a few of many
// about strangers.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	line := accessLogEntry{start: start}
	a := rc.receiveSafely(r, &line)
	switch {
	case rc.draining.Load():
		w.Header().Set("Connection", "close") // which the library says in HTTP/2's own way
	case r.ProtoMajor == 1 && r.ContentLength != 0 && !line.bodyRead:
		// Or the library would read what is left of the body before it answers, for
		// as long as that takes to come. In HTTP/2 no body is in another's way.
		w.Header().Set("Connection", "close")
	}
	given := rc.answer(w, a, line.entered)
	took := time.Since(start)
	rc.metrics.Webhook(a.outcome, a.problem, took, line.exemplar())
	line.span.End(a.status, a.outcome, a.problem, line.taskID, line.state, line.size)
	line.write(r.Context(), rc.log, a, took, rc.strangers)
	if !given {
		panic(http.ErrAbortHandler)
	}
}

// enter gives a request a place among those in flight, if there is one. Answers that
// nobody reads take no places from others until there are as many of them as there are
// places.
func (rc *Receiver) enter(r *http.Request, line *accessLogEntry) bool {
	most := int64(rc.cfg.MaxInFlight)
	if rc.inFlight.Add(1) > most || rc.answering.Load() >= most {
		rc.inFlight.Add(-1)
		return false
	}
	rc.metrics.InFlight(+1)
	line.entered = true
	rc.accepted(r.Context())
	return true
}

// leave frees the place of a request.
func (rc *Receiver) leave() {
	rc.inFlight.Add(-1)
	rc.metrics.InFlight(-1)
}

// receiveSafely turns a panic, which would be this program's fault, into an
// answer that makes the sender try again.
func (rc *Receiver) receiveSafely(r *http.Request, line *accessLogEntry) (a response) {
	defer func() {
		if p := recover(); p != nil {
			line.panicked(p)
			a = problem(internalError, "the relay met an error of its own; its log tells more")
		}
	}()
	return rc.receive(r, line)
}

// receive takes a request from its first line to its answer.
func (rc *Receiver) receive(r *http.Request, line *accessLogEntry) response {
	token, ok := rc.route(r.URL)
	if !ok {
		return problem(notFound, "webhooks are taken at another path: look at the callback URL")
	}
	if r.Method != http.MethodPost {
		return problem(methodNotAllowed, "webhooks come as POST, this was another method")
	}
	senders := clientAddrs(r, rc.cfg.TrustedProxies)
	line.sender = senders[0]
	if !allowed(senders, rc.cfg.AllowedCIDRs) {
		return problem(addressNotAllowed, "this address may not send webhooks here")
	}
	if a, ok := rc.checkBrowser(r); !ok {
		return a
	}
	if !rc.tokens.authorized(r, token) {
		return problem(unauthorized, "the token is missing or wrong: the callback URL must end in it, or bring it as the password of HTTP Basic, or the request as a Bearer token")
	}

	attributes := callbackAttributes(r.URL.RawQuery, rc.attributes, line)
	traced := rc.startSpan(r, attributes, line)

	if !rc.enter(r, line) {
		return problem(overloaded, "too many webhooks are being worked on; this one was not looked at")
	}
	defer rc.leave()
	coming := countingReader{from: r.Body, inFlight: &rc.bytesInFlight}
	defer coming.release()
	body, a, ok := rc.readBody(&coming, r.ContentLength)
	line.size, line.bodyRead = len(body), ok
	if !ok {
		return a
	}

	delivery := event.Delivery{Body: body, Attributes: attributes, Received: line.start, Rejection: checkContent(r.Header, body)}
	// The sender hanging up is no reason to stop storing: it would only come again.
	ctx, cancel := context.WithDeadline(traced, line.start.Add(rc.budget()))
	defer cancel()
	return rc.storeDelivery(ctx, delivery, line)
}

// storeDelivery stores what a delivery tells, or the delivery itself if it tells nothing
// or no retry can mend it, and says so.
func (rc *Receiver) storeDelivery(ctx context.Context, delivery event.Delivery, line *accessLogEntry) response {
	ctx, span, traceParent, traceState := rc.tracing.StartPublish(ctx)
	if traceParent != "" {
		delivery = delivery.WithTraceContext(traceParent, traceState)
	}
	msg, err := rc.encoder.Encode(delivery)
	rejection := msg.Rejection
	if err != nil {
		span.End("publish", msg.Subject, msg.ID, 0, telemetry.PublishResult{}, internalError.slug, err)
		return rc.notStored(err, line)
	}
	if rejection != nil {
		line.reason = rejection.Code
	} else {
		line.taskID, line.state, line.normalized = msg.ID, string(msg.Task.State), strings.Join(msg.Normalized, ",")
	}
	receipt, err := rc.store.Store(ctx, msg)
	span.End("publish", msg.Subject, msg.ID, len(msg.Data), telemetry.PublishResult{Stream: receipt.Stream, Sequence: receipt.Sequence, Duplicate: receipt.Duplicate}, reasonOf(err), err)
	if err != nil {
		return rc.notStored(err, line)
	}
	line.receipt = receipt
	if rejection != nil {
		return rejected(rejection, receipt)
	}
	if !receipt.Duplicate {
		t := msg.Task
		rc.metrics.Stored(string(t.State), t.FailCode, t.CompleteTime, time.Now(), t.CostTime)
		rc.metrics.Normalized(msg.Normalized)
	}
	return receiptResponse(msg.ID, receipt)
}

// notStored is the answer when nothing can be promised.
func (rc *Receiver) notStored(err error, line *accessLogEntry) response {
	line.err = err
	var refusal *store.Error
	switch {
	case rc.closing.Err() != nil:
		return problem(draining, "the relay is shutting down; nothing was promised about this webhook")
	case errors.As(err, &refusal):
		return storeErrorResponse(refusal.Code)
	default:
		return problem(internalError, "the relay met an error of its own; its log tells more")
	}
}

// budget is the time for storing: a little less than the whole budget of a
// webhook, so that the answer is out before that is over.
func (rc *Receiver) budget() time.Duration {
	whole := rc.cfg.PublishTimeout
	return whole - min(whole/10, 500*time.Millisecond)
}
