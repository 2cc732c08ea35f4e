package event

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// structuredType is the content type of the JSON event format, by which readers know
// the mode of a message (NATS protocol binding, section 3).
const structuredType = cloudevents.ApplicationCloudEventsJSON

// structuredHeader is what all messages in structured mode share.
var structuredHeader = map[string][]string{"Content-Type": {structuredType}}

// writeStructured writes a valid event in the JSON event format.
//
// It calls the SDK's writer itself. The SDK's bindings call format.JSON, which passes
// what that has written through encoding/json, and so rewrites the data.
func writeStructured(ce *cloudevents.Event) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(structuredSize(ce))
	if err := cloudevents.WriteJson(ce, &b); err != nil {
		return nil, fmt.Errorf("the event cannot be written as JSON: %w", err)
	}
	return b.Bytes(), nil
}

// structuredSize is about what an event takes as JSON, so that a message which waits
// holds little more than it needs.
func structuredSize(ce *cloudevents.Event) int {
	const names = 200 // those of the attributes, with their quotes, and the time
	size := names + len(ce.ID()) + len(ce.Type()) + len(ce.Subject()) + len(ce.DataContentType())
	if c, ok := ce.Context.(*cloudevents.EventContextV1); ok {
		size += len(c.Source.Scheme) + len(c.Source.Opaque)
		if c.DataSchema != nil {
			size += len(c.DataSchema.Scheme) + len(c.DataSchema.Opaque)
		}
		for name, value := range c.Extensions {
			text, _ := value.(string)
			size += len(`,"":""`) + len(name) + len(text)
		}
	}
	if ce.DataBase64 {
		return size + base64.StdEncoding.EncodedLen(len(ce.DataEncoded))
	}
	return size + len(ce.DataEncoded)
}

// writeBinary writes a valid event as headers, and its data.
func writeBinary(ce *cloudevents.Event) (map[string][]string, []byte, error) {
	w := binaryWriter{header: make(map[string][]string, 12), data: []byte{}}
	if _, err := binding.Write(context.Background(), binding.ToMessage(ce), nil, &w); err != nil {
		return nil, nil, fmt.Errorf("the event cannot be written as headers: %w", err)
	}
	return w.header, w.data, nil
}

// binaryWriter implements binding.BinaryWriter for NATS: every attribute is a header of
// its own, the data's content type included (NATS protocol binding, section 3.1.3).
//
// The SDK's own writers, for NATS as for HTTP, leave out the percent-encoding that both
// bindings ask for (section 3.1.3.2): readers which decode would read another text.
type binaryWriter struct {
	header map[string][]string
	data   []byte
}

var _ binding.BinaryWriter = (*binaryWriter)(nil)

// Start implements binding.BinaryWriter.
func (*binaryWriter) Start(context.Context) error { return nil }

// End implements binding.BinaryWriter.
func (*binaryWriter) End(context.Context) error { return nil }

// SetAttribute implements binding.BinaryWriter.
func (w *binaryWriter) SetAttribute(attribute spec.Attribute, value any) error {
	return w.SetExtension(attribute.Name(), value)
}

// SetExtension implements binding.BinaryWriter.
func (w *binaryWriter) SetExtension(name string, value any) error {
	if value == nil || value == "" {
		delete(w.header, "ce-"+name)
		return nil
	}
	text, err := types.Format(value)
	if err != nil {
		return err
	}
	w.header["ce-"+name] = []string{percentEncode(text)}
	return nil
}

// SetData implements binding.BinaryWriter. The data of an event come in a buffer, and
// are not copied.
func (w *binaryWriter) SetData(data io.Reader) (err error) {
	if buffer, ok := data.(*bytes.Buffer); ok {
		w.data = buffer.Bytes()
		return nil
	}
	w.data, err = io.ReadAll(data)
	return err
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
