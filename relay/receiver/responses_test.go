package receiver_test

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	goodToken = "tok-9f3c2a7d51e84b06"
	tokenEnv  = "RELAY_WEBHOOK_TOKENS=" + goodToken
	goodPath  = webhookPath + "/" + goodToken
)

func TestWebhookIsStoredAsItCame(t *testing.T) {
	t.Parallel()
	r := start(t, tokenEnv)
	r.post(t, goodPath, success("task_1")).wantStored(t, receipt{"task_1", "APIXO", 1, false})
	r.post(t, goodPath, failed("task_2", "NSFW")).wantStored(t, receipt{"task_2", "APIXO", 2, false})
	r.wantCounts(t, 2, 0)

	for i, want := range []struct{ id, subject, typ, state string }{
		{"task_1", "apixo.task.success", schema.TypeTaskSuccess, "success"},
		{"task_2", "apixo.task.failed", schema.TypeTaskFailed, "failed"},
	} {
		msg, e := r.stored(t, "APIXO")[i], r.events(t, "APIXO")[i]
		if msg.Subject != want.subject || msg.Header.Get("Nats-Msg-Id") != want.id || msg.Header.Get("Content-Type") != "application/cloudevents+json" {
			t.Errorf("the message is on %s with the headers %v", msg.Subject, msg.Header)
		}
		if e.ID != want.id || e.Subject != want.id || e.Type != want.typ || e.Source != "https://api.apixo.ai" {
			t.Errorf("the event is %+v", e)
		}
		task, err := e.Task()
		if err != nil || task.ID != want.id || string(task.State) != want.state {
			t.Errorf("the task is %+v, %v", task, err)
		}
	}
}

// Whatever is not stored leaves no trace in either stream; whatever cannot be
// understood is in the quarantine, to the byte.
func TestAnswers(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 65) + strings.Repeat("]", 65)
	type row struct {
		name, path, body string
		changes          []change
		status           int
		slug, code       string // a code means that the body is kept
		header           http.Header
	}
	rejected := func(name, body string, status int, slug, code string) row {
		return row{name: name, path: goodPath, body: body, status: status, slug: slug, code: code}
	}
	task := func(members string) string { return `{"code":200,"data":{` + members + `}}` }
	ask := http.Header{"Www-Authenticate": {`Bearer realm="apixo-relay"`, `Basic realm="apixo-relay"`}}
	for _, test := range []row{
		rejected("empty body", "", 400, "not-json", schema.CodeEmpty),
		rejected("white space", " \r\n\t", 400, "not-json", schema.CodeEmpty),
		rejected("no JSON", "taskId=task_1&state=success", 400, "not-json", schema.CodeSyntax),
		rejected("cut off", success("task_1")[:40], 400, "not-json", schema.CodeSyntax),
		rejected("invalid UTF-8", task("\"taskId\":\"task_\xff\""), 400, "not-json", schema.CodeInvalidUTF8),
		rejected("trailing data", success("task_1")+"{}", 400, "not-json", schema.CodeTrailingData),
		rejected("member twice", task(`"taskId":"a","taskId":"b","state":"success"`), 400, "not-json", schema.CodeDuplicateMember),
		rejected("nests too deep", task(`"taskId":"a","state":"success","more":`+deep), 400, "not-json", schema.CodeTooDeep),

		rejected("array", "[1]", 422, "not-a-result", schema.CodeMemberType),
		rejected("no data", `{"code":200}`, 422, "not-a-result", schema.CodeMemberMissing),
		rejected("no taskId", task(`"state":"success"`), 422, "not-a-result", schema.CodeMemberMissing),
		rejected("taskId with a space", task(`"taskId":"a b","state":"success"`), 422, "not-a-result", schema.CodeTaskID),
		rejected("taskId of 129 characters", success(strings.Repeat("a", 129)), 422, "not-a-result", schema.CodeTaskID),
		rejected("taskId is a number", task(`"taskId":7,"state":"success"`), 422, "not-a-result", schema.CodeMemberType),
		rejected("no state", task(`"taskId":"a"`), 422, "not-a-result", schema.CodeMemberMissing),
		rejected("not final", task(`"taskId":"a","state":"processing"`), 422, "not-a-result", schema.CodeState),
		rejected("resultJson is a number", task(`"taskId":"a","state":"success","resultJson":12`), 422, "not-a-result", schema.CodeMemberType),
		rejected("broken resultJson", task(`"taskId":"a","state":"success","resultJson":"{"`), 422, "not-a-result", schema.CodeResultJSON),

		{name: "no token", path: webhookPath, body: success("task_1"), status: 401, slug: "unauthorized", header: ask},
		{name: "wrong token", path: webhookPath + "/0123456789abcdef", body: success("task_1"), status: 401, slug: "unauthorized", header: ask},
		{name: "wrong token, no JSON", path: webhookPath + "/0123456789abcdef", body: "x", status: 401, slug: "unauthorized", header: ask},
		{name: "other path", path: "/", body: success("task_1"), status: 404, slug: "not-found"},
		{name: "longer path", path: webhookPath + "s/" + goodToken, body: success("task_1"), status: 404, slug: "not-found"},
		{name: "shorter path", path: "/webhook", body: success("task_1"), status: 404, slug: "not-found"},
		{name: "GET", path: goodPath, changes: []change{method("GET")}, status: 405, slug: "method-not-allowed", header: http.Header{"Allow": {"POST"}}},
		{name: "PUT", path: goodPath, body: success("task_1"), changes: []change{method("PUT")}, status: 405, slug: "method-not-allowed", header: http.Header{"Allow": {"POST"}}},
		{name: "OPTIONS", path: goodPath, changes: []change{method("OPTIONS")}, status: 405, slug: "method-not-allowed", header: http.Header{"Allow": {"POST"}}},
		{name: "form", code: schema.ReasonContentType, path: goodPath, body: success("task_1"), changes: []change{header("Content-Type", "application/x-www-form-urlencoded")}, status: 415, slug: "unsupported-media-type", header: http.Header{"Accept-Post": {"application/json"}, "Accept-Encoding": {"identity"}}},
		{name: "gzip", code: schema.ReasonContentEncoding, path: goodPath, body: success("task_1"), changes: []change{header("Content-Encoding", "gzip")}, status: 415, slug: "unsupported-media-type", header: http.Header{"Accept-Post": {"application/json"}, "Accept-Encoding": {"identity"}}},
		{name: "too large", path: goodPath, body: strings.Repeat(" ", 262144) + success("task_1"), status: 413, slug: "body-too-large"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, tokenEnv)
			got := r.post(t, test.path, test.body, test.changes...)
			problem := got.wantProblem(t, test.status, test.slug)
			for name, want := range test.header {
				if !slices.Equal(got.header.Values(name), want) {
					t.Errorf("%s is %q, want %q", name, got.header.Values(name), want)
				}
			}
			if test.code == "" {
				if problem.Quarantined != nil {
					t.Errorf("the answer says that the body is kept: %s", got.body)
				}
				r.wantCounts(t, 0, 0)
				return
			}
			if problem.Code != test.code || problem.Quarantined == nil || *problem.Quarantined != (place{"APIXO_QUARANTINE", 1}) {
				t.Errorf("answered %s, want the code %s and where the body is kept", got.body, test.code)
			}
			r.wantCounts(t, 0, 1)
			kept := r.events(t, "APIXO_QUARANTINE")[0]
			if string(kept.Data) != test.body || kept.Type != schema.TypeWebhookRejected || kept.Extensions["reason"] != test.code {
				t.Errorf("%q is kept as %+v", test.body, kept)
			}
		})
	}
}

// APIXO's retries of one bad body are kept once, and the answer still says where.
func TestBadBodyIsKeptOnce(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, body := range []string{"bad", "worse", "bad", "bad"} {
		problem := r.post(t, webhookPath, body).wantProblem(t, 400, "not-json")
		want := place{"APIXO_QUARANTINE", map[string]uint64{"bad": 1, "worse": 2}[body]}
		if problem.Quarantined == nil || *problem.Quarantined != want {
			t.Errorf("%q is said to be kept at %+v, want %+v", body, problem.Quarantined, want)
		}
	}
	r.wantCounts(t, 0, 2)
	msg := r.stored(t, "APIXO_QUARANTINE")[0]
	if msg.Subject != "apixo.quarantine.rejected" || !strings.Contains(string(msg.Data), base64.StdEncoding.EncodeToString([]byte("bad"))) {
		t.Errorf("kept on %s: %s", msg.Subject, msg.Data)
	}
}
