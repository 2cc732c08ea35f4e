package event_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/schema"
)

// hostile are attributes that could break an encoding, or each other.
var hostile = []map[string]string{
	nil,
	{"model": "nano-banana"},
	{"model": `a "b" \ 图% 😀 ~`, "b": `","id":"forged`, "a": `\"`, "c1": `{"data":{}}`},
	{"z": " leading and trailing ", "y": "'<a href=\"&\">'", "x": "%41%zz", "w": "a/b?c#d", "v": "\u00a0\u2028\u2029\ufeff\ufffd\U0010fffd"},
	{"n": "0", "t": "true", "null": "null", "u": "1e5", "date": "2024-01-01T00:00:00Z"},
	{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": `a=b c,d="e"`},
	{"long": strings.Repeat("\"", event.MaxAttributeBytes), "wide": strings.Repeat("图", event.MaxAttributeBytes/3)},
}

// attributesOf are those that the event of a task has to have.
func attributesOf(source string, w schema.Webhook, callback map[string]string) map[string]string {
	want := map[string]string{
		"specversion":     "1.0",
		"id":              w.Task.ID,
		"source":          source,
		"type":            "ai.apixo.task." + string(w.Task.State),
		"subject":         w.Task.ID,
		"time":            received.UTC().Format(time.RFC3339Nano),
		"datacontenttype": "application/json",
		"dataschema":      schema.TaskSchemaID,
	}
	if !w.Task.CompleteTime.IsZero() {
		want["time"] = w.Task.CompleteTime.Format(time.RFC3339Nano)
	}
	if w.Normalized != nil {
		want["normalized"] = strings.Join(w.Normalized, ",")
	}
	maps.Copy(want, callback)
	return want
}

// sources are URI references, some of which a parser would write otherwise.
var sources = []string{"https://api.apixo.ai", "urn:x", "a/b?c='d'&e=%22#f", "//user:pass@[::1]:1/%E5%9B%BE", "HTTPS://Api.Apixo.AI:443/a b/../%7e", "a:", ":a", "%zz", strings.Repeat("s", 1024)}

// A task's event has the attributes that it has to have and the data to the byte,
// whatever they are, in both modes.
func TestTaskIsTheEvent(t *testing.T) {
	t.Parallel()
	bodies := []string{
		payload(t, "success.json"), payload(t, "success-many-urls.json"), payload(t, "success-music-object.json"), payload(t, "failed.json"),
		`{"data":{"taskId":"` + strings.Repeat("t", 128) + `","state":"failed","completeTime":1}}`,
		`{"data": {"taskId":"Az09_.:-", "state":"success", "n":1.50, "n2":12345678901234567890, "s":"\u2028\u0000<>&"} }`,
		`{"code":"200","message":1,"\ud800":1,"data":{"taskId":"t","state":"failed","failCode":1001,"failMsg":"x\ud83d","costTime":12.5,"createTime":{},"completeTime":"2024-01-01t00:00:12.5z","resultJson":7,"resultUrls":[null]}}`,
	}
	for _, source := range sources {
		for _, callback := range hostile {
			for _, body := range bodies {
				w := parse(t, body)
				want := attributesOf(source, w, callback)
				wantStructured(t, task(t, event.Encoder{Source: source, Prefix: "p"}, body, callback), want, "data", w.EventData)
				wantBinary(t, task(t, event.Encoder{Source: source, Prefix: "p", Mode: event.Binary}, body, callback), want, w.EventData)
			}
		}
	}
}

// What keeps a body is such an event, too, with the body in base64 even if it is JSON.
func TestQuarantinedIsTheEvent(t *testing.T) {
	t.Parallel()
	const conflicting = ` {"data":{"taskId":"t","state":"failed"}}`
	for _, source := range sources {
		for _, callback := range hostile {
			for _, mode := range []event.Mode{event.Structured, event.Binary} {
				encoder := event.Encoder{Source: source, Prefix: "p", Mode: mode}
				check := func(msg event.Message, body string, more map[string]string) {
					t.Helper()
					want := map[string]string{
						"specversion": "1.0", "id": event.Delivery{Body: []byte(body)}.Digest(), "source": source,
						"time": received.UTC().Format(time.RFC3339Nano),
					}
					maps.Copy(want, callback)
					maps.Copy(want, more)
					if mode == event.Binary {
						wantBinary(t, msg, want, []byte(body))
						return
					}
					quoted, err := json.Marshal([]byte(body))
					if err != nil {
						t.Fatal(err)
					}
					wantStructured(t, msg, want, "data_base64", quoted)
				}
				for _, body := range []string{"", "{", "\x00\xff\r\n", ` {"code":200}`, strings.Repeat("x", 1000)} {
					msg, err := encoder.Encode(delivery(body, callback))
					if err != nil || msg.Rejection == nil {
						t.Fatalf("%q: %v, %v", body, msg.Rejection, err)
					}
					contentType := "application/octet-stream"
					if json.Valid([]byte(body)) {
						contentType = "application/json"
					}
					check(msg, body, map[string]string{
						"type": "ai.apixo.webhook.rejected", "datacontenttype": contentType, "reason": msg.Rejection.Code, "detail": msg.Rejection.Detail,
					})
				}
				msg, err := encoder.Conflict(task(t, encoder, conflicting, callback), "state as before")
				if err != nil {
					t.Fatal(err)
				}
				check(msg, conflicting, map[string]string{
					"type": "ai.apixo.webhook.conflict", "subject": "t", "datacontenttype": "application/json", "reason": "conflict", "detail": "state as before",
				})
			}
		}
	}
}

// wantStructured holds a message against the JSON event format (section 3): a member
// for each attribute, and one for the data, which is to be this text.
func wantStructured(t *testing.T, msg event.Message, want map[string]string, member string, data []byte) {
	t.Helper()
	got := decoded(t, msg.Data)
	if !bytes.Equal(got[member], data) {
		t.Errorf("the data is %s, want %s", got[member], data)
	}
	delete(got, member)
	if got := values(t, got); !maps.Equal(got, want) {
		t.Errorf("the attributes are\n%q, want\n%q", got, want)
	}
	if header := besidesTrace(t, msg); len(header) != 1 || !slices.Equal(header["Content-Type"], []string{"application/cloudevents+json"}) {
		t.Errorf("the headers are %v", msg.Header)
	}
}

// besidesTrace is the header of a message without the trace context, which has to be
// the one that the delivery brought.
func besidesTrace(t *testing.T, msg event.Message) map[string][]string {
	t.Helper()
	header := maps.Clone(msg.Header)
	parent, state := event.TraceContext(header)
	if parent != msg.Delivery.Attributes["traceparent"] || state != msg.Delivery.Attributes["tracestate"] {
		t.Errorf("the context in the headers %v is %q, %q", header, parent, state)
	}
	delete(header, "traceparent")
	delete(header, "tracestate")
	return header
}

// wantBinary holds a message against the NATS binding (section 3.1.3): a header for
// each attribute, percent-encoded, and the data as they are.
func wantBinary(t *testing.T, msg event.Message, want map[string]string, data []byte) {
	t.Helper()
	got := make(map[string]string)
	for name, value := range besidesTrace(t, msg) {
		name, isAttribute := strings.CutPrefix(name, "ce-")
		if !isAttribute || len(value) != 1 || strings.ContainsFunc(value[0], func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
			t.Errorf("the header %s is %q", name, value)
		}
		text, err := url.PathUnescape(value[0])
		if err != nil {
			t.Error(err)
		}
		got[name] = text
	}
	if !maps.Equal(got, want) {
		t.Errorf("the headers say\n%q, want\n%q", got, want)
	}
	if !bytes.Equal(msg.Data, data) {
		t.Errorf("the data is %s, want %s", msg.Data, data)
	}
}

// The examples of the JSON event format (section 3.2), which it gives in that format and
// in the HTTP binding's binary mode. Whatever is stored is sent as those say; the data of
// other events than tasks' are base64 here.
func TestExamplesOfTheSpecification(t *testing.T) {
	t.Parallel()
	attributes := func(id string) map[string]string {
		return map[string]string{
			"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext", "id": id, "time": "2018-04-05T17:31:00Z",
			"comexampleextension1": "value", "comexampleothervalue": "5",
		}
	}
	const object = `{
        "appinfoA" : "abc",
        "appinfoB" : 123,
        "appinfoC" : true
    }`
	for id, tt := range map[string]struct{ contentType, member, data string }{
		"A234-1234-1234": {"application/vnd.apache.thrift.binary", `"data_base64" : "AP8K"`, "\x00\xff\n"},
		"C234-1234-1234": {"application/json", `"data" : ` + object, object},
	} {
		text := fmt.Sprintf(`{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "subject" : null,
    "id" : %q,
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "datacontenttype" : %q,
    %s
}`, id, tt.contentType, tt.member)
		structured := map[string][]string{"Content-Type": {"application/cloudevents+json"}}
		header, body, err := event.ToHTTP(event.Binary, stored(t, event.Message{Header: structured, Data: []byte(text)}), structured, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]string{"Content-Type": {tt.contentType}}
		binary := map[string][]string{"ce-datacontenttype": {tt.contentType}} // as NATS has it
		for name, value := range attributes(id) {
			want["ce-"+name], binary["ce-"+name] = []string{value}, []string{value}
		}
		if !reflect.DeepEqual(header, want) || string(body) != tt.data {
			t.Errorf("%s is sent as\n%q\n%q, want\n%q\n%q", id, header, body, want, tt.data)
		}

		written, err := event.ToJSON(stored(t, event.Message{Header: binary, Data: []byte(tt.data)}), binary, []byte(tt.data))
		if err != nil {
			t.Fatal(err)
		}
		all := attributes(id)
		all["datacontenttype"], all["data_base64"] = tt.contentType, base64.StdEncoding.EncodeToString([]byte(tt.data))
		if got := values(t, decoded(t, written)); !maps.Equal(got, all) {
			t.Errorf("%s is written as\n%q, want\n%q", id, got, all)
		}
	}
}

func decoded(t *testing.T, object []byte) map[string]json.RawMessage {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		t.Fatalf("%v in %s", err, object)
	}
	return members
}

// values are members that are strings, all of them.
func values(t *testing.T, members map[string]json.RawMessage) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	for name, raw := range members {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			t.Fatalf("%s is %s: %v", name, raw, err)
		}
		texts[name] = text
	}
	return texts
}

// What would be no valid event is an error, and no message.
func TestTaskThatWouldBeNoEvent(t *testing.T) {
	t.Parallel()
	for _, mode := range []event.Mode{event.Structured, event.Binary} {
		good := event.Encoder{Source: "urn:x", Prefix: "p", Mode: mode}
		for name, tt := range map[string]struct {
			encoder    event.Encoder
			attributes map[string]string
		}{
			"no source":                      {event.Encoder{Prefix: "p", Mode: mode}, nil},
			"a source that is not UTF-8":     {event.Encoder{Source: "urn:x?\xff", Prefix: "p", Mode: mode}, nil},
			"an attribute without name":      {good, map[string]string{"": "v"}},
			"a name with a quote":            {good, map[string]string{`a"`: "v"}},
			"a name with a dash":             {good, map[string]string{"a-b": "v"}},
			"a value that is not UTF-8":      {good, map[string]string{"model": "\xff"}},
			"the name of another attribute":  {good, map[string]string{"id": "v"}},
			"the name of the data":           {good, map[string]string{"data": "v"}},
			"a good one and one that is not": {good, map[string]string{"model": "m", "é": "v"}},
		} {
			msg, err := tt.encoder.Encode(delivery(payload(t, "success.json"), tt.attributes))
			if err == nil || msg.Rejection != nil || msg.Data != nil || msg.Header != nil {
				t.Errorf("%s: made %+v (%v, %v)", name, msg, msg.Rejection, err)
			}
		}
	}
}

// No message shares anything with another, or holds much more than it needs: a sender
// that keeps a message keeps that one only.
func TestMessagesDoNotShareData(t *testing.T) {
	t.Parallel()
	encoder := event.Encoder{Source: "urn:x", Prefix: "p"}
	one := task(t, encoder, payload(t, "success.json"), nil)
	before := bytes.Clone(one.Data)
	for range 100 {
		other := task(t, encoder, payload(t, "success-many-urls.json"), nil)
		clear(other.Data)
	}
	if !bytes.Equal(one.Data, before) {
		t.Error("another message has changed the data of one")
	}
	body := []byte(payload(t, "success.json"))
	for _, mode := range []event.Mode{event.Structured, event.Binary} {
		msg, err := event.Encoder{Source: "urn:x", Prefix: "p", Mode: mode}.Encode(event.Delivery{Body: body, Received: received})
		if err != nil {
			t.Fatal(err)
		}
		if waste := cap(msg.Data) - len(msg.Data); waste > len(msg.Data)/4+64 {
			t.Errorf("data of %d bytes holds %d", len(msg.Data), cap(msg.Data))
		}
	}
}
