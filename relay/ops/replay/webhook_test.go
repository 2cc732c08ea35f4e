package replay_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/schema"
)

// What the quarantine keeps goes out as APIXO sent it: the body to the byte, the
// callback attributes in the query. What would be quarantined again is left out.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	bodies := map[string]string{
		"bad":      ` {"code":200} x`,
		"good":     " {\"data\" :\n{\"taskId\":\"task_1\", \"state\":\"success\",\"n\":1.50}}\n",
		"conflict": `{"data":{"taskId":"task_2","state":"failed"}}`,
	}
	attributes := map[string]string{"model": "nano banana&x=y", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	quarantine := func(mode event.Mode, kind, body string) {
		encoder := event.Encoder{Source: "urn:x", Prefix: "apixo", Mode: mode}
		msg, err := encoder.Conflict(event.Message{ID: "task_2", Delivery: event.Delivery{Body: []byte(body), Attributes: attributes}}, "detail")
		if err != nil {
			t.Fatal(err)
		}
		// As an older relay would have kept it that could not read the body.
		data := msg.Data
		header := make(map[string][]string)
		for name, values := range msg.Header {
			if header[name] = values; name == "ce-type" && kind == "rejected" {
				header[name] = []string{schema.TypeWebhookRejected}
			}
		}
		if kind == "rejected" {
			data = []byte(strings.Replace(string(data), schema.TypeWebhookConflict, schema.TypeWebhookRejected, 1))
		}
		if _, err := s.js.PublishMsg(t.Context(), message("apixo.quarantine."+kind, header, string(data))); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []event.Mode{event.Structured, event.Binary} {
		quarantine(mode, "rejected", bodies["bad"])
		quarantine(mode, "rejected", bodies["good"])
		quarantine(mode, "conflict", bodies["conflict"])
	}
	var got seen
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		query := r.URL.Query()
		if r.URL.Path != "/hook" || r.Header.Get("Content-Type") != "application/json" || query.Get("model") != attributes["model"] || query.Get("traceparent") != attributes["traceparent"] || query.Get("own") != "1" || len(query) != 3 {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		if string(body) == bodies["conflict"] {
			w.WriteHeader(http.StatusOK)
			fmt.Fprint(w, `{"taskId":"task_2","duplicate":true,"conflict":true}`)
		} else {
			fmt.Fprint(w, `{"taskId":"task_1","duplicate":true}`)
		}
		got.add(string(body))
	}))
	t.Cleanup(server.Close)
	h := to(t, server.URL+"/hook?model=default&own=1")
	h.Webhook = true
	o := replay.Options{Selection: streamreader.Selection{Stream: "APIXO_QUARANTINE", Subjects: []string{"apixo.quarantine.>"}, FromSeq: 1}, Concurrency: 1}
	summary := run(t.Context(), t, s, replay.HTTP(h), o)
	wantCounts(t, summary, 4, 0, 2, 0, 7)
	if summary.Duplicates != 4 || summary.Conflicts != 2 || !strings.Contains(summary.Skips[0].Reason, "this version refuses it, too: not one JSON text") {
		t.Errorf("%+v", summary)
	}
	if got.times[bodies["good"]] != 2 || got.times[bodies["conflict"]] != 2 {
		t.Errorf("came: %q", got.order)
	}
}

// APIXO takes nothing but 200 for delivered, and a task's event keeps no webhook.
func TestWebhooksNeed200(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 1)
	s.webhook(t, event.Encoder{Source: "urn:x", Prefix: "apixo"}, "bad")
	s.flush(t)
	h := consumer(t, func(w http.ResponseWriter, _ *http.Request, _ string) { w.WriteHeader(http.StatusAccepted) })
	h.Webhook = true
	wantCounts(t, run(t.Context(), t, s, replay.HTTP(h), all(1)), 0, 0, 1, 0, 2)
	msg, err := event.Encoder{Source: "urn:x", Prefix: "apixo", Mode: event.Binary}.Conflict(
		event.Message{ID: "t", Delivery: event.Delivery{Body: []byte(`{"data":{"taskId":"t","state":"failed"}}`)}}, "d")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.PublishMsg(t.Context(), message(msg.Subject, msg.Header, string(msg.Data))); err != nil {
		t.Fatal(err)
	}
	o := replay.Options{Selection: streamreader.Selection{Stream: "APIXO_QUARANTINE", Subjects: []string{"apixo.quarantine.>"}, FromSeq: 1}, Concurrency: 1}
	wantCounts(t, run(t.Context(), t, s, replay.HTTP(h), o), 0, 1, 1, 0, 2)
}

func TestIsWebhookPath(t *testing.T) {
	t.Parallel()
	tokens := []string{"0123456789abcdef", "base64/base64/=="}
	for _, tt := range []struct {
		path, webhook string
		want          bool
	}{
		{"/webhook/apixo", "/webhook/apixo", true},
		{"/webhook/apixo/", "/webhook/apixo", true},
		{"/webhook/apixo/any", "/webhook/apixo", true},
		{"/webhook/apixo/0123456789abcdef", "/webhook/apixo", true},
		{"/webhook/apixo/base64/base64/==", "/webhook/apixo", true},
		{"//webhook///apixo//0123456789abcdef/", "/webhook/apixo", true},
		{"/base64/base64/==", "/", true},
		{"/webhook/apixo/a/b", "/webhook/apixo", false},
		{"/webhook/apixo2", "/webhook/apixo", false},
		{"/webhook", "/webhook/apixo", false},
		{"", "/webhook/apixo", false},
		{"", "/", true},
		{"/", "/", true},
		{"/events", "/", false},
		{"/0123456789abcdef", "/", true},
	} {
		if got := replay.IsWebhookPath(tt.path, tt.webhook, tokens); got != tt.want {
			t.Errorf("%q at %q: %v", tt.path, tt.webhook, got)
		}
	}
}
