package event

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/apixo-relay/apixo-relay/schema"
)

// HTTP is a stored event as the HTTP protocol binding of CloudEvents (1.0.2) sends
// it: a header, with the names as they are to be written, and a body.
//
// The event is that of the message with this header and payload. What is stored in
// structured mode goes out in it to the byte; in any other case the data does. The
// error says why the event cannot be sent so; a task's always can.
func HTTP(mode Mode, e schema.Event, header map[string][]string, payload []byte) (map[string][]string, []byte, error) {
	if mode == Structured {
		body, err := JSON(e, header, payload)
		return map[string][]string{"Content-Type": {structuredType + "; charset=utf-8"}}, body, err
	}
	list, err := attributesOf(e)
	if err != nil {
		return nil, nil, err
	}
	h := headers(list)
	// The binding has this one attribute in HTTP's own header, without encoding.
	delete(h, "ce-datacontenttype")
	if e.DataContentType != "" {
		if strings.ContainsFunc(e.DataContentType, func(r rune) bool { return r < ' ' || r > '~' }) {
			return nil, nil, fmt.Errorf("the datacontenttype of the event %q cannot be a header: %q", e.ID, e.DataContentType)
		}
		h["Content-Type"] = []string{e.DataContentType}
	}
	return h, e.Data, nil
}

// JSON is a stored event in the JSON event format (1.0.2): the data of a task as
// the JSON that it is, any other as data_base64. The arguments and the error are
// those of [HTTP].
func JSON(e schema.Event, header map[string][]string, payload []byte) ([]byte, error) {
	if isStructured(header) {
		return payload, nil
	}
	list, err := attributesOf(e)
	if err != nil {
		return nil, err
	}
	if (e.Type == schema.TypeTaskSuccess || e.Type == schema.TypeTaskFailed) && jsontext.Value(e.Data).IsValid() {
		return appendStructured(nil, list, dataJSON, e.Data)
	}
	return appendStructured(nil, list, dataBase64, appendBase64(nil, e.Data))
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

// attributesOf lists an event's attributes. Others than the relay can have stored
// it: the error names an attribute that cannot be one.
func attributesOf(e schema.Event) ([]attribute, error) {
	list := []attribute{
		{"specversion", "1.0"}, {"id", e.ID}, {"source", e.Source}, {"type", e.Type},
	}
	for _, a := range []attribute{{"subject", e.Subject}, {"datacontenttype", e.DataContentType}, {"dataschema", e.DataSchema}} {
		if a.value != "" {
			list = append(list, a)
		}
	}
	if !e.Time.IsZero() {
		list = append(list, attribute{"time", types.FormatTime(e.Time)})
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		list = append(list, attribute{name, e.Extensions[name]})
	}
	for _, a := range list {
		if !isAttributeName(a.name) || !utf8.ValidString(a.value) {
			return nil, fmt.Errorf("the event %q has an attribute %q that cannot be one", e.ID, a.name)
		}
	}
	return list, nil
}
