package browser

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// town is a relay in which all kinds of things have happened, and pages that show it.
// Those who visit it change nothing.
type town struct {
	relay relay
	// page is open to this machine, guarded asks for the token.
	page, guarded *ui
	// notJSON and conflict are in the quarantine.
	notJSON, conflict uint64
}

const token = "let-me-in-4f0c9a1be2"

// newTown takes some seconds: a task that is given up has been asked for several times.
func newTown(t *testing.T) *town {
	t.Helper()
	fake := fakeapi.New(apiKey)
	fake.Set("task_outstanding", fakeapi.State("processing"))
	fake.Set("task_missing", fakeapi.Error(404, "Task not found"))
	api := httptest.NewServer(fake)
	t.Cleanup(api.Close)
	expecting := []string{"RELAY_EXPECT=true", "RELAY_EXPECT_AFTER=1s", "APIXO_API_KEY=" + apiKey, "APIXO_BASE_URL=" + api.URL}
	w := &town{relay: startRelay(t, expecting...)}
	w.relay.announce(t, "nano-banana", "task_outstanding", "task_missing", "task_recovered")

	w.relay.deliver(t,
		failure("task_refused", "CONTENT_VIOLATION", "The prompt was blocked by the content policy"),
		failure("task_slow", "TIMEOUT", "Generation took too long"),
		webhook{id: "task_film", model: "veo-3", urls: []string{"https://" + cdnHost + "/output/task_film.mp4", "https://" + cdnHost + "/output/task_film.wav"}},
		webhook{id: "task_elsewhere", model: "flux-kontext", urls: []string{"https://pictures.example/task_elsewhere.png"}},
	)
	for i := range 8 {
		w.relay.deliver(t, picture1(fmt.Sprintf("task_picture_%d", i)))
	}
	w.relay.conflict(t, failure("task_picture_7", "1002", "Said to have failed after all"))
	w.conflict = 1
	w.notJSON = w.relay.reject(t, `{"code":200,"data":{"taskId":"task_broken","state":"success",}}`)
	w.relay.reject(t, `{"code":200,"data":{"state":"success"}}`)
	w.relay.reject(t, `<html><body>not even JSON</body></html>`)

	js := natstest.JetStream(t, w.relay.Broker)
	consumer, err := js.CreateConsumer(t.Context(), "APIXO", jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		msg, err := consumer.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := js.Stream(t.Context(), "APIXO_QUARANTINE")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := js.Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "no task was given up and none recovered", func() bool {
		_, missing := kept.GetLastMsgForSubject(t.Context(), "apixo.quarantine.missing")
		info, err := stored.Info(t.Context())
		return missing == nil && err == nil && info.State.Msgs == 13
	})

	settings := append(w.relay.environ(), append(expecting, "RELAY_UI_TARGETS=staging=http://127.0.0.1:9/hook,again=nats:replayed.tasks")...)
	w.page = startUI(t, settings)
	w.guarded = startUI(t, append(settings, "RELAY_UI_TOKENS="+token))
	return w
}

const apiKey = "key-of-the-status-api"

// place is a view of the town, and what has to be read there.
type place struct {
	view, path string
	status     int
	// facts are texts by the selector of where they are read.
	facts map[string][]string
	// guarded is where the page asks for a token.
	guarded bool
	// expected is trouble that belongs to the view.
	expected []string
}

func (w *town) places() []place {
	return []place{
		{view: "now", path: "/", facts: map[string][]string{
			"h1": nil, "#latest": {"task_picture_7", "task_picture_0", "task_refused", "CONTENT_VIOLATION"},
			"#consumers": {"billing"}, "#relay": {"ready"},
		}},
		{view: "task", path: "/tasks/task_picture_7", facts: map[string][]string{
			"h1": {"task_picture_7"}, "#event": {"success", "nano-banana"}, "#timeline": nil, "#attributes": {"model", "nano-banana"},
			"#deliveries": {"conflict"}, "#json": {`"task_picture_7"`, "ai.apixo.task.success", "resultUrls"}, "#commands": {"apixo-relay tail --from-seq"},
		}},
		{view: "task", path: "/tasks/task_refused", facts: map[string][]string{
			"h1": {"task_refused"}, "#event": {"failed", "CONTENT_VIOLATION", "The prompt was blocked by the content policy", "flux-kontext"},
		}},
		{view: "task", path: "/tasks/task_missing", facts: map[string][]string{"h1": {"task_missing"}, "main": {"missing"}}},
		{view: "task", path: "/tasks/task_outstanding", facts: map[string][]string{"h1": {"task_outstanding"}, "main": {"processing"}}},
		{view: "task", path: "/tasks/task_recovered", facts: map[string][]string{"h1": {"task_recovered"}, "main": {"recovered"}}},
		{view: "error", path: "/tasks/nobody", status: 404, facts: map[string][]string{"h1": nil, "main": {"nobody"}}, expected: []string{"status of 404"}},
		{view: "events", path: "/events", facts: map[string][]string{
			"h1": nil, "#events": {"task_picture_7", "task_picture_0", "task_refused", "task_slow", "TIMEOUT", "veo-3", "task_recovered"},
		}},
		{view: "quarantine", path: "/quarantine", facts: map[string][]string{
			"h1": nil, "#reasons": {"invalid-json", "conflict", "member-missing", "unknown-task"}, "#quarantined": {"task_picture_7", "invalid-json"},
		}},
		{view: "quarantined", path: fmt.Sprintf("/quarantine/%d", w.notJSON), facts: map[string][]string{
			"h1": nil, "main": {"invalid-json"}, "#body pre": {`"state":"success",}}`},
		}},
		{view: "question", path: fmt.Sprintf("/quarantine/put-aside?seq=%d", w.notJSON), facts: map[string][]string{"h1": nil}},
		{view: "replay", path: "/replay", facts: map[string][]string{"h1": nil, "#replay": {"staging", "again"}}},
		{view: "expected", path: "/expected", facts: map[string][]string{
			"h1": nil, "#outstanding": {"task_outstanding", "nano-banana"}, "#recovered": {"task_recovered"}, "#missing": {"task_missing"},
		}},
		{view: "checks", path: "/checks", facts: map[string][]string{"h1": nil, "#report": {"stream", "broker"}}},
		{view: "sign-in", path: "/sign-in", facts: map[string][]string{"h1": nil, "#sign-in": nil}, guarded: true},
	}
}

// url is where a place is.
func (w *town) url(p place) string {
	if p.guarded {
		return w.guarded.URL + p.path
	}
	return w.page.URL + p.path
}

// visit opens a place, and waits until it is whole.
func (w *town) visit(t *tab, p place) {
	t.Helper()
	t.expect(p.expected...)
	await(t.TB, "what others are asked for does not come", func() bool {
		if status := t.open(w.url(p)); status != max(p.status, 200) {
			t.Fatalf("%s is answered %d", p.path, status)
		}
		t.showing(p.view)
		return !strings.Contains(t.text("main"), "being asked") // for which a view waits for a moment only
	})
}

// name is a place's, for a test and a file.
func (p place) name() string {
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == '?' || r == '=' {
			return '-'
		}
		return r
	}, strings.Trim(p.path, "/"))
	if name == "" {
		return p.view
	}
	return name
}
