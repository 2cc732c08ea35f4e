// Package event knows how a webhook becomes a CloudEvent, and a CloudEvent a
// NATS message, in either content mode of the CloudEvents NATS protocol binding.
//
// It must not know connections: a [Message] is plain values, which package
// publisher sends. The way back, from a message to an event, is in package
// schema, where consumers find it.
package event

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"
	"unicode"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/apixo-relay/apixo-relay/schema"
)

// Mode is a content mode of the NATS protocol binding.
type Mode int

const (
	// Structured puts the whole event into the message as JSON.
	Structured Mode = iota
	// Binary puts the data into the message and the attributes into headers.
	Binary
)

// Encoder makes messages of webhooks. It has no state but its settings, and may
// be used by many goroutines.
type Encoder struct {
	// Source is the CloudEvents attribute source, a URI reference.
	Source string
	// Prefix is the first token, or tokens, of every subject.
	Prefix string
	// Mode is the content mode.
	Mode Mode
}

// Task makes the message of a task's event. The attributes become extension
// attributes; received is the event's time if the webhook tells none.
//
// The message's id is the task's: JetStream stores it once in its duplicate window.
func (e Encoder) Task(w schema.Webhook, attributes map[string]string, received time.Time) (Message, error) {
	ce := cloudevents.New(cloudevents.CloudEventsVersionV1)
	ce.SetID(w.Task.ID)
	ce.SetSource(e.Source)
	ce.SetType(schema.EventType(w.Task.State))
	ce.SetSubject(w.Task.ID)
	ce.SetTime(received.UTC())
	if !w.Task.CompleteTime.IsZero() {
		ce.SetTime(w.Task.CompleteTime)
	}
	ce.SetDataContentType(cloudevents.ApplicationJSON)
	ce.SetDataSchema(schema.TaskSchemaID)
	for name, value := range attributes {
		ce.SetExtension(name, value)
	}
	ce.DataEncoded = w.EventData
	return e.message(ce, schema.TaskSubject(e.Prefix, w.Task.State))
}

// Rejected makes the message that keeps a body which is no webhook, byte for
// byte, with the reason why.
//
// Its id is a digest of the body, so that APIXO's retries of one body, which
// cannot mend it, are kept once.
func (e Encoder) Rejected(body []byte, why *schema.Error, attributes map[string]string, received time.Time) (Message, error) {
	digest := sha256.Sum256(body)
	ce := cloudevents.New(cloudevents.CloudEventsVersionV1)
	ce.SetID(hex.EncodeToString(digest[:]))
	ce.SetSource(e.Source)
	ce.SetType(schema.TypeWebhookRejected)
	ce.SetTime(received.UTC())
	contentType := "application/octet-stream"
	if why.Kind == schema.ErrNotResult {
		contentType = cloudevents.ApplicationJSON
	}
	// As bytes the data is written as data_base64, and so comes out as it came.
	if err := ce.SetData(contentType, body); err != nil {
		return Message{}, fmt.Errorf("the event of a rejected webhook cannot be made: %w", err)
	}
	for name, value := range attributes {
		ce.SetExtension(name, value)
	}
	ce.SetExtension("reason", why.Code)
	ce.SetExtension("detail", why.Detail)
	return e.message(ce, schema.RejectedSubject(e.Prefix))
}

func (e Encoder) message(ce cloudevents.Event, subject string) (Message, error) {
	if err := ce.Validate(); err != nil {
		return Message{}, fmt.Errorf("the event for %s would be no valid CloudEvent: %w", subject, err)
	}
	msg := Message{Subject: subject, ID: ce.ID()}
	var err error
	if e.Mode == Binary {
		msg.Header, msg.Data, err = binary(ce)
	} else {
		msg.Header, msg.Data, err = structured(ce)
	}
	return msg, err
}

// MaxAttributeBytes bounds the value of a callback attribute: a model's name
// has a few dozen characters, and each event carries the attributes with it.
const MaxAttributeBytes = 256

// ValidAttribute reports whether a value from outside can be a CloudEvents
// attribute of type String (CloudEvents 1.0.2, section 3.1.1): UTF-8 of at
// most MaxAttributeBytes, without control characters and noncharacters, and
// not empty.
func ValidAttribute(value string) bool {
	if value == "" || len(value) > MaxAttributeBytes || !utf8.ValidString(value) {
		return false
	}
	for _, r := range value {
		if unicode.IsControl(r) || unicode.Is(unicode.Noncharacter_Code_Point, r) {
			return false
		}
	}
	return true
}

var (
	traceParent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)
	zeroIDs     = regexp.MustCompile(`^(ff-|..-0{32}-|..-.{32}-0{16}-)`)
	traceState  = regexp.MustCompile(`^[\x20-\x7e]{1,512}$`)
)

// ValidTraceParent reports whether a value is a traceparent (W3C Trace Context, section 3.2).
func ValidTraceParent(value string) bool {
	return traceParent.MatchString(value) && !zeroIDs.MatchString(value)
}

// ValidTraceState reports whether a value may be a tracestate (W3C Trace
// Context, section 3.3): printable ASCII within the size that everybody must pass on.
func ValidTraceState(value string) bool { return traceState.MatchString(value) }
