package event

import (
	"bytes"
	"fmt"
	"maps"
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
	// Header has no Nats-Msg-Id yet. Senders must not change it.
	Header map[string][]string
	// Data is the payload.
	Data []byte

	// Delivery is what the message was made of, and Webhook what that told; nil if
	// it is no task's result. Neither is sent.
	Delivery Delivery
	Webhook  *schema.Webhook
}

// structured encodes an event as JSON. Readers know the mode by the content
// type (NATS protocol binding, section 3).
func structured(ce cloudevents.Event) (map[string][]string, []byte, error) {
	var buf bytes.Buffer
	buf.Grow(len(ce.DataEncoded) + 1024)
	// Not json.Marshal: it would compact the data and escape it anew.
	if err := cloudevents.WriteJson(&ce, &buf); err != nil {
		return nil, nil, fmt.Errorf("the event %q cannot be encoded: %w", ce.ID(), err)
	}
	return map[string][]string{"Content-Type": {cloudevents.ApplicationCloudEventsJSON}}, buf.Bytes(), nil
}

// binary puts every attribute into a header of its own (NATS protocol binding,
// section 3.1.3), the data's content type included.
func binary(ce cloudevents.Event) (map[string][]string, []byte, error) {
	header := make(map[string][]string, 8+len(ce.Extensions()))
	set := func(name, value string) {
		if value != "" {
			header["ce-"+name] = []string{percentEncode(value)}
		}
	}
	set("specversion", ce.SpecVersion())
	set("id", ce.ID())
	set("source", ce.Source())
	set("type", ce.Type())
	set("subject", ce.Subject())
	set("time", types.FormatTime(ce.Time()))
	set("datacontenttype", ce.DataContentType())
	set("dataschema", ce.DataSchema())
	for name, value := range maps.All(ce.Extensions()) {
		text, err := types.Format(value)
		if err != nil {
			return nil, nil, fmt.Errorf("the attribute %s of the event %q cannot be encoded: %w", name, ce.ID(), err)
		}
		set(name, text)
	}
	return header, ce.DataEncoded, nil
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
