package event_test

import (
	"bytes"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding/format"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/schema"
)

// stored is the event of a message, as whoever replays it has it.
func stored(t testing.TB, msg event.Message) schema.Event {
	t.Helper()
	e, err := schema.DecodeMessage(msg.Header, msg.Data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// fromHTTP reads a request by the HTTP binding, which differs from that of NATS in
// the header of the data's content type. Package interop has the SDK read requests.
func fromHTTP(t testing.TB, sent map[string][]string, body []byte) schema.Event {
	t.Helper()
	header := make(http.Header)
	for name, values := range sent {
		for _, value := range values {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("the header %s is %q", name, value)
			}
			header.Add(name, value)
		}
	}
	got, err := schema.DecodeMessage(header, body)
	if err != nil {
		t.Fatalf("%v\n%v\n%s", err, header, body)
	}
	if header.Get("Ce-Id") != "" {
		if got.DataContentType != "" {
			t.Errorf("the headers are %v", header)
		}
		got.DataContentType = header.Get("Content-Type")
		return got
	}
	var ce cloudevents.Event
	if err := format.JSON.Unmarshal(body, &ce); err != nil {
		t.Fatalf("the SDK cannot read %s: %v", body, err)
	}
	if err := ce.Validate(); err != nil || ce.ID() != got.ID || !bytes.Equal(ce.Data(), got.Data) {
		t.Errorf("the SDK reads %v (%v), want %+v", ce, err, got)
	}
	return got
}

// Whichever mode an event is stored in, and whichever it is sent in, it is the same
// event, with the same data to the byte.
func TestHTTPIsTheSameEvent(t *testing.T) {
	t.Parallel()
	modes := []event.Mode{event.Structured, event.Binary}
	bodies := []string{
		payload(t, "success.json"), payload(t, "success-many-urls.json"), payload(t, "success-music-object.json"), payload(t, "failed.json"),
		`{"data": {"taskId":"Az09_.:-", "state":"success",` + "\n" + `"n":1.50, "n2":12345678901234567890, "s":"<>&\u2028 图" } }`,
		"{", "\x00\xff\r\n", "", ` {"code":200} `, // quarantined
	}
	for i, attributes := range hostile {
		for _, body := range bodies {
			for _, in := range modes {
				encoder := event.Encoder{Source: "https://api.apixo.ai/?a='b'#%20", Prefix: "p", Mode: in}
				msg, err := encoder.Encode(delivery(body, attributes))
				if err != nil {
					t.Fatal(err)
				}
				e := stored(t, msg)
				for _, out := range modes {
					name := fmt.Sprintf("attributes %d of %q from mode %d to %d", i, body[:min(len(body), 20)], in, out)
					header, sent, err := event.ToHTTP(out, e, msg.Header, msg.Data)
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					got := fromHTTP(t, header, sent)
					if !reflect.DeepEqual(got, e) {
						t.Errorf("%s:\n%+v\nwant\n%+v", name, got, e)
					}
				}
			}
		}
	}
}

// The headers are those of the binding, in its own words (sections 3.1.1, 3.1.3 and 3.2.1).
func TestHTTPHeaders(t *testing.T) {
	t.Parallel()
	msg := task(t, event.Encoder{Source: "urn:x", Prefix: "p", Mode: event.Binary}, payload(t, "success.json"), map[string]string{"model": "Euro € 😀"})
	msg.Header[schema.HeaderRecovered] = []string{schema.RecoveredBackfill} // which is about the message, not the event
	header, body, err := event.ToHTTP(event.Binary, stored(t, msg), msg.Header, msg.Data)
	if err != nil || !slices.Equal(header["Content-Type"], []string{"application/json"}) || header["ce-datacontenttype"] != nil ||
		!slices.Equal(header["ce-model"], []string{"Euro%20%E2%82%AC%20%F0%9F%98%80"}) || header[schema.HeaderRecovered] != nil || !bytes.Equal(body, msg.Data) {
		t.Errorf("%v, %v\n%s", err, header, body)
	}
	header, body, err = event.ToHTTP(event.Structured, stored(t, msg), msg.Header, msg.Data)
	if err != nil || len(header) != 1 || !slices.Equal(header["Content-Type"], []string{"application/cloudevents+json; charset=utf-8"}) ||
		!bytes.Contains(body, append([]byte(`"data":`), msg.Data...)) {
		t.Errorf("%v, %v\n%s", err, header, body)
	}
	msg = event.Message{
		Header: map[string][]string{"content-type": {"application/CloudEvents+json"}},
		Data:   []byte(`{ "id":"\u0069", "source":"s", "type":"t", "data":1.50, "specversion" :"1.0", "other":true}`),
	}
	if _, body, err = event.ToHTTP(event.Structured, stored(t, msg), msg.Header, msg.Data); err != nil || !bytes.Equal(body, msg.Data) {
		t.Errorf("%v: what is structured already became\n%s", err, body)
	}
}

// What others have published may be an event that cannot be sent.
func TestHTTPThatCannotBeSent(t *testing.T) {
	t.Parallel()
	good := schema.Event{ID: "i", Source: "s", Type: "t"}
	for name, change := range map[string]func(*schema.Event){
		"a name with a space":      func(e *schema.Event) { e.Extensions = map[string]string{"a b": "c"} },
		"a value that is no UTF-8": func(e *schema.Event) { e.Extensions = map[string]string{"a": "\xff"} },
		"a type with a line break": func(e *schema.Event) { e.DataContentType = "a\r\nb: c" },
		"a type beyond ASCII":      func(e *schema.Event) { e.DataContentType = `a/b; c="é"` },
		"two things at once":       func(e *schema.Event) { e.DataSchema, e.Subject = "none", " " },
		"data for an attribute":    func(e *schema.Event) { e.Extensions = map[string]string{"data": "{}"} },
	} {
		e := good
		change(&e)
		if header, _, err := event.ToHTTP(event.Binary, e, nil, nil); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s is sent as %v (%v)", name, header, err)
		}
	}
	if _, _, err := event.ToHTTP(event.Binary, good, nil, nil); err != nil {
		t.Error(err)
	}
}

// A task's data that somebody else has published as another type, or that is no JSON,
// is sent to the byte all the same.
func TestDataOfOthersIsKept(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{"", "application/json; charset=utf-8", "Application/JSON", "text/plain", "application/problem+json"} {
		for _, data := range []string{`{"a": 1.50}`, `{"a": `, "\xff"} {
			e := schema.Event{ID: "i", Source: "s", Type: schema.TypeTaskFailed, DataContentType: contentType, Data: []byte(data)}
			for _, mode := range []event.Mode{event.Structured, event.Binary} {
				header, body, err := event.ToHTTP(mode, e, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := fromHTTP(t, header, body); !reflect.DeepEqual(got, e) {
					t.Errorf("%q of the type %q is sent in mode %d as %+v", data, contentType, mode, got)
				}
			}
		}
	}
}
