package receiver

import (
	"encoding/json"
	"net/http"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

// problemType is one of the ways in which a request is not answered with 200.
type problemType struct {
	slug    string // last part of the problem's type, and its anchor in the README
	status  int
	title   string
	outcome telemetry.Outcome
	header  http.Header
}

// problemTypeBase is where the README explains each type of problem.
const problemTypeBase = "https://github.com/apixo-relay/apixo-relay#"

// retryAfter fits APIXO's schedule, whose first retry comes after 30 seconds.
var retryAfter = http.Header{"Retry-After": {"30"}}

// The table of everything that is not a 200.
var (
	notFound          = problemType{"not-found", http.StatusNotFound, "Nothing is here", telemetry.Rejected, nil}
	methodNotAllowed  = problemType{"method-not-allowed", http.StatusMethodNotAllowed, "Only POST is taken here", telemetry.Rejected, http.Header{"Allow": {"POST"}}}
	unauthorized      = problemType{"unauthorized", http.StatusUnauthorized, "The token is missing or wrong", telemetry.Unauthorized, http.Header{"WWW-Authenticate": {`Bearer realm="apixo-relay"`, `Basic realm="apixo-relay"`}}}
	addressNotAllowed = problemType{"address-not-allowed", http.StatusForbidden, "This address may not send", telemetry.Unauthorized, nil}
	crossSite         = problemType{"cross-site", http.StatusForbidden, "Web pages may not send", telemetry.Unauthorized, nil}
	foreignHost       = problemType{"foreign-host", http.StatusMisdirectedRequest, "This is another host", telemetry.Unauthorized, nil}
	unsupportedType   = problemType{"unsupported-media-type", http.StatusUnsupportedMediaType, "Only JSON is taken here", telemetry.Quarantined, http.Header{"Accept-Post": {"application/json"}, "Accept-Encoding": {"identity"}}}
	bodyTooLarge      = problemType{"body-too-large", http.StatusRequestEntityTooLarge, "The body is too large", telemetry.Rejected, nil}
	bodyTooSlow       = problemType{"body-too-slow", http.StatusRequestTimeout, "The body came too slowly", telemetry.Rejected, nil}
	bodyIncomplete    = problemType{"body-incomplete", http.StatusBadRequest, "The body did not come whole", telemetry.Rejected, nil}
	notJSON           = problemType{"not-json", http.StatusBadRequest, "The body is not one JSON text", telemetry.Quarantined, nil}
	notResult         = problemType{"not-a-result", http.StatusUnprocessableEntity, "The body is not a final APIXO result", telemetry.Quarantined, nil}
	overloaded        = problemType{"overloaded", http.StatusServiceUnavailable, "Too many webhooks at once", telemetry.Overloaded, retryAfter}
	draining          = problemType{"draining", http.StatusServiceUnavailable, "The relay is shutting down", telemetry.Unavailable, retryAfter}
	internalError     = problemType{"internal-error", http.StatusServiceUnavailable, "The relay met an error of its own", telemetry.Unavailable, retryAfter}
	brokerUnavailable = problemType{"broker-unavailable", http.StatusServiceUnavailable, "The broker does not answer", telemetry.Unavailable, retryAfter}
	streamMissing     = problemType{"stream-missing", http.StatusServiceUnavailable, "There is no stream to store this in", telemetry.Unavailable, retryAfter}
	streamFull        = problemType{"stream-full", http.StatusServiceUnavailable, "The stream is full", telemetry.Unavailable, retryAfter}
	outboxFull        = problemType{"outbox-full", http.StatusServiceUnavailable, "The broker is away and the outbox is full", telemetry.Unavailable, retryAfter}
	eventTooLarge     = problemType{"event-too-large", http.StatusServiceUnavailable, "The broker takes no event of this size", telemetry.Unavailable, retryAfter}
	brokerError       = problemType{"broker-error", http.StatusServiceUnavailable, "The broker could not store this", telemetry.Unavailable, retryAfter}
)

// allProblemTypes are all of them.
func allProblemTypes() []problemType {
	return []problemType{
		notFound, methodNotAllowed, unauthorized, addressNotAllowed, crossSite, foreignHost, unsupportedType, bodyTooLarge, bodyTooSlow, bodyIncomplete, notJSON, notResult,
		overloaded, draining, internalError, brokerUnavailable, streamMissing, streamFull, outboxFull, eventTooLarge, brokerError,
	}
}

// slugs are those of all kinds.
func slugs() (all []string) {
	for _, k := range allProblemTypes() {
		all = append(all, k.slug)
	}
	return all
}

// storeErrorResponse is the answer to a store's refusal.
func storeErrorResponse(reason store.Code) response {
	switch reason {
	case store.StreamMissing:
		return problem(streamMissing, "no stream in the broker takes this webhook's subject; it is not stored as far as the relay knows")
	case store.StreamFull:
		return problem(streamFull, "the stream takes no more until events expire, are removed, or its limit is raised; this webhook is not stored")
	case store.OutboxFull:
		return problem(outboxFull, "the broker does not store this webhook now, and the outbox has no room for it; it is not stored")
	case store.TooLarge:
		return problem(eventTooLarge, "the broker's limit for a message is smaller than this webhook's event; it is not stored, and an operator has to raise max_payload or max_msg_size")
	case store.BrokerError:
		return problem(brokerError, "the broker refused to store this webhook; the relay's log says why")
	default:
		return problem(brokerUnavailable, "the broker did not acknowledge in time that this webhook is stored; a later delivery of it is safe")
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

// receiptResponse is the answer when a webhook is stored.
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

func problem(k problemType, detail string) response {
	return k.answer(problemBody{Detail: detail})
}

// rejected is the answer to a body that is kept in the quarantine.
func rejected(why *schema.Error, r store.Receipt) response {
	k := notJSON
	switch why.Kind {
	case schema.ErrNotResult:
		k = notResult
	case event.ErrMediaType:
		k = unsupportedType
	}
	return k.answer(problemBody{Detail: why.Detail, Code: why.Code, Quarantined: &quarantined{r.Stream, r.Sequence}})
}

// answer completes a problem document by what is the same for all of a kind.
func (k problemType) answer(body problemBody) response {
	body.Type, body.Title, body.Status = problemTypeBase+k.slug, k.title, k.status
	return response{status: k.status, outcome: k.outcome, problem: k.slug, header: k.header, body: encoded(body)}
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
