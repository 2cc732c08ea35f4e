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

	"github.com/cloudevents/sdk-go/v2/types"

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
	if d.Refused != nil {
		msg, keepErr := e.rejected(d, d.Refused, err == nil || errors.Is(err, schema.ErrNotResult))
		return msg, d.Refused, keepErr
	}
	if err == nil {
		msg, err := e.task(d, w)
		return msg, nil, err
	}
	var why *schema.Error
	if !errors.As(err, &why) {
		return Message{}, nil, fmt.Errorf("a webhook of %d bytes cannot be read: %w", len(d.Body), err)
	}
	msg, err := e.rejected(d, why, why.Kind == schema.ErrNotResult)
	return msg, why, err
}

// rejected makes the message that keeps a body which is no webhook, with the
// reason why.
func (e Encoder) rejected(d Delivery, why *schema.Error, isJSON bool) (Message, error) {
	return e.kept(d, schema.TypeWebhookRejected, schema.RejectedSubject(e.Prefix), "", isJSON, why.Code, why.Detail)
}

// Conflict makes the message that keeps a task's webhook which tells another
// outcome than the event that is stored; detail says how they differ.
func (e Encoder) Conflict(task Message, detail string) (Message, error) {
	return e.kept(task.Delivery, schema.TypeWebhookConflict, schema.ConflictSubject(e.Prefix), task.ID, true, schema.ReasonConflict, detail)
}

// kept makes the message that keeps a body byte for byte; about is the task's id, if
// there is one.
//
// Its id is a digest of the body, so that APIXO's retries of one body, which
// cannot mend it, are kept once.
func (e Encoder) kept(d Delivery, eventType, subject, about string, isJSON bool, reason, detail string) (Message, error) {
	msg := Message{Subject: subject, ID: d.Digest(), Delivery: d}
	contentType := "application/octet-stream"
	if isJSON {
		contentType = "application/json"
	}
	list := []attribute{
		{"specversion", "1.0"},
		{"id", msg.ID},
		{"source", e.Source},
		{"type", eventType},
		{"datacontenttype", contentType},
		{"time", types.FormatTime(d.Received)},
	}
	if about != "" {
		list = append(list, attribute{"subject", about})
	}
	known := len(list)
	for name, value := range d.Attributes {
		list = append(list, attribute{name, value})
	}
	list = append(list, attribute{"reason", reason}, attribute{"detail", detail})
	extensions := list[known:]
	sortByName(extensions)
	if err := e.check(extensions); err != nil {
		return Message{}, fmt.Errorf("the event that keeps a webhook would be no valid CloudEvent: %w", err)
	}
	if e.Mode == Binary {
		msg.Header, msg.Data = headers(list), d.Body
		addTraceContext(msg.Header, d)
		return msg, nil
	}
	var err error
	msg.Header = structuredHeaders(d)
	msg.Data, err = appendStructured(nil, list, dataBase64, appendBase64(nil, d.Body))
	return msg, err
}
