package receiver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

func TestLogLine(t *testing.T) {
	t.Parallel()
	r := start(t, tokenEnv)
	webhook := success("task_1")
	for i, test := range []struct {
		path, body string
		want       map[string]any // but for time and duration
	}{
		{goodPath, webhook, map[string]any{
			"level": "INFO", "msg": "webhook", "outcome": "published", "status": 200.0, "taskId": "task_1", "state": "success",
			"stream": "APIXO", "sequence": 1.0, "size": float64(len(webhook)), "sender": "127.0.0.1",
		}},
		{goodPath, webhook, map[string]any{
			"level": "INFO", "msg": "webhook", "outcome": "duplicate", "status": 200.0, "taskId": "task_1", "state": "success",
			"stream": "APIXO", "sequence": 1.0, "size": float64(len(webhook)), "sender": "127.0.0.1",
		}},
		{goodPath, drifted, map[string]any{
			"level": "INFO", "msg": "webhook", "outcome": "published", "status": 200.0, "taskId": "task_drifted", "state": "failed", "normalized": "failCode,other",
			"stream": "APIXO", "sequence": 2.0, "size": float64(len(drifted)), "sender": "127.0.0.1",
		}},
		{goodPath, "no JSON", map[string]any{
			"level": "WARN", "msg": "webhook", "outcome": "quarantined", "status": 400.0, "problem": "not-json", "reason": "invalid-json",
			"stream": "APIXO_QUARANTINE", "sequence": 1.0, "size": 7.0, "sender": "127.0.0.1",
		}},
		{goodPath, "[]", map[string]any{
			"level": "WARN", "msg": "webhook", "outcome": "quarantined", "status": 422.0, "problem": "not-a-result", "reason": "member-type",
			"stream": "APIXO_QUARANTINE", "sequence": 2.0, "size": 2.0, "sender": "127.0.0.1",
		}},
		{webhookPath, webhook, map[string]any{
			"level": "WARN", "msg": "webhook", "outcome": "unauthorized", "status": 401.0, "problem": "unauthorized",
			"size": 0.0, "sender": "127.0.0.1",
		}},
		{"/nowhere", webhook, map[string]any{
			"level": "WARN", "msg": "webhook", "outcome": "rejected", "status": 404.0, "problem": "not-found", "size": 0.0,
		}},
	} {
		r.post(t, test.path, test.body)
		got := maps.Clone(r.log.webhook(t, i+1))
		if took, ok := got["duration"].(float64); !ok || took < 0 || took > patience.Seconds() {
			t.Errorf("the duration is %v, seconds were expected", got["duration"])
		}
		delete(got, "time")
		delete(got, "duration")
		if !maps.Equal(got, test.want) {
			t.Errorf("logged %v\nwant   %v", got, test.want)
		}
	}
}

// Whoever is not let in cannot fill the log, and hides nobody's lines in it.
func TestLinesAboutStrangersAreFew(t *testing.T) {
	t.Parallel()
	r := start(t, tokenEnv)
	const burst = 100
	sent, omitted := 0, 0.0
	for deadline := time.Now().Add(patience); omitted == 0; sent++ {
		if time.Now().After(deadline) {
			t.Fatalf("no line about %d requests of strangers says how many were left out", sent)
		}
		// Without a body, so that the connection is kept and lines have the order of requests.
		path := []string{webhookPath, "/nowhere", webhookPath + "/another-token-0123"}[sent%3]
		r.post(t, path, "")
		if sent < burst {
			r.log.webhook(t, sent+1)
			continue
		}
		if n := r.log.count(); n > burst {
			omitted, _ = r.log.webhook(t, n)["omitted"].(float64)
		}
	}
	r.post(t, goodPath, success("task_1"))
	strangers := burst
	for r.log.webhook(t, strangers+1)["outcome"] != "published" {
		strangers++
	}
	// The last one sent may have been answered before the line was written of the one before.
	if want := float64(sent - strangers); omitted != want && omitted != want-1 {
		t.Errorf("%v requests were left out, of %d with %d lines", omitted, sent, strangers)
	}
}

// Nothing that a sender writes makes a line of its own, or a part of one, and
// every request has exactly one.
func TestLogInjection(t *testing.T) {
	t.Parallel()
	for format, start := range map[string]string{"json": `{"time":"`, "text": "time="} {
		for _, breaker := range []string{"\n", "\r\n", "\r", "\u2028", "\x1b[2J", "\x00", `" forged="`, " forged=1 "} {
			t.Run(fmt.Sprintf("%s %q", format, breaker), func(t *testing.T) {
				t.Parallel()
				r := startWith(t, storeFunc(func(context.Context, event.Message) (store.Receipt, error) {
					return store.Receipt{Stream: "APIXO", Sequence: 1}, nil
				}), "RELAY_TRUSTED_PROXIES=127.0.0.1", "RELAY_LOG_FORMAT="+format)
				requests := r.postEvil(t, "a"+breaker+start+`forged","msg":"webhook"}`+breaker)
				r.Close()
				lines := strings.Split(strings.TrimSuffix(r.log.text(), "\n"), "\n")
				if len(lines) != requests {
					t.Errorf("%d lines about %d requests:\n%s", len(lines), requests, r.log.text())
				}
				for _, line := range lines {
					if !strings.HasPrefix(line, start) || strings.Contains(line, "forged") || strings.ContainsAny(line, "\r\x00\x1b\u2028") {
						t.Errorf("logged %q", line)
					}
				}
			})
		}
	}
}

// postEvil puts a text into every place that a sender can write to, and returns
// how many requests it made of it.
func (r *relay) postEvil(t *testing.T, evil string) (requests int) {
	t.Helper()
	encoded, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	inJSON, inURL := string(encoded), url.QueryEscape(evil)
	inHeader := strings.Map(func(c rune) rune { // which takes no control characters but the tab
		if c < ' ' {
			return '\t'
		}
		return c
	}, evil)
	post := func(path, body string, changes ...change) {
		t.Helper()
		r.post(t, path, body, changes...)
		requests++
	}
	task := func(members string) string { return `{"data":{` + members + `}}` }
	post(webhookPath, evil)
	post(webhookPath, `{`+inJSON+`:1,`+inJSON+`:2}`)
	post(webhookPath, task(`"taskId":`+inJSON+`,"state":"success"`))
	post(webhookPath, task(`"taskId":"task_1","state":`+inJSON))
	post(webhookPath, task(`"taskId":"task_1","state":"failed","failCode":`+inJSON+`,"failMsg":`+inJSON))
	post(webhookPath, task(`"taskId":"task_1","state":"success","resultJson":`+inJSON))
	post(webhookPath+"/"+inURL+"?"+inURL+"="+inURL+"&model="+inURL+"&traceparent="+inURL, success("task_1"))
	post("/"+inURL, success("task_1"))
	post(webhookPath, success("task_1"), header("X-Forwarded-For", inHeader), header("Forwarded", "for="+inHeader))
	post(webhookPath, success("task_1"), header("Content-Type", inHeader), header("Content-Encoding", inHeader))
	post(webhookPath, success("task_1"), header("User-Agent", inHeader), basic(evil))
	post(webhookPath, "", method("EVIL"))
	return requests
}
