package receiver_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/schema"
)

// Headers that say nothing untrue of the body do no harm; what they refuse is kept.
func TestContentType(t *testing.T) {
	t.Parallel()
	const ascii, utf8, latin = "plain", "ä🍌", "\xe4"
	r := start(t, tokenEnv)
	good, kept := 0, 0
	for n, test := range []struct {
		values []string
		text   string // in the body
		good   bool
	}{
		{nil, utf8, true},
		{[]string{""}, utf8, true},
		{[]string{"application/json"}, utf8, true},
		{[]string{"Application/JSON"}, utf8, true},
		{[]string{"application/json; charset=utf-8"}, utf8, true},
		{[]string{`application/json;charset="UTF-8"`}, utf8, true},
		{[]string{"application/json; charset=utf8"}, utf8, true},
		{[]string{"application/json; charset=UTF_8"}, utf8, true},
		{[]string{"application/json; charset=utf8mb4"}, utf8, true},
		{[]string{"application/json; charset='utf-8'"}, utf8, true},
		{[]string{"application/json; charset="}, utf8, true},
		{[]string{`application/json; charset=""`}, utf8, true},
		{[]string{"application/json; charset"}, utf8, true},
		{[]string{"application/json;"}, utf8, true},
		{[]string{"application/json; ; charset=utf-8;"}, utf8, true},
		{[]string{`application/json; charset="utf-8`}, utf8, true},
		{[]string{"application/json; charset=us-ascii"}, utf8, true},
		{[]string{"application/json; charset=ASCII"}, ascii, true},
		{[]string{"application/json; version=1"}, utf8, true},
		{[]string{`application/json; x="a, b;c"`}, utf8, true},
		{[]string{`application/json; x="a,\";b"; y, application/json`}, utf8, true},
		{[]string{`application/json; x="a;charset=utf-16"; y`}, utf8, true},
		{[]string{"application/json; charset=utf-8; charset=utf-8"}, utf8, true},
		{[]string{"application/vnd.apixo.task+json"}, utf8, true},
		{[]string{"text/json"}, utf8, true},
		{[]string{"application/json", "application/json"}, utf8, true},
		{[]string{"application/json", "Application/JSON; charset=utf-8"}, utf8, true},
		{[]string{"application/json, application/json"}, utf8, true},
		{[]string{"application/json; charset=iso-8859-1"}, ascii, true},
		{[]string{"application/json; charset=latin1"}, ascii, true},
		{[]string{"application/json; charset=Windows-1252"}, ascii, true},
		{[]string{"application/json; charset=cp1251"}, ascii, true},
		{[]string{"application/json; charset=GBK"}, ascii, true},
		{[]string{"application/json; charset=Shift_JIS"}, ascii, true},
		{[]string{"application/json; charset=KOI8-R"}, ascii, true},

		{[]string{"application/json; charset=iso-8859-1"}, utf8, false},
		{[]string{"application/json; charset=iso-8859-1"}, latin, false},
		{[]string{"application/json; charset=gb18030"}, utf8, false},
		{[]string{"application/json; charset=utf-16"}, ascii, false},
		{[]string{"application/json; charset=utf-32le"}, ascii, false},
		{[]string{"application/json; charset=utf-7"}, ascii, false},
		{[]string{"application/json; charset=iso-2022-jp"}, ascii, false},
		{[]string{"application/json; charset=ibm037"}, ascii, false},
		{[]string{"application/json; charset=klingon"}, ascii, false},
		{[]string{"application/json; charset=utf-8; charset=utf-16"}, ascii, false},
		{[]string{"text/plain"}, ascii, false},
		{[]string{"text/html; charset=utf-8"}, ascii, false},
		{[]string{"application/octet-stream"}, ascii, false},
		{[]string{"application/x-www-form-urlencoded"}, ascii, false},
		{[]string{"multipart/form-data; boundary=b"}, ascii, false},
		{[]string{"application/jsonl"}, ascii, false},
		{[]string{"application/json-seq"}, ascii, false},
		{[]string{"image/x+json"}, ascii, false},
		{[]string{"json"}, ascii, false},
		{[]string{"*/*"}, ascii, false},
		{[]string{";"}, ascii, false},
		{[]string{"application/json, text/plain"}, ascii, false},
		{[]string{"application/json", "text/plain"}, ascii, false},
		{[]string{"application/json", "application/json; charset=utf-16"}, ascii, false},
	} {
		body := strings.Replace(success(fmt.Sprintf("task_%d", n)), `"message":"success"`, `"message":"`+test.text+`"`, 1)
		got := r.post(t, goodPath, body, header("Content-Type", test.values...))
		if test.good {
			good++
			if got.status != http.StatusOK {
				t.Errorf("%q: answered %d", test.values, got.status)
			}
			continue
		}
		kept++
		r.wantKeptUnread(t, got, body, schema.ReasonContentType, fmt.Sprint(test.values))
	}
	r.wantCounts(t, good, kept)
}

func TestContentEncoding(t *testing.T) {
	t.Parallel()
	r := start(t, tokenEnv)
	good := [][]string{{"identity"}, {""}, {"identity, identity"}, {"identity", "identity"}, {"Identity", ""}, {" , "}, {"utf-8"}, {"UTF8"}}
	for i, values := range good {
		if got := r.post(t, goodPath, success(fmt.Sprintf("task_%d", i)), header("Content-Encoding", values...)); got.status != http.StatusOK {
			t.Errorf("%q: answered %d", values, got.status)
		}
	}
	bad := [][]string{{"gzip"}, {"deflate"}, {"br"}, {"zstd"}, {"gzip, identity"}, {"identity", "gzip"}, {"x"}, {"iso-8859-1"}}
	for i, values := range bad {
		body := fmt.Sprintf("\x1f\x8b\x08%d", i)
		r.wantKeptUnread(t, r.post(t, goodPath, body, header("Content-Encoding", values...)), body, schema.ReasonContentEncoding, fmt.Sprint(values))
	}
	r.wantCounts(t, len(good), len(bad))
}

// wantKeptUnread fails the test unless a body is kept for what its headers say.
func (r *relay) wantKeptUnread(t *testing.T, got reply, body, reason, about string) {
	t.Helper()
	problem := got.wantProblem(t, http.StatusUnsupportedMediaType, "unsupported-media-type")
	if problem.Quarantined == nil || problem.Quarantined.Stream != schema.DefaultQuarantine || problem.Code != reason {
		t.Fatalf("%s: it is not kept, or for another reason: %s", about, got.body)
	}
	events := r.events(t, schema.DefaultQuarantine)
	e := events[problem.Quarantined.Sequence-1]
	_, err := schema.ParseWebhook([]byte(body))
	wantType := "application/json"
	if err != nil {
		wantType = "application/octet-stream"
	}
	if string(e.Data) != body || e.Reason() != reason || e.Detail() != problem.Detail || e.Type != schema.TypeWebhookRejected || e.DataContentType != wantType {
		t.Errorf("%s: kept as %+v", about, e)
	}
}

// What is refused for its headers is kept once, as any other; within the limits, and
// for nobody without a token.
func TestWhatHeadersRefuseIsKeptLikeTheRest(t *testing.T) {
	t.Parallel()
	r := start(t, tokenEnv, "RELAY_MAX_BODY_BYTES=1024", "RELAY_CALLBACK_ATTRIBUTES=model")
	text := header("Content-Type", "text/plain")
	body := success("task_1")
	for range 2 {
		r.wantKeptUnread(t, r.post(t, goodPath+"?model=m", body, text), body, schema.ReasonContentType, "a webhook")
	}
	if e := r.events(t, schema.DefaultQuarantine)[0]; e.Model() != "m" {
		t.Errorf("kept with the attributes %v", e.Extensions)
	}
	r.post(t, webhookPath, success("task_2"), text).wantProblem(t, http.StatusUnauthorized, "unauthorized")
	r.post(t, goodPath, strings.Repeat(" ", 1025), text).wantProblem(t, http.StatusRequestEntityTooLarge, "body-too-large")
	r.post(t, goodPath, strings.Repeat(" ", 1025), text, chunked).wantProblem(t, http.StatusRequestEntityTooLarge, "body-too-large")
	r.wantCounts(t, 0, 1)
	if line := r.log.webhook(t, 1); line["outcome"] != "quarantined" || line["reason"] != schema.ReasonContentType || line["taskId"] != nil {
		t.Errorf("logged %v", line)
	}
	// Said in the right way, it is a task's result.
	r.post(t, goodPath, body).wantStored(t, receipt{"task_1", "APIXO", 1, false})
}
