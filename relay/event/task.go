package event

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/apixo-relay/apixo-relay/schema"
)

// A task's event is what nearly every webhook becomes. It is written here
// directly; for all other events the CloudEvents SDK does that, and the tests
// hold this writer against it.

// attribute is one of an event, which is a string in every format.
type attribute struct{ name, value string }

// task makes the message of a task's event. Its time is when the webhook came
// if the webhook does not tell when the task ended.
//
// The message's id is the task's: JetStream stores it once in its duplicate window.
func (e Encoder) task(d Delivery, w schema.Webhook) (Message, error) {
	t := w.Task
	when := t.CompleteTime
	if when.IsZero() {
		when = d.Received.UTC()
	}
	var room [24]attribute // enough for all that a relay can be set to
	list := append(room[:0],
		attribute{"specversion", "1.0"},
		attribute{"id", t.ID},
		attribute{"source", e.Source},
		attribute{"type", schema.EventType(t.State)},
		attribute{"subject", t.ID},
		attribute{"datacontenttype", "application/json"},
		attribute{"dataschema", schema.TaskSchemaID},
		attribute{"time", when.Format(time.RFC3339Nano)},
	)
	known := len(list)
	for name, value := range d.Attributes {
		list = append(list, attribute{name, value})
	}
	extensions := list[known:]
	sortByName(extensions)
	if err := e.check(extensions); err != nil {
		return Message{}, fmt.Errorf("the event of the task %s would be no valid CloudEvent: %w", t.ID, err)
	}

	// While the message is being stored nothing holds the result besides it.
	t.ResultURLs, t.ResultJSON, t.FailMsg = nil, nil, ""
	msg := Message{Subject: schema.TaskSubject(e.Prefix, t.State), ID: t.ID, Delivery: d, Task: &t}
	if e.Mode == Binary {
		msg.Header, msg.Data = headers(list), w.EventData
		return msg, nil
	}
	var err error
	msg.Header = structuredHeader
	msg.Data, err = appendStructured(nil, list, "data", w.EventData)
	return msg, err
}

// sortByName sorts by insertion: the list has a handful of attributes, and what the
// standard library would put into the program for it is a hundred times this.
func sortByName(list []attribute) {
	for i := range list {
		for j := i; j > 0 && list[j].name < list[j-1].name; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
}

// check looks at what comes from outside of this package and of schema: other
// attributes cannot be wrong.
func (e Encoder) check(extensions []attribute) error {
	if e.Source == "" {
		return errors.New("it has no source")
	}
	for _, a := range extensions {
		if !isAttributeName(a.name) || !utf8.ValidString(a.value) {
			return fmt.Errorf("%q with the value %q cannot be an attribute", a.name, a.value)
		}
	}
	return nil
}

// isAttributeName holds a name against CloudEvents 1.0.2, section 3.1.
func isAttributeName(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// appendStructured writes an event in the JSON event format, its data as it is
// into a member: data or data_base64.
func appendStructured(dst []byte, list []attribute, member string, data []byte) ([]byte, error) {
	size := len(`{"":}`) + len(member) + len(data)
	for _, a := range list {
		size += len(`"":"",`) + len(a.name) + len(a.value)
	}
	dst = append(slices.Grow(dst, size), '{')
	var err error
	for _, a := range list {
		dst = append(append(append(dst, '"'), a.name...), `":`...)
		if dst, err = jsontext.AppendQuote(dst, a.value); err != nil {
			return nil, fmt.Errorf("the attribute %s cannot be encoded: %w", a.name, err)
		}
		dst = append(dst, ',')
	}
	dst = append(append(append(append(dst, '"'), member...), `":`...), data...)
	return append(dst, '}'), nil
}
