// Package event knows how a webhook becomes a CloudEvent, and a CloudEvent a
// NATS message, in either content mode of the CloudEvents NATS protocol binding.
//
// It must not know connections: a [Message] is plain values, which package
// publisher sends. The way back, from a message to an event, is in package
// schema, where consumers find it.
package event

import (
	"errors"
	"fmt"
	"regexp"
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

// Message makes what is to be stored of a delivery: a task's event, or what
// keeps a body that is none. The second result is nil for a task's event, and
// says else why it is none.
//
// The error is of the encoder's own making, and no word about the delivery.
func (e Encoder) Message(d Delivery) (Message, *schema.Error, error) {
	w, err := schema.ParseWebhook(d.Body)
	var why *schema.Error
	if errors.As(err, &why) {
		msg, err := e.rejected(d, why)
		return msg, why, err
	}
	if err != nil {
		return Message{}, nil, fmt.Errorf("a webhook of %d bytes cannot be read: %w", len(d.Body), err)
	}
	msg, err := e.task(d, w)
	return msg, nil, err
}

// task makes the message of a task's event. Its time is when the webhook came
// if the webhook does not tell when the task ended.
//
// The message's id is the task's: JetStream stores it once in its duplicate window.
func (e Encoder) task(d Delivery, w schema.Webhook) (Message, error) {
	ce := cloudevents.New(cloudevents.CloudEventsVersionV1)
	ce.SetID(w.Task.ID)
	ce.SetSource(e.Source)
	ce.SetType(schema.EventType(w.Task.State))
	ce.SetSubject(w.Task.ID)
	ce.SetTime(d.Received.UTC())
	if !w.Task.CompleteTime.IsZero() {
		ce.SetTime(w.Task.CompleteTime)
	}
	ce.SetDataContentType(cloudevents.ApplicationJSON)
	ce.SetDataSchema(schema.TaskSchemaID)
	for name, value := range d.Attributes {
		ce.SetExtension(name, value)
	}
	ce.DataEncoded = w.EventData
	msg, err := e.message(ce, schema.TaskSubject(e.Prefix, w.Task.State))
	msg.Delivery, msg.Webhook = d, &w
	return msg, err
}

// rejected makes the message that keeps a body which is no webhook, with the
// reason why.
func (e Encoder) rejected(d Delivery, why *schema.Error) (Message, error) {
	ce, err := e.kept(d, schema.TypeWebhookRejected, why.Kind == schema.ErrNotResult, why.Code, why.Detail)
	if err != nil {
		return Message{}, err
	}
	msg, err := e.message(ce, schema.RejectedSubject(e.Prefix))
	msg.Delivery = d
	return msg, err
}

// Conflict makes the message that keeps a task's webhook which tells another
// outcome than the event that is stored; detail says how they differ.
func (e Encoder) Conflict(task Message, detail string) (Message, error) {
	ce, err := e.kept(task.Delivery, schema.TypeWebhookConflict, true, "conflict", detail)
	if err != nil {
		return Message{}, err
	}
	ce.SetSubject(task.ID)
	msg, err := e.message(ce, schema.ConflictSubject(e.Prefix))
	msg.Delivery = task.Delivery
	return msg, err
}

// kept is the event that keeps a body byte for byte.
//
// Its id is a digest of the body, so that APIXO's retries of one body, which
// cannot mend it, are kept once.
func (e Encoder) kept(d Delivery, eventType string, isJSON bool, reason, detail string) (cloudevents.Event, error) {
	ce := cloudevents.New(cloudevents.CloudEventsVersionV1)
	ce.SetID(d.Digest())
	ce.SetSource(e.Source)
	ce.SetType(eventType)
	ce.SetTime(d.Received.UTC())
	contentType := "application/octet-stream"
	if isJSON {
		contentType = cloudevents.ApplicationJSON
	}
	// As bytes the data is written as data_base64, and so comes out as it came.
	if err := ce.SetData(contentType, d.Body); err != nil {
		return ce, fmt.Errorf("the event that keeps a webhook cannot be made: %w", err)
	}
	for name, value := range d.Attributes {
		ce.SetExtension(name, value)
	}
	ce.SetExtension("reason", reason)
	ce.SetExtension("detail", detail)
	return ce, nil
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
