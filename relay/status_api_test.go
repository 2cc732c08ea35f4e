package relay_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay"
	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// withAPI are the settings of a relay beside a status API.
func withAPI(t *testing.T, api *fakeapi.API, more ...string) []string {
	t.Helper()
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return environ(t, append([]string{"APIXO_API_KEY=" + apiKey, "APIXO_BASE_URL=" + server.URL}, more...)...)
}

const apiKey = "sk-0123456789abcdef"

// answered is the answer to a request.
type answered struct {
	status      int
	Type        string
	Detail      string
	TaskID      string
	Expected    *bool
	Duplicate   bool
	Conflict    bool
	Quarantined *struct {
		Stream   string
		Sequence uint64
	}
	retryAfter string
}

// problem is the last part of the type of a problem document.
func (a answered) problem() string {
	_, slug, _ := strings.Cut(a.Type, "#")
	return slug
}

func postTo(t *testing.T, c *http.Client, r *relay.Relay, path, body string) (a answered) {
	t.Helper()
	resp, err := c.Post("http://"+r.Addr()+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	a.status, a.retryAfter = resp.StatusCode, resp.Header.Get("Retry-After")
	return a
}

// A producer without a NATS client announces tasks where webhooks arrive.
func TestAnnounceByHTTP(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef"
	r := start(t, withAPI(t, fakeapi.New(apiKey), "RELAY_EXPECT=true", "RELAY_WEBHOOK_TOKENS="+token))
	c := client(t)
	expect := "/expect/" + token
	for _, test := range []struct {
		path, body string
		status     int
		problem    string
	}{
		{"/expect", `{"taskId":"a","model":"m"}`, 401, "unauthorized"},
		{"/expect/wrong-token-wrong", `{"taskId":"a","model":"m"}`, 401, "unauthorized"},
		{"/expected/" + token, `{"taskId":"a","model":"m"}`, 404, "not-found"},
		{expect, `{"taskId":"a","model":"m"}`, 200, ""},
		{expect + "/", `{"taskId":"a","model":"m","attributes":{"user":"42"}}`, 200, ""},
		{expect, `{"taskId":"a"`, 400, "not-json"},
		{expect, `{"taskId":"a/b","model":"m"}`, 422, "not-an-announcement"},
		{expect, `{"taskId":"a"}`, 422, "not-an-announcement"},
		{expect, `{"taskId":"a","model":"../m"}`, 422, "not-an-announcement"},
		{expect, strings.Repeat(" ", 300_000), 413, "body-too-large"},
	} {
		a := postTo(t, c, r, test.path, test.body)
		if a.status != test.status || a.problem() != test.problem {
			t.Errorf("%s %.60s: %+v", test.path, test.body, a)
		}
		if a.status == 200 && (a.TaskID != "a" || a.Expected == nil || !*a.Expected) {
			t.Errorf("%+v", a)
		}
		if quarantined := a.status == 400 || a.status == 422; quarantined != (a.Quarantined != nil) {
			t.Errorf("%s: %+v", test.body, a)
		}
	}
	if events := natstest.Events(t, natstest.JetStream(t, r.BrokerURL()), "APIXO_QUARANTINE"); len(events) != 4 || events[3].Type != schema.TypeAnnouncementRejected || events[3].Reason() != schema.CodeModel {
		t.Errorf("%+v", events)
	}
	resp, err := c.Get("http://" + r.Addr() + expect)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", resp.StatusCode)
	}

	// Its webhook comes, and it is not expected any more.
	if a := postTo(t, c, r, "/webhook/apixo/"+token, webhook("a")); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	if a := postTo(t, c, r, expect, `{"taskId":"a","model":"m"}`); a.status != 200 || a.Expected == nil || *a.Expected {
		t.Errorf("after its webhook: %+v", a)
	}
	kv, err := natstest.JetStream(t, r.BrokerURL()).KeyValue(t.Context(), schema.DefaultExpectedBucket)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		_, err := kv.Keys(t.Context())
		return errors.Is(err, jetstream.ErrNoKeysFound)
	})
	if _, metrics := get(t, c, "http://"+r.AdminAddr()+"/metrics"); !strings.Contains(metrics, "\napixo_relay_expected_tasks 0\n") {
		t.Error("it is counted as expected")
	}
}

// Without RELAY_EXPECT there is nothing at that path, and nobody is asked.
func TestWithoutExpect(t *testing.T) {
	t.Parallel()
	api := fakeapi.New(apiKey)
	r := start(t, withAPI(t, api))
	c := client(t)
	if a := postTo(t, c, r, "/expect", `{"taskId":"a","model":"m"}`); a.status != 404 {
		t.Errorf("%+v", a)
	}
	if a := postTo(t, c, r, "/webhook/apixo?model=m", webhook("a")); a.status != 200 {
		t.Errorf("%+v", a)
	}
	if asked := api.Asked(); len(asked) > 0 {
		t.Errorf("asked for %v", asked)
	}
}

// With flag each event says what the status API makes of its webhook.
func TestVerifyFlag(t *testing.T) {
	t.Parallel()
	api := fakeapi.New(apiKey)
	for id, answer := range map[string]fakeapi.Answer{
		"forged": fakeapi.Failure, "unknown": fakeapi.Error(404, "no such task"), "pending": fakeapi.State("pending"), "away": fakeapi.HTML(502),
	} {
		api.Set(id, answer)
	}
	r := start(t, withAPI(t, api, "RELAY_VERIFY=flag"))
	c := client(t)
	want := map[string]string{"good": "true", "forged": "false", "unknown": "false", "pending": "unknown", "away": "unknown", "modelless": "unknown"}
	for id := range want {
		path := "/webhook/apixo?model=m"
		if id == "modelless" {
			path = "/webhook/apixo"
		}
		if a := postTo(t, c, r, path, fakeapi.Result(id)); a.status != 200 {
			t.Errorf("%s: %+v", id, a)
		}
	}
	for _, e := range natstest.Events(t, natstest.JetStream(t, r.BrokerURL()), "APIXO") {
		if e.Verified() != want[e.ID] {
			t.Errorf("%s is %q, want %q", e.ID, e.Verified(), want[e.ID])
		}
		delete(want, e.ID)
	}
	if len(want) > 0 {
		t.Errorf("not stored: %v", want)
	}
}

// With enforce only what the status API tells, too, becomes an event. A forged first delivery
// does not take the place of the real one.
func TestVerifyEnforce(t *testing.T) {
	t.Parallel()
	api := fakeapi.New(apiKey)
	api.Set("pending", fakeapi.State("processing"))
	api.Set("away", fakeapi.HTML(502))
	api.Set("unknown", fakeapi.Error(404, "no such task"))
	r := start(t, withAPI(t, api, "RELAY_VERIFY=enforce"))
	c := client(t)
	const path = "/webhook/apixo?model=m"
	forged := strings.Replace(fakeapi.Result("task_1"), "cdn.apixo.ai", "evil.example", 1)
	for _, body := range []string{forged, fakeapi.Result("unknown")} {
		if a := postTo(t, c, r, path, body); a.status != 422 || a.problem() != "not-confirmed" || a.Quarantined == nil || a.Detail == "" {
			t.Errorf("%+v", a)
		}
	}
	for _, request := range [][2]string{{path, fakeapi.Result("pending")}, {path, fakeapi.Result("away")}, {"/webhook/apixo", fakeapi.Result("task_1")}} {
		if a := postTo(t, c, r, request[0], request[1]); a.status != 503 || a.problem() != "not-verified" || a.retryAfter == "" || a.Quarantined != nil {
			t.Errorf("%s: %+v", request[1], a)
		}
	}
	if a := postTo(t, c, r, path, fakeapi.Result("task_1")); a.status != 200 || a.Duplicate || a.Conflict {
		t.Errorf("the real one: %+v", a)
	}
	if a := postTo(t, c, r, path, fakeapi.Result("task_1")); a.status != 200 || !a.Duplicate || a.Conflict {
		t.Errorf("the real one again: %+v", a)
	}
	if a := postTo(t, c, r, path, "{"); a.status != 400 {
		t.Errorf("no webhook: %+v", a)
	}
	if events := natstest.Events(t, natstest.JetStream(t, r.BrokerURL()), "APIXO"); len(events) != 1 || events[0].Verified() != "true" || !strings.Contains(string(events[0].Data), "cdn.apixo.ai") {
		t.Errorf("%+v", events)
	}
	events := natstest.Events(t, natstest.JetStream(t, r.BrokerURL()), "APIXO_QUARANTINE")
	if len(events) != 3 || events[0].Reason() != schema.ReasonNotConfirmed || events[0].Subject != "task_1" || events[2].Subject != "" || string(events[0].Data) != forged || events[0].DataContentType != "application/json" {
		t.Errorf("%+v", events)
	}
}

// A key that is not taken is told by readiness, and keeps no webhook out.
func TestWrongAPIKey(t *testing.T) {
	t.Parallel()
	api := fakeapi.New("another-key-of-the-account")
	r := start(t, withAPI(t, api, "RELAY_VERIFY=flag", "RELAY_EXPECT=true"))
	c := client(t)
	if a := postTo(t, c, r, "/webhook/apixo?model=m", fakeapi.Result("task_1")); a.status != 200 {
		t.Errorf("%+v", a)
	}
	status, body := get(t, c, "http://"+r.AdminAddr()+"/readyz")
	if status != 200 || !strings.Contains(body, "does not take the key") || strings.Contains(body, apiKey) {
		t.Errorf("%d %s", status, body)
	}
	if _, metrics := get(t, c, "http://"+r.AdminAddr()+"/metrics"); !strings.Contains(metrics, `apixo_relay_apixo_requests_total{result="denied"} 1`) {
		t.Error("a refused key is not counted")
	}
}
