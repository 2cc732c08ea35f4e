// Package receiver is the webhook endpoint: paths, tokens, limits, answers.
//
// It sees storage only through [Store], and must not know NATS.
package receiver

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/tokens"
	"github.com/apixo-relay/apixo-relay/relay/verify"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Options are what a Receiver works with.
type Options struct {
	Config config.Webhooks
	// Attributes are the query parameters of the callback URL that become CloudEvents
	// attributes.
	Attributes []string
	// Tokens are those of senders; nil asks nobody for one.
	Tokens  *tokens.Set
	Encoder event.Encoder
	Store   store.Store
	Metrics *telemetry.Metrics
	Tracing *telemetry.Tracing // nil: off
	Log     *slog.Logger
	// Announcer takes announced tasks at the path ExpectPath; nil: there is no such path.
	Announcer  Announcer
	ExpectPath string
	// Verifier holds webhooks against the status API, and Enforce has it decide about them;
	// nil: nobody is asked.
	Verifier *verify.Verifier
	Enforce  bool
	// OnAdmit is called with the context of each request that gets a place among those in
	// flight. It may be nil.
	OnAdmit func(context.Context)
}

// Receiver answers webhooks. It implements http.Handler.
type Receiver struct {
	cfg        config.Webhooks
	attributes []string
	tokens     *tokens.Set
	encoder    event.Encoder
	store      store.Store
	metrics    *telemetry.Metrics
	tracing    *telemetry.Tracing
	log        *slog.Logger
	announcer  Announcer
	expectPath string
	verifier   *verify.Verifier
	enforce    bool
	onAdmit    func(context.Context)

	crossSite   http.CrossOriginProtection
	ownHostOnly bool
	anonymous   *anonymousLog

	inFlight, bytesInFlight atomic.Int64
	// answering are the requests whose response is being written: of those that were
	// admitted, and of those that were not.
	answering, refusing atomic.Int64
	draining            atomic.Bool
	// closing ends what is still being stored when the time for an orderly end is over.
	closing context.Context
	close   context.CancelFunc
}

// New returns a receiver.
func New(o Options) *Receiver {
	closing, cancel := context.WithCancel(context.Background())
	o.Metrics.Problems(slugs())
	rc := &Receiver{
		cfg: o.Config, attributes: o.Attributes, tokens: o.Tokens, encoder: o.Encoder, store: o.Store, metrics: o.Metrics, tracing: o.Tracing, log: o.Log, onAdmit: o.OnAdmit,
		announcer: o.Announcer, expectPath: o.ExpectPath, verifier: o.Verifier, enforce: o.Enforce,
		ownHostOnly: ownHostOnly(o.Config), anonymous: newAnonymousLog(), closing: closing, close: cancel,
	}
	if rc.onAdmit == nil {
		rc.onAdmit = func(context.Context) {}
	}
	return rc
}

// Drain makes each response the last one of its connection.
func (rc *Receiver) Drain() { rc.draining.Store(true) }

// CancelInFlight answers 503 to the webhooks that are still being processed.
func (rc *Receiver) CancelInFlight() { rc.close() }

// InFlight returns how many webhooks are being processed.
func (rc *Receiver) InFlight() int64 { return rc.inFlight.Load() }

// BytesInFlight returns the size of the bodies that are being processed, and of what
// has come of others.
func (rc *Receiver) BytesInFlight() int64 { return rc.bytesInFlight.Load() }

// ServeHTTP implements http.Handler: it has a request processed, responds, counts it and
// writes a line about it, or a few of many about anonymous ones.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	res, err := rc.process(r)
	resp := rc.responseTo(res, err)
	if t := res.task; err == nil && t != nil && !res.receipt.Duplicate {
		rc.metrics.Stored(string(t.State), t.FailCode, t.CompleteTime, time.Now(), t.CostTime)
		rc.metrics.Normalized(res.normalized)
	}
	switch {
	case rc.draining.Load():
		w.Header().Set("Connection", "close") // which the library says in HTTP/2's own way
	case r.ProtoMajor == 1 && r.ContentLength != 0 && !res.bodyRead:
		// Or the library would read what is left of the body before it answers, for
		// as long as that takes to come. In HTTP/2 no body is in another's way.
		w.Header().Set("Connection", "close")
	}
	given := rc.respond(w, resp, res.admitted)
	took := time.Since(res.start)
	if res.announcement != nil {
		rc.metrics.Announcement(resp.outcome)
	} else {
		rc.metrics.Webhook(resp.outcome, resp.problem, took, res.exemplar())
	}
	res.span.End(telemetry.RequestResult{Status: resp.status, Outcome: resp.outcome, Problem: resp.problem, Task: res.task, Size: res.size})
	rc.logRequest(r.Context(), res, err, resp, took)
	if !given {
		panic(http.ErrAbortHandler)
	}
}

// result is what is known of a request once it has been processed, however that ended.
type result struct {
	start      time.Time
	sender     netip.Addr
	admitted   bool          // it had a place among those in flight
	size       int           // of its body, in bytes
	bodyRead   bool          // the whole of it
	task       *schema.Task  // as in event.Message
	normalized []string      // likewise
	rejection  *schema.Error // likewise
	dropped    []string      // query parameters that cannot be attributes
	receipt    store.Receipt
	verified   verify.Verdict // empty where nobody was asked
	// announcement is nil for a webhook.
	announcement *announcement

	span            *telemetry.RequestSpan // nil without tracing
	traceID, spanID string
	sampled         bool
}

// exemplar returns the id of a trace that others can look at, or nothing.
func (res *result) exemplar() string {
	if !res.sampled {
		return ""
	}
	return res.traceID
}

// process takes a request from its first line until its webhook is stored, or its task is
// announced. Its error is nil then, a *schema.Error if what came was quarantined as neither, a
// [*problem] if it was refused before, and otherwise that of the store or of a fault.
func (rc *Receiver) process(r *http.Request) (res result, err error) {
	res.start = time.Now()
	defer func() {
		if p := recover(); p != nil { // a fault of this program: the sender is to try again
			err = newPanicError(p)
		}
	}()
	token, announces, ok := rc.route(r.URL)
	if !ok {
		return res, notFound
	}
	if announces {
		res.announcement = new(announcement)
	}
	if r.Method != http.MethodPost {
		return res, methodNotAllowed
	}
	addrs := clientAddrs(r, rc.cfg.TrustedProxies)
	res.sender = addrs[0]
	if !allowed(addrs, rc.cfg.AllowedCIDRs) {
		return res, addressNotAllowed
	}
	if err := rc.checkBrowser(r); err != nil {
		return res, err
	}
	if !rc.authorized(r, token) {
		return res, unauthorized
	}

	var attributes map[string]string
	traced := rc.closing
	if !announces {
		attributes, res.dropped = callbackAttributes(r.URL.RawQuery, rc.attributes)
		traced = rc.startSpan(r, attributes, &res)
	}

	if !rc.admit(r.Context()) {
		return res, overloaded
	}
	res.admitted = true
	defer rc.leave()
	reader := countingReader{from: r.Body, inFlight: &rc.bytesInFlight}
	defer reader.release()
	body, err := rc.readBody(&reader, r.ContentLength)
	if err != nil {
		return res, err
	}
	res.size, res.bodyRead = len(body), true

	// The sender hanging up is no reason to stop storing: it would only come again.
	ctx, cancel := context.WithDeadline(traced, res.start.Add(rc.budget()))
	defer cancel()
	if announces {
		return res, rc.announce(ctx, r.Header, body, &res)
	}
	delivery := event.Delivery{Body: body, Attributes: attributes, Received: res.start, Rejection: checkContent(r.Header, body)}
	if rc.verifier != nil {
		if delivery, err = rc.verifyDelivery(ctx, delivery, &res); err != nil {
			return res, err
		}
	}
	err = rc.storeDelivery(ctx, delivery, &res)
	return res, err
}

// admit gives a request a place among those in flight, if there is one. Responses that
// nobody reads take no places from others until there are as many of them as there are
// places.
func (rc *Receiver) admit(ctx context.Context) bool {
	most := int64(rc.cfg.MaxInFlight)
	if rc.inFlight.Add(1) > most || rc.answering.Load() >= most {
		rc.inFlight.Add(-1)
		return false
	}
	rc.metrics.InFlight(+1)
	rc.onAdmit(ctx)
	return true
}

// leave frees the place of a request.
func (rc *Receiver) leave() {
	rc.inFlight.Add(-1)
	rc.metrics.InFlight(-1)
}

// storeDelivery stores the event of a task, or what quarantines a delivery that is none.
// Its error is nil for the first, and the rejection for the second.
func (rc *Receiver) storeDelivery(ctx context.Context, delivery event.Delivery, res *result) error {
	ctx, span, traceParent, traceState := rc.tracing.StartPublish(ctx)
	if traceParent != "" {
		delivery = delivery.WithTraceContext(traceParent, traceState)
	}
	msg, err := rc.encoder.Encode(delivery)
	if err == nil {
		res.task, res.normalized, res.rejection = msg.Task, msg.Normalized, msg.Rejection
		res.receipt, err = rc.store.Store(ctx, msg)
	}
	span.End(telemetry.PublishResult{
		Operation: "publish", Subject: msg.Subject, ID: msg.ID, Size: len(msg.Data),
		Stream: res.receipt.Stream, Sequence: res.receipt.Sequence, Duplicate: res.receipt.Duplicate, Code: codeOf(err), Err: err,
	})
	if err == nil && msg.Rejection != nil {
		return msg.Rejection
	}
	return err
}

// budget is the time for storing: a little less than the whole budget of a
// webhook, so that the answer is out before that is over.
func (rc *Receiver) budget() time.Duration {
	whole := rc.cfg.PublishTimeout
	return whole - min(whole/10, 500*time.Millisecond)
}
