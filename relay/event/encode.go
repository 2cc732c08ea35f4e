package event

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Events are written here, in either mode, from a list of attributes. The tests hold
// what comes out against the events that the CloudEvents SDK makes, and reads; in the
// program its encoder would weigh a fifth of all, since the JSON library under it
// keeps the linker from leaving out methods that nobody calls.

// attribute is one of an event, which is a string in every format.
type attribute struct{ name, value string }

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

// appendStructured writes an event in the JSON event format, its data as it is into
// one of those members.
func appendStructured(dst []byte, list []attribute, member string, data []byte) ([]byte, error) {
	size := len(`{,"":}`) + len(member) + len(data)
	for _, a := range list {
		size += len(`,"":""`) + len(a.name) + len(a.value)
	}
	dst = append(slices.Grow(dst, size), '{')
	var err error
	for i, a := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, '"'), a.name...), `":`...)
		if dst, err = jsontext.AppendQuote(dst, a.value); err != nil {
			return nil, fmt.Errorf("the attribute %s cannot be encoded: %w", a.name, err)
		}
	}
	dst = append(append(append(append(dst, `,"`...), member...), `":`...), data...)
	return append(dst, '}'), nil
}

// The members for data in the JSON event format: JSON as it is, and anything else.
const (
	dataJSON   = "data"
	dataBase64 = "data_base64"
)

// appendBase64 writes bytes as they stand in the member data_base64.
func appendBase64(dst, data []byte) []byte {
	dst = append(slices.Grow(dst, 2+base64.StdEncoding.EncodedLen(len(data))), '"')
	return append(base64.StdEncoding.AppendEncode(dst, data), '"')
}

// structuredType is the content type of the JSON event format.
const structuredType = "application/cloudevents+json"

// structuredHeader is that of messages in structured mode: readers know the
// mode by the content type (NATS protocol binding, section 3).
var structuredHeader = map[string][]string{"Content-Type": {structuredType}}

// structuredHeaders are structuredHeader and, if there is one, the trace context.
func structuredHeaders(d Delivery) map[string][]string {
	if d.Attributes[traceParentName] == "" {
		return structuredHeader
	}
	header := map[string][]string{"Content-Type": {structuredType}}
	addTraceContext(header, d)
	return header
}

// Names of a trace context, as attributes (CloudEvents' extension for distributed
// tracing) and as headers. NATS knows upper from lower case: those who look for a
// context in a message, nats-server among them, look for these.
const (
	traceParentName = "traceparent"
	traceStateName  = "tracestate"
)

// addTraceContext adds the headers of a trace context, if there is one.
func addTraceContext(header map[string][]string, d Delivery) {
	for _, name := range []string{traceParentName, traceStateName} {
		if value := d.Attributes[name]; value != "" {
			header[name] = []string{value}
		}
	}
}

// TraceContext is that of a message with these headers, in the W3C's form.
func TraceContext(header map[string][]string) (traceParent, traceState string) {
	if values := header[traceParentName]; len(values) > 0 {
		traceParent = values[0]
	}
	if values := header[traceStateName]; len(values) > 0 {
		traceState = values[0]
	}
	return traceParent, traceState
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
