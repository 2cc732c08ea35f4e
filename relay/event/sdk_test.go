package event_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding/format"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"

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

// bySDK is the event of a task as the SDK makes it.
func bySDK(t *testing.T, source string, w schema.Webhook, attributes map[string]string) cloudevents.Event {
	t.Helper()
	ce := cloudevents.New(cloudevents.CloudEventsVersionV1)
	ce.SetID(w.Task.ID)
	ce.SetSource(source)
	ce.SetType(schema.EventType(w.Task.State))
	ce.SetSubject(w.Task.ID)
	ce.SetTime(received.UTC())
	if !w.Task.CompleteTime.IsZero() {
		ce.SetTime(w.Task.CompleteTime)
	}
	ce.SetDataContentType(cloudevents.ApplicationJSON)
	ce.SetDataSchema(schema.TaskSchemaID)
	for name, value := range attributes {
		ce.SetExtension(name, value)
	}
	if w.Normalized != nil {
		ce.SetExtension("normalized", strings.Join(w.Normalized, ","))
	}
	ce.DataEncoded = w.EventData
	if err := ce.Validate(); err != nil {
		t.Fatal(err)
	}
	return ce
}

// A task's event is the one that the SDK would make of it, whatever its
// attributes: member by member as it writes it, and valid as it reads it.
func TestTaskIsTheSDKsEvent(t *testing.T) {
	t.Parallel()
	bodies := []string{
		payload(t, "success.json"), payload(t, "success-many-urls.json"), payload(t, "success-music-object.json"), payload(t, "failed.json"),
		`{"data":{"taskId":"` + strings.Repeat("t", 128) + `","state":"failed","completeTime":1}}`,
		`{"data": {"taskId":"Az09_.:-", "state":"success", "n":1.50, "n2":12345678901234567890, "s":"\u2028\u0000<>&"} }`,
		`{"code":"200","message":1,"\ud800":1,"data":{"taskId":"t","state":"failed","failCode":1001,"failMsg":"x\ud83d","costTime":12.5,"createTime":{},"completeTime":"2024-01-01t00:00:12.5z","resultJson":7,"resultUrls":[null]}}`,
	}
	for _, source := range []string{"https://api.apixo.ai", "urn:x", "a/b?c='d'&e=%22#f", "//user:pass@[::1]:1/%E5%9B%BE", strings.Repeat("s", 1024)} {
		for _, attributes := range hostile {
			for _, body := range bodies {
				want := bySDK(t, source, parse(t, body), attributes)
				msg := task(t, event.Encoder{Source: source, Prefix: "p"}, body, attributes)
				wantStructured(t, msg, want)
				msg = task(t, event.Encoder{Source: source, Prefix: "p", Mode: event.Binary}, body, attributes)
				wantBinary(t, msg, want)
			}
		}
	}
}

// keptBySDK is the event that keeps a body as the SDK makes it.
func keptBySDK(t *testing.T, source, eventType, about, contentType, body, reason, detail string, attributes map[string]string) cloudevents.Event {
	t.Helper()
	ce := cloudevents.New(cloudevents.CloudEventsVersionV1)
	ce.SetID(event.Delivery{Body: []byte(body)}.Digest())
	ce.SetSource(source)
	ce.SetType(eventType)
	ce.SetTime(received.UTC())
	if about != "" {
		ce.SetSubject(about)
	}
	if err := ce.SetData(contentType, []byte(body)); err != nil {
		t.Fatal(err)
	}
	for name, value := range attributes {
		ce.SetExtension(name, value)
	}
	ce.SetExtension("reason", reason)
	ce.SetExtension("detail", detail)
	if err := ce.Validate(); err != nil {
		t.Fatal(err)
	}
	return ce
}

// What keeps a body is the event that the SDK would make of it, too.
func TestKeptIsTheSDKsEvent(t *testing.T) {
	t.Parallel()
	const conflicting = `{"data":{"taskId":"t","state":"failed"}}`
	for _, source := range []string{"https://api.apixo.ai", "a/b?c='d'&e=%22#f"} {
		for _, attributes := range hostile {
			for _, mode := range []event.Mode{event.Structured, event.Binary} {
				encoder := event.Encoder{Source: source, Prefix: "p", Mode: mode}
				check := func(msg event.Message, want cloudevents.Event) {
					if mode == event.Structured {
						wantStructured(t, msg, want)
					} else {
						wantBinary(t, msg, want)
					}
				}
				for _, body := range []string{"", "{", "\x00\xff\r\n", `{"code":200}`, strings.Repeat("x", 1000)} {
					msg, why, err := encoder.Message(delivery(body, attributes))
					if err != nil || why == nil {
						t.Fatalf("%q: %v, %v", body, why, err)
					}
					contentType := "application/octet-stream"
					if why.Kind == schema.ErrNotResult {
						contentType = "application/json"
					}
					check(msg, keptBySDK(t, source, schema.TypeWebhookRejected, "", contentType, body, why.Code, why.Detail, attributes))
				}
				msg, err := encoder.Conflict(task(t, encoder, conflicting, attributes), "state as before")
				if err != nil {
					t.Fatal(err)
				}
				check(msg, keptBySDK(t, source, schema.TypeWebhookConflict, "t", "application/json", conflicting, "conflict", "state as before", attributes))
			}
		}
	}
}

func wantStructured(t *testing.T, msg event.Message, want cloudevents.Event) {
	t.Helper()
	var written bytes.Buffer
	if err := cloudevents.WriteJson(&want, &written); err != nil {
		t.Fatal(err)
	}
	got, sdk := decoded(t, msg.Data), decoded(t, written.Bytes())
	if !bytes.Equal(got["data"], sdk["data"]) {
		t.Errorf("the data is %s, want %s", got["data"], sdk["data"])
	}
	delete(got, "data")
	delete(sdk, "data")
	if got, sdk := values(t, got), values(t, sdk); !maps.Equal(got, sdk) {
		t.Errorf("the attributes are\n%q, the SDK writes\n%q", got, sdk)
	}
	var read cloudevents.Event
	if err := format.JSON.Unmarshal(msg.Data, &read); err != nil {
		t.Fatalf("the SDK cannot read %s: %v", msg.Data, err)
	}
	if err := read.Validate(); err != nil {
		t.Errorf("the SDK calls %s invalid: %v", msg.Data, err)
	}
	if !reflect.DeepEqual(read.Context, want.Context) || !bytes.Equal(read.Data(), want.Data()) {
		t.Errorf("the SDK reads\n%v, want\n%v", read, want)
	}
	if header := besidesTrace(t, msg); len(header) != 1 || !slices.Equal(header["Content-Type"], []string{cloudevents.ApplicationCloudEventsJSON}) {
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

func wantBinary(t *testing.T, msg event.Message, want cloudevents.Event) {
	t.Helper()
	var written bytes.Buffer
	if err := cloudevents.WriteJson(&want, &written); err != nil {
		t.Fatal(err)
	}
	members := decoded(t, written.Bytes())
	delete(members, "data")
	delete(members, "data_base64")
	got := make(map[string]string)
	for name, value := range besidesTrace(t, msg) {
		if len(value) != 1 || strings.ContainsFunc(value[0], func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
			t.Errorf("the header %s is %q", name, value)
		}
		text, err := url.PathUnescape(value[0])
		if err != nil {
			t.Error(err)
		}
		got[strings.TrimPrefix(name, "ce-")] = text
	}
	if sdk := values(t, members); !maps.Equal(got, sdk) {
		t.Errorf("the headers say\n%q, the SDK writes\n%q", got, sdk)
	}
	if !bytes.Equal(msg.Data, want.Data()) {
		t.Errorf("the data is %s, want %s", msg.Data, want.Data())
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
			"an attribute without name":      {good, map[string]string{"": "v"}},
			"a name with a quote":            {good, map[string]string{`a"`: "v"}},
			"a name with a dash":             {good, map[string]string{"a-b": "v"}},
			"a value that is not UTF-8":      {good, map[string]string{"model": "\xff"}},
			"a good one and one that is not": {good, map[string]string{"model": "m", "é": "v"}},
		} {
			msg, why, err := tt.encoder.Message(delivery(payload(t, "success.json"), tt.attributes))
			if err == nil || why != nil || msg.Data != nil || msg.Header != nil {
				t.Errorf("%s: made %+v (%v, %v)", name, msg, why, err)
			}
		}
	}
}

// The messages of all webhooks share what they can share, and nothing else:
// a sender that keeps a message keeps that one only.
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
		msg, _, err := event.Encoder{Source: "urn:x", Prefix: "p", Mode: mode}.Message(event.Delivery{Body: body, Received: received})
		if err != nil {
			t.Fatal(err)
		}
		if waste := cap(msg.Data) - len(msg.Data); waste > len(msg.Data)/4+64 {
			t.Errorf("data of %d bytes holds %d", len(msg.Data), cap(msg.Data))
		}
	}
}
