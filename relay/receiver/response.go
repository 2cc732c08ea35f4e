package receiver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

// problem is why a request is not answered with 200. As an error it ends the processing
// of a request.
type problem struct {
	slug    string // last part of the problem's type, and its anchor in the README
	status  int
	title   string
	outcome telemetry.Outcome
	header  http.Header
	detail  string // empty where each response has its own
}

// Error implements error.
func (p *problem) Error() string { return p.title + ": " + p.detail }

// with returns the problem with a detail of its own.
func (p problem) with(format string, args ...any) *problem {
	p.detail = fmt.Sprintf(format, args...)
	return &p
}

// problemTypeBase is where the README explains each type of problem.
const problemTypeBase = "https://github.com/apixo-relay/apixo-relay#"

// retryAfter fits APIXO's schedule, whose first retry comes after 30 seconds.
var retryAfter = http.Header{"Retry-After": {"30"}}

// The table of everything that is not a 200.
var (
	notFound = &problem{"not-found", http.StatusNotFound, "Nothing is here", telemetry.Rejected, nil,
		"webhooks are taken at another path: look at the callback URL"}
	methodNotAllowed = &problem{"method-not-allowed", http.StatusMethodNotAllowed, "Only POST is taken here", telemetry.Rejected, http.Header{"Allow": {"POST"}},
		"webhooks come as POST, this was another method"}
	unauthorized = &problem{"unauthorized", http.StatusUnauthorized, "The token is missing or wrong", telemetry.Unauthorized, http.Header{"WWW-Authenticate": {`Bearer realm="apixo-relay"`, `Basic realm="apixo-relay"`}},
		"the token is missing or wrong: the callback URL must end in it, or bring it as the password of HTTP Basic, or the request as a Bearer token"}
	addressNotAllowed = &problem{"address-not-allowed", http.StatusForbidden, "This address may not send", telemetry.Unauthorized, nil,
		"this address may not send webhooks here"}
	crossSite = &problem{"cross-site", http.StatusForbidden, "Web pages may not send", telemetry.Unauthorized, nil,
		"a browser says that a page of another site or origin sends this; webhooks are sent by servers, without Sec-Fetch-Site and Origin"}
	// The detail does not repeat the name, which anybody can choose.
	foreignHost = &problem{"foreign-host", http.StatusMisdirectedRequest, "This is another host", telemetry.Unauthorized, nil,
		"without a token only requests for localhost or a loopback address are taken here, since a web page could send any other; " +
			"an operator has to set RELAY_WEBHOOK_TOKENS, or RELAY_ALLOW_UNAUTHENTICATED=true where a proxy in front passes on its public name"}
	unsupportedType = &problem{"unsupported-media-type", http.StatusUnsupportedMediaType, "Only JSON is taken here", telemetry.Quarantined, http.Header{"Accept-Post": {"application/json"}, "Accept-Encoding": {"identity"}}, ""}
	bodyTooLarge    = &problem{"body-too-large", http.StatusRequestEntityTooLarge, "The body is too large", telemetry.Rejected, nil, ""}
	bodyTooSlow     = &problem{"body-too-slow", http.StatusRequestTimeout, "The body came too slowly", telemetry.Rejected, nil, ""}
	bodyIncomplete  = &problem{"body-incomplete", http.StatusBadRequest, "The body did not come whole", telemetry.Rejected, nil,
		"the connection ended, or the chunks were malformed, in the middle of the body"}
	notJSON         = &problem{"not-json", http.StatusBadRequest, "The body is not one JSON text", telemetry.Quarantined, nil, ""}
	notResult       = &problem{"not-a-result", http.StatusUnprocessableEntity, "The body is not a final APIXO result", telemetry.Quarantined, nil, ""}
	notAnnouncement = &problem{"not-an-announcement", http.StatusUnprocessableEntity, "The body announces no task", telemetry.Quarantined, nil, ""}
	notConfirmed    = &problem{"not-confirmed", http.StatusUnprocessableEntity, "APIXO does not confirm this webhook", telemetry.Quarantined, nil, ""}
	notVerified     = &problem{"not-verified", http.StatusServiceUnavailable, "APIXO does not say whether this is true", telemetry.Unavailable, retryAfter, ""}
	overloaded      = &problem{"overloaded", http.StatusServiceUnavailable, "Too many webhooks at once", telemetry.Overloaded, retryAfter,
		"too many webhooks are being worked on; this one was not looked at"}
	draining = &problem{"draining", http.StatusServiceUnavailable, "The relay is shutting down", telemetry.Unavailable, retryAfter,
		"the relay is shutting down; nothing was promised about this webhook"}
	internalError = &problem{"internal-error", http.StatusServiceUnavailable, "The relay met an error of its own", telemetry.Unavailable, retryAfter,
		"the relay met an error of its own; its log tells more"}
	brokerUnavailable = &problem{"broker-unavailable", http.StatusServiceUnavailable, "The broker does not answer", telemetry.Unavailable, retryAfter,
		"the broker did not acknowledge in time that this webhook is stored; a later delivery of it is safe"}
	streamMissing = &problem{"stream-missing", http.StatusServiceUnavailable, "There is no stream to store this in", telemetry.Unavailable, retryAfter,
		"no stream in the broker takes this webhook's subject; it is not stored as far as the relay knows"}
	streamFull = &problem{"stream-full", http.StatusServiceUnavailable, "The stream is full", telemetry.Unavailable, retryAfter,
		"the stream takes no more until events expire, are removed, or its limit is raised; this webhook is not stored"}
	outboxFull = &problem{"outbox-full", http.StatusServiceUnavailable, "The broker is away and the outbox is full", telemetry.Unavailable, retryAfter,
		"the broker does not store this webhook now, and the outbox has no room for it; it is not stored"}
	eventTooLarge = &problem{"event-too-large", http.StatusServiceUnavailable, "The broker takes no event of this size", telemetry.Unavailable, retryAfter,
		"the broker's limit for a message is smaller than this webhook's event; it is not stored, and an operator has to raise max_payload or max_msg_size"}
	registerFull = &problem{"register-full", http.StatusServiceUnavailable, "Too many tasks are outstanding", telemetry.Unavailable, retryAfter,
		"the register of announced tasks takes no more until some have ended; this one is not announced"}
	brokerError = &problem{"broker-error", http.StatusServiceUnavailable, "The broker could not store this", telemetry.Unavailable, retryAfter,
		"the broker refused to store this webhook; the relay's log says why"}
)

// problems are all of them.
var problems = []*problem{
	notFound, methodNotAllowed, unauthorized, addressNotAllowed, crossSite, foreignHost, unsupportedType, bodyTooLarge, bodyTooSlow, bodyIncomplete, notJSON, notResult, notAnnouncement, notConfirmed, notVerified,
	overloaded, draining, internalError, brokerUnavailable, streamMissing, streamFull, outboxFull, eventTooLarge, registerFull, brokerError,
}

// slugs returns those of all problems.
func slugs() (all []string) {
	for _, p := range problems {
		all = append(all, p.slug)
	}
	return all
}

// storeProblems are the problems of the errors of stores.
var storeProblems = map[store.Code]*problem{
	store.BrokerUnavailable: brokerUnavailable, store.StreamMissing: streamMissing, store.StreamFull: streamFull,
	store.OutboxFull: outboxFull, store.TooLarge: eventTooLarge, store.RegisterFull: registerFull, store.BrokerError: brokerError,
}

// problemOf returns the problem that an error is for the sender.
func (rc *Receiver) problemOf(err error) *problem {
	switch e := err.(type) {
	case *problem:
		return e
	case *schema.Error:
		return rejectionProblem(e)
	case *panicError:
		return internalError
	}
	if rc.closing.Err() != nil {
		return draining
	}
	e, ok := errors.AsType[*store.Error](err)
	switch {
	case !ok:
		return internalError
	case storeProblems[e.Code] == nil: // a code to come
		return brokerUnavailable
	}
	return storeProblems[e.Code]
}

// rejectionProblem returns the problem of a body that is no task's result, or announces none.
func rejectionProblem(rejection *schema.Error) *problem {
	switch rejection.Kind {
	case schema.ErrNotResult:
		return notResult
	case schema.ErrNotAnnouncement:
		return notAnnouncement
	case event.ErrNotConfirmed:
		return notConfirmed
	case event.ErrMediaType:
		return unsupportedType
	default:
		return notJSON
	}
}

// response is what a request is answered with.
type response struct {
	status  int
	outcome telemetry.Outcome
	problem string // its slug, or empty
	header  http.Header
	body    []byte
}

// responseTo returns the response to a request that was processed with a result and an
// error.
func (rc *Receiver) responseTo(res result, err error) response {
	switch {
	case err == nil && res.announcement != nil:
		return response{status: http.StatusOK, outcome: telemetry.Published, body: encoded(announcementBody{res.announcement.taskID, res.announcement.expected})}
	case err == nil:
		return receiptResponse(res.task.ID, res.receipt)
	}
	p := rc.problemOf(err)
	body := problemBody{Type: problemTypeBase + p.slug, Title: p.title, Status: p.status, Detail: p.detail}
	if rejection, ok := err.(*schema.Error); ok {
		body.Detail, body.Code, body.Quarantined = rejection.Detail, rejection.Code, &quarantined{res.receipt.Stream, res.receipt.Sequence}
	}
	return response{status: p.status, outcome: p.outcome, problem: p.slug, header: p.header, body: encoded(body)}
}

// receiptResponse returns the response when a webhook is stored.
func receiptResponse(taskID string, r store.Receipt) response {
	outcome := telemetry.Published
	switch {
	case r.Conflict:
		outcome = telemetry.Conflict
	case r.Duplicate:
		outcome = telemetry.Duplicate
	}
	return response{status: http.StatusOK, outcome: outcome, body: encoded(receiptBody{taskID, r.Stream, r.Sequence, r.Duplicate, r.Conflict})}
}

// receiptBody is the body of a 200.
type receiptBody struct {
	TaskID    string `json:"taskId"`
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate"`
	Conflict  bool   `json:"conflict,omitempty"`
}

// problemBody is a problem document (RFC 9457) with two members of its own.
type problemBody struct {
	Type        string       `json:"type"`
	Title       string       `json:"title"`
	Status      int          `json:"status"`
	Detail      string       `json:"detail"`
	Code        string       `json:"code,omitempty"` // of a schema.Error
	Quarantined *quarantined `json:"quarantined,omitempty"`
}

type quarantined struct {
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
}

// encoded returns a body as a line of JSON.
func encoded(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		// Strings and numbers always encode.
		panic(err)
	}
	return append(b, '\n')
}

// Values of headers, which all answers share and nobody changes.
var (
	receiptType        = []string{"application/json"}
	problemContentType = []string{"application/problem+json"}
	noSniff            = []string{"nosniff"}
)
