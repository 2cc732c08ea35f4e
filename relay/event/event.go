// Package event knows how a webhook becomes a CloudEvent, and a CloudEvent a
// NATS message, in either content mode of the CloudEvents NATS protocol binding.
//
// It must not know connections: a [Message] is plain values, which package
// publisher sends, and a replay over HTTP is a header and a body. The way back, from
// a message to an event, is in package schema, where consumers find it.
package event

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/apixo-relay/apixo-relay/relay/config"
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

// NewEncoder returns the encoder that a configuration asks for.
func NewEncoder(cfg config.Config) Encoder {
	e := Encoder{Source: cfg.Event.Source, Prefix: cfg.Stream.Prefix, Mode: Structured}
	if cfg.Event.Mode == config.ModeBinary {
		e.Mode = Binary
	}
	return e
}

// Encode returns the message of a delivery: a [TaskEvent], or a [RejectedDelivery] where
// it is none.
//
// An error means a bug in the encoder or its settings, not a bad delivery.
func (e Encoder) Encode(d Delivery) (Message, error) {
	w, err := schema.ParseWebhook(d.Body)
	if err == nil && d.Rejection == nil {
		return e.task(d, w)
	}
	isJSON := err == nil || errors.Is(err, schema.ErrNotResult)
	if d.Rejection != nil {
		taskID := ""
		if d.Rejection.Code == schema.ReasonNotConfirmed {
			taskID = w.Task.ID // it is a task's result, but for what APIXO says
		}
		return e.rejected(d, d.Rejection, isJSON, taskID)
	}
	rejection, ok := errors.AsType[*schema.Error](err)
	if !ok {
		return Message{}, fmt.Errorf("a webhook of %d bytes cannot be read: %w", len(d.Body), err)
	}
	return e.rejected(d, rejection, isJSON, "")
}

// Conflict makes the message that keeps a task's webhook which tells another
// outcome than the event that is stored; detail says how they differ.
func (e Encoder) Conflict(task Message, detail string) (Message, error) {
	msg := Message{Kind: ConflictingDelivery, Subject: schema.ConflictSubject(e.Prefix), Delivery: task.Delivery}
	return e.quarantine(msg, schema.ReasonConflict, detail, cloudevents.EventContextV1{
		Type: schema.TypeWebhookConflict, Subject: &task.ID, DataContentType: &contentTypeJSON,
	})
}

// rejected makes the message that keeps a body which is no webhook, with the
// reason why, and the task if that is known.
func (e Encoder) rejected(d Delivery, rejection *schema.Error, isJSON bool, taskID string) (Message, error) {
	contentType := "application/octet-stream"
	if isJSON {
		contentType = contentTypeJSON
	}
	msg := Message{Kind: RejectedDelivery, Subject: schema.RejectedSubject(e.Prefix), Delivery: d, Rejection: rejection}
	attributes := cloudevents.EventContextV1{Type: schema.TypeWebhookRejected, DataContentType: &contentType}
	if taskID != "" {
		attributes.Subject = &taskID
	}
	return e.quarantine(msg, rejection.Code, rejection.Detail, attributes)
}

// quarantine completes a message that holds a body byte for byte: base64 even where it
// is JSON, of whose bytes a reader of JSON may keep the meaning alone.
//
// Its id, unless it has one, is a digest of the body, so that APIXO's retries of one body, which
// cannot mend it, are kept once.
func (e Encoder) quarantine(msg Message, reason, detail string, attributes cloudevents.EventContextV1) (Message, error) {
	if msg.ID == "" {
		msg.ID = msg.Delivery.Digest()
	}
	attributes.ID, attributes.Source, attributes.Time = msg.ID, types.URIRef{URL: verbatim(e.Source)}, &types.Timestamp{Time: msg.Delivery.Received}
	ce := cloudevents.Event{Context: &attributes, DataEncoded: msg.Delivery.Body, DataBase64: true}
	if ce.DataEncoded == nil {
		ce.DataEncoded = []byte{} // an event without data would be another
	}
	ce.SetExtension("reason", reason)
	ce.SetExtension("detail", detail)
	return e.encode(&ce, msg)
}

// encode completes an event with the attributes of the callback URL, and puts it into
// its message.
func (e Encoder) encode(ce *cloudevents.Event, msg Message) (Message, error) {
	err := complete(ce, msg.Delivery.Attributes)
	if err != nil {
		return Message{}, fmt.Errorf("the event of the webhook would be no valid CloudEvent: %w", err)
	}
	if e.Mode == Binary {
		msg.Header, msg.Data, err = writeBinary(ce)
	} else {
		msg.Header = structuredHeader
		msg.Data, err = writeStructured(ce)
	}
	if err != nil {
		return Message{}, err
	}
	msg.Header = withHeaders(msg.Header, msg.Delivery)
	return msg, nil
}

// complete adds extension attributes to an event and validates it: by the SDK, and by
// what that does not look at.
func complete(ce *cloudevents.Event, extensions map[string]string) error {
	for name, value := range extensions {
		// The JSON event format has the data under that name.
		if name == "data" || !utf8.ValidString(value) {
			return fmt.Errorf("%q with the value %q cannot be an attribute", name, value)
		}
		ce.SetExtension(name, value)
	}
	if !utf8.ValidString(ce.Source()) {
		return fmt.Errorf("the source %q is not UTF-8", ce.Source())
	}
	if err := ce.Validate(); err != nil {
		// It has a line for each attribute.
		return errors.New(strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	return nil
}

// verbatim is a URI, or a reference to one, that is written as it stands. Parsing would
// bring it to a normal form, and consumers compare what these attributes say as text.
func verbatim(uri string) url.URL {
	if scheme, rest, _ := strings.Cut(uri, ":"); scheme != "" && scheme != uri {
		return url.URL{Scheme: scheme, Opaque: rest}
	}
	return url.URL{Opaque: uri}
}
