package event_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding/format"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/schema"
)

var received = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.FixedZone("", 3600))

// delivery is one that came with the attributes at the time received.
func delivery(body string, attributes map[string]string) event.Delivery {
	return event.Delivery{Body: []byte(body), Attributes: attributes, Received: received}
}

// task encodes a delivery that is a task's result.
func task(t testing.TB, e event.Encoder, body string, attributes map[string]string) event.Message {
	t.Helper()
	msg, err := e.Encode(delivery(body, attributes))
	if err != nil || msg.Rejection != nil {
		t.Fatal(err, msg.Rejection)
	}
	return msg
}

func parse(t testing.TB, body string) schema.Webhook {
	t.Helper()
	w, err := schema.ParseWebhook([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func payload(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "schema", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Both modes are read back to the same event, and its data is what was parsed, to the byte.
func TestTaskIsReadBackFromBothModes(t *testing.T) {
	t.Parallel()
	attributes := map[string]string{
		"model":       `a "b" 图% 😀 ~`,
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"tracestate":  "vendor=a b",
	}
	for _, name := range []string{"success.json", "success-many-urls.json", "success-music-object.json", "failed.json"} {
		w := parse(t, payload(t, name))
		for _, mode := range []event.Mode{event.Structured, event.Binary} {
			encoder := event.Encoder{Source: "https://api.apixo.ai", Prefix: "some.prefix", Mode: mode}
			msg := task(t, encoder, payload(t, name), attributes)
			if msg.ID != w.Task.ID || msg.Subject != "some.prefix.task."+string(w.Task.State) {
				t.Errorf("%s: id %q, subject %q", name, msg.ID, msg.Subject)
			}
			checkHeaders(t, msg, mode)
			got, err := schema.DecodeMessage(msg.Header, msg.Data)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got.ID != w.Task.ID || got.Subject != w.Task.ID || got.Source != "https://api.apixo.ai" ||
				got.Type != "ai.apixo.task."+string(w.Task.State) || !got.Time.Equal(w.Task.CompleteTime) ||
				got.DataContentType != "application/json" || got.DataSchema != schema.TaskSchemaID {
				t.Errorf("%s: read back %+v", name, got)
			}
			if len(got.Extensions) != len(attributes) {
				t.Errorf("%s: the extensions are %q", name, got.Extensions)
			}
			for attribute, value := range attributes {
				if got.Extensions[attribute] != value {
					t.Errorf("%s: %s is %q, want %q", name, attribute, got.Extensions[attribute], value)
				}
			}
			if !bytes.Equal(got.Data, w.EventData) {
				t.Errorf("%s: the data is\n%s\nwant\n%s", name, got.Data, w.EventData)
			}
		}
	}
}

// checkHeaders holds what the contract says of headers: structured mode has a
// content type and no ce- header; binary mode has printable ASCII without
// spaces and quotes in each ce- header, and no content type that would make it
// look structured.
func checkHeaders(t *testing.T, msg event.Message, mode event.Mode) {
	t.Helper()
	if mode == event.Structured {
		if len(besidesTrace(t, msg)) != 1 || msg.Header["Content-Type"][0] != "application/cloudevents+json" {
			t.Errorf("the headers are %q", msg.Header)
		}
		return
	}
	for name, values := range besidesTrace(t, msg) {
		if !strings.HasPrefix(name, "ce-") || len(values) != 1 {
			t.Errorf("the header %q is %q", name, values)
		}
		if strings.ContainsFunc(values[0], func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
			t.Errorf("the header %q is not encoded: %q", name, values)
		}
	}
	// The example of the binding, section 3.1.3.2, in its own words.
	if got := msg.Header["ce-model"][0]; got != "a%20%22b%22%20%E5%9B%BE%25%20%F0%9F%98%80%20~" {
		t.Errorf("ce-model is %q", got)
	}
}

// What was fetched in the place of a webhook has a header that says so, and is the same event
// besides; its conflict has the header too, and no webhook has it.
func TestRecoveredIsAHeader(t *testing.T) {
	t.Parallel()
	body := payload(t, "success.json")
	for _, mode := range []event.Mode{event.Structured, event.Binary} {
		for name, attributes := range map[string]map[string]string{
			"traced":     {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"},
			"not traced": {"model": "nano-banana"},
		} {
			encoder := event.Encoder{Source: "https://api.apixo.ai", Prefix: "apixo", Mode: mode}
			d := delivery(body, attributes)
			d.Recovered = schema.RecoveredReconciled
			recovered, err := encoder.Encode(d)
			if err != nil {
				t.Fatal(err)
			}
			came := task(t, encoder, body, attributes) // later, so that it shares no header that was written to
			conflict, err := encoder.Conflict(recovered, "detail")
			if err != nil {
				t.Fatal(err)
			}
			for what, msg := range map[string]event.Message{"event": recovered, "conflict": conflict} {
				if got := msg.Header["Apixo-Recovered"]; !slices.Equal(got, []string{"reconciled"}) {
					t.Errorf("mode %v, %s: the %s has the header %q", mode, name, what, got)
				}
			}
			delete(recovered.Header, schema.HeaderRecovered)
			if !reflect.DeepEqual(recovered.Header, came.Header) || !bytes.Equal(recovered.Data, came.Data) || recovered.ID != came.ID {
				t.Errorf("mode %v, %s: recovered\n%q %s\nand by webhook\n%q %s", mode, name, recovered.Header, recovered.Data, came.Header, came.Data)
			}
		}
	}
}

// A structured message is a valid CloudEvent for the SDK, with the data untouched.
func TestStructuredModeIsTheSDKsFormat(t *testing.T) {
	t.Parallel()
	w := parse(t, payload(t, "success-many-urls.json"))
	msg := task(t, event.Encoder{Source: "urn:x", Prefix: "apixo"}, payload(t, "success-many-urls.json"), map[string]string{"model": "m"})
	var ce cloudevents.Event
	if err := format.JSON.Unmarshal(msg.Data, &ce); err != nil {
		t.Fatal(err)
	}
	if err := ce.Validate(); err != nil {
		t.Error(err)
	}
	if ce.ID() != w.Task.ID || ce.Extensions()["model"] != "m" || !bytes.Equal(ce.Data(), w.EventData) {
		t.Errorf("the SDK reads %v", ce)
	}
}

// What was normalized is an attribute in both modes, and none where nothing was.
func TestNormalizedIsAnAttribute(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"code":"200","data":{"taskId":"t","state":"failed","failCode":1001,"completeTime":"2024-01-01T00:00:12Z","x":"\udfff"}}`: "code,failCode,completeTime,other",
		`{"code":200,"data":{"taskId":"t","state":"failed","failCode":"1001","completeTime":1704067212000,"x":"\ufffd"}}`:          "",
	} {
		for _, mode := range []event.Mode{event.Structured, event.Binary} {
			msg := task(t, event.Encoder{Source: "urn:x", Prefix: "apixo", Mode: mode}, body, map[string]string{"model": "m", "zone": "z"})
			got, err := schema.DecodeMessage(msg.Header, msg.Data)
			if err != nil {
				t.Fatal(err)
			}
			if got.Extensions["normalized"] != want || strings.Join(got.Normalized(), ",") != want || strings.Join(msg.Normalized, ",") != want {
				t.Errorf("%s: %q of %+v is normalized, want %q", body, got.Normalized(), got, want)
			}
			if want == "" && (len(got.Extensions) != 2 || got.Normalized() != nil) {
				t.Errorf("%s: the extensions are %q", body, got.Extensions)
			}
			if when := time.Date(2024, 1, 1, 0, 0, 12, 0, time.UTC); !got.Time.Equal(when) {
				t.Errorf("%s: the time is %v, want %v", body, got.Time, when)
			}
		}
	}
}

func TestTimeOfReceiptStandsInForCompleteTime(t *testing.T) {
	t.Parallel()
	for _, completeTime := range []string{``, `,"completeTime":null`, `,"completeTime":9007199254740991`, `,"completeTime":"soon"`} {
		msg := task(t, event.Encoder{Source: "urn:x", Prefix: "apixo"}, `{"data":{"taskId":"t","state":"failed"`+completeTime+`}}`, nil)
		got, err := schema.DecodeMessage(msg.Header, msg.Data)
		if err != nil || !got.Time.Equal(received) {
			t.Errorf("%q: the time is %v (%v), want %v", completeTime, got.Time, err, received)
		}
	}
}

// What is quarantined comes back byte for byte, whatever the bytes, and the
// same bytes have the same id.
func TestRejectedKeepsTheBytes(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "{", "\x00\xff\r\n", `{"code":200}`, " {\"a\" : 1.50}\n"} {
		for _, mode := range []event.Mode{event.Structured, event.Binary} {
			encoder := event.Encoder{Source: "urn:x", Prefix: "apixo", Mode: mode}
			msg, err := encoder.Encode(delivery(body, map[string]string{"model": "m"}))
			if err != nil || msg.Rejection == nil {
				t.Fatalf("%q is not refused: %v", body, err)
			}
			again, err := encoder.Encode(event.Delivery{Body: []byte(body), Received: received.Add(time.Minute)})
			if err != nil || again.ID != msg.ID || msg.ID == "" {
				t.Errorf("%q: the ids are %q and %q (%v)", body, msg.ID, again.ID, err)
			}
			got, err := schema.DecodeMessage(msg.Header, msg.Data)
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Data) != body || got.Type != schema.TypeWebhookRejected || msg.Subject != "apixo.quarantine.rejected" ||
				got.Extensions["reason"] != msg.Rejection.Code || got.Extensions["detail"] != msg.Rejection.Detail || got.Extensions["model"] != "m" {
				t.Errorf("%q: read back %+v", body, got)
			}
		}
	}
}

// A conflicting delivery comes back byte for byte too, and tells its task.
func TestConflictKeepsTheBytes(t *testing.T) {
	t.Parallel()
	const body = " {\"data\" : {\"taskId\":\"task_1\",\"state\":\"failed\"}}\n"
	for _, mode := range []event.Mode{event.Structured, event.Binary} {
		encoder := event.Encoder{Source: "urn:x", Prefix: "apixo", Mode: mode}
		first := task(t, encoder, body, map[string]string{"model": "m"})
		msg, err := encoder.Conflict(first, "state not as before")
		if err != nil {
			t.Fatal(err)
		}
		got, err := schema.DecodeMessage(msg.Header, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		if string(got.Data) != body || got.Type != schema.TypeWebhookConflict || got.Subject != "task_1" || got.ID != msg.ID ||
			msg.ID != first.Delivery.Digest() || msg.Subject != "apixo.quarantine.conflict" || msg.Task != nil ||
			got.Extensions["reason"] != "conflict" || got.Extensions["detail"] != "state not as before" || got.Extensions["model"] != "m" {
			t.Errorf("read back %+v of %+v", got, msg)
		}
	}
}

func TestValidAttribute(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"nano-banana": true, "图 😀": true, strings.Repeat("m", event.MaxAttributeBytes): true,
		"": false, strings.Repeat("m", event.MaxAttributeBytes+1): false,
		"a\r\nce-id: b": false, "a\x00": false, "a\x7f": false, "a\u0085": false, "a\xff": false, "a\ufffe": false, "a\U0001ffff": false,
	} {
		if got := event.ValidAttribute(value); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestValidTraceContext(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":   true,
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":   false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01":   false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01":   false,
		"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01":   false,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n": false,
		"": false,
	} {
		if got := event.ValidTraceParent(value); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
	if !event.ValidTraceState("a=b,c=d") || event.ValidTraceState("a=\r\nb") || event.ValidTraceState(strings.Repeat("a", 513)) {
		t.Error("a tracestate is judged wrongly")
	}
}
