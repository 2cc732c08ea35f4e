package event

import (
	"fmt"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/apixo-relay/apixo-relay/schema"
)

// ToHTTP is a stored event as the HTTP protocol binding of CloudEvents (1.0.2) sends
// it: a header, with the names as they are to be written, and a body.
//
// The event is that of the message with this header and payload. What is stored in
// structured mode goes out in it to the byte; in any other case the data does. The
// error says why the event cannot be sent so; a task's always can.
func ToHTTP(mode Mode, e schema.Event, header map[string][]string, payload []byte) (map[string][]string, []byte, error) {
	if mode == Structured {
		body, err := ToJSON(e, header, payload)
		return map[string][]string{"Content-Type": {structuredType + "; charset=utf-8"}}, body, err
	}
	ce, err := stored(e)
	if err != nil {
		return nil, nil, err
	}
	h, body, err := writeBinary(ce)
	if err != nil {
		return nil, nil, err
	}
	// The binding has this one attribute in HTTP's own header, without encoding.
	delete(h, "ce-datacontenttype")
	if e.DataContentType != "" {
		if strings.ContainsFunc(e.DataContentType, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, nil, fmt.Errorf("the datacontenttype of the event %q cannot be a header: %q", e.ID, e.DataContentType)
		}
		h["Content-Type"] = []string{e.DataContentType}
	}
	return h, body, nil
}

// ToJSON is a stored event in the JSON event format (1.0.2): the data as the JSON that it
// is where [schema.Event.DataIsJSON], and any other as data_base64. The arguments and the error are
// those of [ToHTTP].
func ToJSON(e schema.Event, header map[string][]string, payload []byte) ([]byte, error) {
	if isStructured(header) {
		return payload, nil
	}
	ce, err := stored(e)
	if err != nil {
		return nil, err
	}
	return writeStructured(ce)
}

// isStructured tells the mode of a message as its readers do (NATS protocol
// binding, section 3).
func isStructured(header map[string][]string) bool {
	for name, values := range header {
		if strings.EqualFold(name, "Content-Type") && len(values) > 0 {
			return strings.HasPrefix(strings.ToLower(values[0]), "application/cloudevents")
		}
	}
	return false
}

// stored is an event out of a message as the SDK's. Others than the relay can have
// stored it: the error says what it has that no CloudEvent can have.
func stored(e schema.Event) (*cloudevents.Event, error) {
	attributes := &cloudevents.EventContextV1{ID: e.ID, Source: types.URIRef{URL: verbatim(e.Source)}, Type: e.Type}
	if e.Subject != "" {
		attributes.Subject = &e.Subject
	}
	if e.DataContentType != "" {
		attributes.DataContentType = &e.DataContentType
	}
	if e.DataSchema != "" {
		attributes.DataSchema = &types.URI{URL: verbatim(e.DataSchema)}
	}
	if !e.Time.IsZero() {
		attributes.Time = &types.Timestamp{Time: e.Time}
	}
	ce := &cloudevents.Event{Context: attributes, DataEncoded: e.Data}
	if err := complete(ce, e.Extensions); err != nil {
		return nil, fmt.Errorf("the event %q is no valid CloudEvent: %w", e.ID, err)
	}
	// Of another type it would be written as a text.
	isJSON := e.DataContentType == "" || ce.DataMediaType() == cloudevents.ApplicationJSON
	ce.DataBase64 = !e.DataIsJSON() || !isJSON || !jsontext.Value(e.Data).IsValid()
	return ce, nil
}
