package browser

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

// webhook is what APIXO posts of a task.
type webhook struct {
	id string
	// urls are those of the result; a task that has a fail code has failed.
	urls              []string
	failCode, failMsg string
	// model stands in the query.
	model string
	// ended is how long ago it ended.
	ended time.Duration
}

// picture1 is a good webhook of a task with one picture.
func picture1(id string) webhook {
	return webhook{id: id, model: "nano-banana", urls: []string{"https://" + cdnHost + "/output/" + id + ".jpg"}}
}

// failure is one of a task that has failed.
func failure(id, code, message string) webhook {
	return webhook{id: id, model: "flux-kontext", failCode: code, failMsg: message}
}

// body is what is posted.
func (w webhook) body() string {
	end := time.Now().Add(-w.ended).Truncate(time.Millisecond)
	data := map[string]any{
		"taskId": w.id, "state": "success", "costTime": 12500, "createTime": end.Add(-12500 * time.Millisecond).UnixMilli(), "completeTime": end.UnixMilli(),
	}
	if w.failCode != "" {
		data["state"], data["failCode"], data["failMsg"], data["resultJson"] = "failed", w.failCode, w.failMsg, nil
	} else {
		data["resultJson"] = marshal(map[string]any{"resultUrls": append([]string{}, w.urls...)})
	}
	return marshal(map[string]any{"code": 200, "message": "success", "data": data})
}

func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // values of these tests have a form in JSON
	}
	return string(b)
}

// answer is what the relay says to a webhook.
type answer struct {
	status      int
	Sequence    uint64
	Duplicate   bool
	Conflict    bool
	Quarantined struct{ Sequence uint64 }
}

// send posts a body to the relay as a webhook.
func (r relay) send(t testing.TB, body string, query url.Values) (a answer) {
	t.Helper()
	target := r.Webhooks
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	status, _, text := ask(t, "POST", target, body, "Content-Type: application/json")
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("the relay answers %d with what is no JSON: %s", status, text)
	}
	a.status = status
	return a
}

// deliver posts webhooks, which have to be stored, and returns their sequences.
func (r relay) deliver(t testing.TB, webhooks ...webhook) (sequences []uint64) {
	t.Helper()
	for _, w := range webhooks {
		var query url.Values
		if w.model != "" {
			query = url.Values{"model": {w.model}}
		}
		a := r.send(t, w.body(), query)
		if a.status != 200 {
			t.Fatalf("the webhook of %s is answered %d", w.id, a.status)
		}
		sequences = append(sequences, a.Sequence)
	}
	return sequences
}

// reject posts a body that has to be quarantined, and returns its sequence there.
func (r relay) reject(t testing.TB, body string) uint64 {
	t.Helper()
	return r.rejectOf(t, "", body)
}

// rejectOf is reject for a task of a model.
func (r relay) rejectOf(t testing.TB, model, body string) uint64 {
	t.Helper()
	var query url.Values
	if model != "" {
		query = url.Values{"model": {model}}
	}
	a := r.send(t, body, query)
	if a.Quarantined.Sequence == 0 {
		t.Fatalf("%s is not quarantined, but answered %d", cut(body, 200), a.status)
	}
	return a.Quarantined.Sequence
}

// conflict posts another outcome of a task that is stored, which has to be quarantined.
func (r relay) conflict(t testing.TB, w webhook) {
	t.Helper()
	if a := r.send(t, w.body(), nil); !a.Conflict {
		t.Fatalf("the webhook of %s contradicts nothing: %+v", w.id, a)
	}
}

// announce announces tasks to the relay.
func (r relay) announce(t testing.TB, model string, ids ...string) {
	t.Helper()
	base, _, _ := strings.Cut(r.Webhooks, "/webhook/")
	for _, id := range ids {
		status, _, text := ask(t, "POST", base+"/expect", fmt.Sprintf(`{"taskId":%q,"model":%q}`, id, model), "Content-Type: application/json")
		if status != 200 {
			t.Fatalf("the announcement of %s is answered %d: %s", id, status, text)
		}
	}
}
