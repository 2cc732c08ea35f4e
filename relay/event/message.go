package event

import (
	"bytes"
	"fmt"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/apixo-relay/apixo-relay/schema"
)

// Message is what is sent to NATS for one event: plain values, from which a
// sender makes a message of its own for each attempt.
type Message struct {
	// Subject is where it goes.
	Subject string
	// ID is the value of Nats-Msg-Id, by which JetStream knows a repeat.
	ID string
	// Header has no Nats-Msg-Id yet. Messages share it: senders must not change it.
	Header map[string][]string
	// Data is the payload.
	Data []byte

	// Delivery is what the message was made of, and Task what that told, without
	// the result itself; nil if it is no task's. Neither is sent.
	Delivery Delivery
	Task     *schema.Task
}

// structuredHeader is that of all messages in structured mode: readers know the
// mode by the content type (NATS protocol binding, section 3).
var structuredHeader = map[string][]string{"Content-Type": {cloudevents.ApplicationCloudEventsJSON}}

// structured encodes an event as JSON.
func structured(ce cloudevents.Event) (map[string][]string, []byte, error) {
	var buf bytes.Buffer
	buf.Grow(4*len(ce.DataEncoded)/3 + 1024) // as base64
	if err := cloudevents.WriteJson(&ce, &buf); err != nil {
		return nil, nil, fmt.Errorf("the event %q cannot be encoded: %w", ce.ID(), err)
	}
	return structuredHeader, buf.Bytes(), nil
}

// binary puts every attribute of an event into a header.
func binary(ce cloudevents.Event) (map[string][]string, []byte, error) {
	list := []attribute{
		{"specversion", ce.SpecVersion()},
		{"id", ce.ID()},
		{"source", ce.Source()},
		{"type", ce.Type()},
		{"subject", ce.Subject()},
		{"time", types.FormatTime(ce.Time())},
		{"datacontenttype", ce.DataContentType()},
		{"dataschema", ce.DataSchema()},
	}
	for name, value := range ce.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			return nil, nil, fmt.Errorf("the attribute %s of the event %q cannot be encoded: %w", name, ce.ID(), err)
		}
		list = append(list, attribute{name, text})
	}
	return headers(list), ce.DataEncoded, nil
}

// headers puts every attribute into a header of its own (NATS protocol binding,
// section 3.1.3), the data's content type included.
func headers(list []attribute) map[string][]string {
	header := make(map[string][]string, len(list))
	values := make([]string, len(list)) // of all headers, in one piece
	for i, a := range list {
		if a.value != "" {
			values[i] = percentEncode(a.value)
			header["ce-"+a.name] = values[i : i+1 : i+1]
		}
	}
	return header
}

// percentEncode writes a header value as the binding asks (section 3.1.3.2):
// space, double quote, percent and all outside printable ASCII as %XY, byte by byte.
func percentEncode(value string) string {
	plain := func(c byte) bool { return c > ' ' && c <= '~' && c != '"' && c != '%' }
	n := 0
	for i := range len(value) {
		if !plain(value[i]) {
			n++
		}
	}
	if n == 0 {
		return value
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(value) + 2*n)
	for i := range len(value) {
		if c := value[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&0xf]})
		}
	}
	return b.String()
}
