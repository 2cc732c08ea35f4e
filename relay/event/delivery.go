package event

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"time"

	"github.com/apixo-relay/apixo-relay/schema"
)

// Delivery is a webhook as it came, or a result that was fetched in its place: everything
// of which its message is made.
type Delivery struct {
	// Body is the request's body, to the byte.
	Body []byte
	// Attributes are those of the callback URL that can be attributes of an event.
	Attributes map[string]string
	// Received is when it came.
	Received time.Time
	// Rejection says what keeps the body from becoming an event besides itself: the
	// request's headers (its kind is ErrMediaType), or the status API (ErrNotConfirmed); nil
	// where the body decides.
	Rejection *schema.Error
	// Recovered is the value of [schema.HeaderRecovered]: who has fetched the body from the
	// status API. Empty for what came by webhook.
	Recovered string
}

// ErrMediaType is the kind of an error about a request whose headers say that its
// body is not JSON, or in a charset or coding that is not read.
var ErrMediaType = errors.New("not declared to be JSON")

// ErrNotConfirmed is the kind of an error about a webhook that the status API contradicts.
var ErrNotConfirmed = errors.New("not confirmed by the status API")

// WithTraceContext is the delivery with another trace context, in the W3C's form.
func (d Delivery) WithTraceContext(traceParent, traceState string) Delivery {
	attributes := maps.Clone(d.Attributes)
	if attributes == nil {
		attributes = make(map[string]string, 2)
	}
	delete(attributes, traceStateName)
	attributes[traceParentName] = traceParent
	if traceState != "" {
		attributes[traceStateName] = traceState
	}
	d.Attributes = attributes
	return d
}

// verifiedName is the attribute that says whether the status API has confirmed a webhook.
const verifiedName = "verified"

// WithVerified returns the delivery with the attribute verified: true, false or unknown.
func (d Delivery) WithVerified(value string) Delivery {
	attributes := maps.Clone(d.Attributes)
	if attributes == nil {
		attributes = make(map[string]string, 1)
	}
	attributes[verifiedName] = value
	d.Attributes = attributes
	return d
}

// Digest tells one body from another, whoever sent it and when: SHA-256, in
// hexadecimal digits.
func (d Delivery) Digest() string {
	sum := sha256.Sum256(d.Body)
	return hex.EncodeToString(sum[:])
}

// Outcome is what the webhook tells of its task. It returns a *schema.Error if
// it is no task's result.
func (d Delivery) Outcome() (schema.Outcome, error) {
	w, err := schema.ParseWebhook(d.Body)
	if err != nil {
		return schema.Outcome{}, err
	}
	return schema.OutcomeOf(w.EventData)
}
