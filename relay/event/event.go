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
	if err == nil {
		msg, err := e.task(d, w)
		return msg, nil, err
	}
	var why *schema.Error
	if !errors.As(err, &why) {
		return Message{}, nil, fmt.Errorf("a webhook of %d bytes cannot be read: %w", len(d.Body), err)
	}
	msg, err := e.rejected(d, why)
	return msg, why, err
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

// message encodes an event by means of the SDK.
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
