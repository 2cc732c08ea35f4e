package backfill_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/backfill"
	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
)

// Every documented answer, and slow, cut and malformed ones.
func TestAnswers(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with %v", r.Header)
	}))
	t.Cleanup(elsewhere.Close)
	tests := map[string]struct {
		answers      []fakeapi.Answer
		result       string
		state, error string
		asked        int
	}{
		"success":        {[]fakeapi.Answer{fakeapi.Success}, backfill.Stored, "success", "", 1},
		"failure":        {[]fakeapi.Answer{fakeapi.Failure}, backfill.Stored, "failed", "", 1},
		"pending":        {[]fakeapi.Answer{fakeapi.State("pending")}, backfill.Pending, "pending", "", 1},
		"processing":     {[]fakeapi.Answer{fakeapi.State("processing")}, backfill.Pending, "processing", "", 1},
		"other-state":    {[]fakeapi.Answer{fakeapi.State("cancelled " + key)}, backfill.Failed, "cancelled …", `its state is "cancelled …"`, 1},
		"400":            {[]fakeapi.Answer{fakeapi.Error(400, "Bad model")}, backfill.Failed, "", "400 Bad Request: Bad model", 1},
		"402":            {[]fakeapi.Answer{fakeapi.Error(402, "No credits for "+key)}, backfill.Failed, "", "402 Payment Required: No credits for …", 1},
		"403":            {[]fakeapi.Answer{fakeapi.Error(403, "Not yours")}, backfill.Failed, "", "403 Forbidden: Not yours", 1},
		"404":            {[]fakeapi.Answer{fakeapi.Error(404, "Task not found")}, backfill.Unknown, "", "404 Not Found: Task not found", 1},
		"hidden-404":     {[]fakeapi.Answer{fakeapi.Hidden(404, "Task not found")}, backfill.Unknown, "", "404 Not Found: Task not found", 1},
		"500":            {[]fakeapi.Answer{fakeapi.Error(500, "Oops "+key)}, backfill.Failed, "", "500 Internal Server Error: Oops … (3 times)", 3},
		"503-then":       {[]fakeapi.Answer{fakeapi.Error(503, "Away"), fakeapi.Hidden(500, "Oops"), fakeapi.Success}, backfill.Stored, "success", "", 3},
		"429-then":       {[]fakeapi.Answer{fakeapi.Error(429, "Slow down"), fakeapi.Success}, backfill.Stored, "success", "", 2},
		"408-then":       {[]fakeapi.Answer{fakeapi.Error(408, "Slow"), fakeapi.State("pending")}, backfill.Pending, "pending", "", 2},
		"cut":            {[]fakeapi.Answer{fakeapi.Cut}, backfill.Failed, "", "no answer: answer broken off", 3},
		"cut-then":       {[]fakeapi.Answer{fakeapi.Cut, fakeapi.Success}, backfill.Stored, "success", "", 2},
		"half":           {[]fakeapi.Answer{fakeapi.Body(200, `{"code":200,"data":{"taskId":"%s","state":"success"`)}, backfill.Failed, "", "the answer is no JSON", 3},
		"html":           {[]fakeapi.Answer{fakeapi.HTML(200)}, backfill.Failed, "", "the answer is no JSON: 200 OK: <html>", 3},
		"html-404":       {[]fakeapi.Answer{fakeapi.HTML(404)}, backfill.Failed, "", "look at APIXO_BASE_URL", 1},
		"large":          {[]fakeapi.Answer{fakeapi.Large(2048)}, backfill.Failed, "", "larger than 2048 bytes", 3},
		"slow-then":      {[]fakeapi.Answer{fakeapi.Silent, fakeapi.Success}, backfill.Stored, "success", "", 2},
		"slow":           {[]fakeapi.Answer{fakeapi.Silent}, backfill.Failed, "", "no answer: timeout: no whole answer in time (3 times)", 3},
		"redirect":       {[]fakeapi.Answer{fakeapi.Redirect(elsewhere.URL)}, backfill.Failed, "", "302 Found", 1},
		"other-task":     {[]fakeapi.Answer{fakeapi.Body(200, fakeapi.Result("task_1"))}, backfill.Failed, "success", `another task, "task_1"`, 1},
		"no-task":        {[]fakeapi.Answer{fakeapi.Body(200, `{"code":200,"data":{"state":"success"}}`)}, backfill.Failed, "success", "does not say which task", 1},
		"bad-result":     {[]fakeapi.Answer{fakeapi.Body(200, `{"code":200,"data":{"taskId":"%s","state":"success","resultJson":"{"}}`)}, backfill.Failed, "success", "is no result: the text in resultJson", 1},
		"twice-a-member": {[]fakeapi.Answer{fakeapi.Body(200, `{"code":200,"data":{"taskId":"task_1","taskId":"%s","state":"success"}}`)}, backfill.Failed, "success", "stands twice", 1},
		"other-case":     {[]fakeapi.Answer{fakeapi.Body(200, `{"code":200,"data":{"taskId":"task_1","TASKID":"%s","state":"success"}}`)}, backfill.Failed, "success", `another task, "task_1"`, 1},
	}
	b := open(t, "RELAY_MAX_BODY_BYTES=2048")
	var ids []string
	for name, test := range tests {
		b.api.Set(name, test.answers...)
		ids = append(ids, name)
	}
	out := b.run(t.Context(), t, func(o *backfill.Options) { o.Timeout = time.Second }, ids...)
	if out.err != nil {
		t.Fatal(out.err)
	}
	asked := b.api.Asked()
	for name, test := range tests {
		r := out.results[name]
		if r.Result != test.result || r.State != test.state || !strings.Contains(r.Error, test.error) || (r.Error == "") != (test.error == "") {
			t.Errorf("%s: %+v, want %+v", name, r, test)
		}
		if asked[name] != test.asked {
			t.Errorf("%s: asked %d times, want %d", name, asked[name], test.asked)
		}
		found := b.sequences(t, name)
		switch {
		case test.result != backfill.Stored && len(found) > 0:
			t.Errorf("%s: it is stored", name)
		case test.result == backfill.Stored && (len(found) != 1 || found[0] != r.Sequence || r.Stream != "APIXO"):
			t.Errorf("%s: it is at %v, and told to be at %d", name, found, r.Sequence)
		}
	}
	if stored := len(b.stored(t)); stored != out.summary.Stored {
		t.Errorf("%d events for %+v", stored, out.summary)
	}
	if quarantine, err := b.js.Stream(t.Context(), "APIXO_QUARANTINE"); err != nil || quarantine.CachedInfo().State.Msgs != 0 {
		t.Errorf("something is in the quarantine: %v", err)
	}
}

// While the API asks for a pause, nothing is asked.
func TestRetryAfterHoldsAll(t *testing.T) {
	t.Parallel()
	b := open(t)
	var pause atomicTime
	b.api.Set("first", func(w http.ResponseWriter, r *http.Request, id string) {
		fakeapi.RetryAfter(429, "1")(w, r, id)
		pause.set(time.Now())
	}, fakeapi.Success)
	b.api.Default(func(w http.ResponseWriter, r *http.Request, id string) {
		if since := time.Since(pause.get()); since > 100*time.Millisecond && since < 900*time.Millisecond {
			t.Errorf("%s was asked for %v after the API had asked for a pause of a second", id, since)
		}
		fakeapi.Success(w, r, id)
	})
	tasks := []string{"first"}
	for range 100 {
		tasks = append(tasks, "task_"+string(rune('A'+len(tasks)%26))+strings.Repeat("x", len(tasks)/26))
	}
	began := time.Now()
	out := b.run(t.Context(), t, nil, tasks...)
	if out.err != nil || out.summary.Stored != 101 || time.Since(began) < time.Second {
		t.Error(out.summary, out.err, time.Since(began))
	}
}

// No more is asked in a second than is allowed.
func TestRate(t *testing.T) {
	t.Parallel()
	b := open(t)
	began := time.Now()
	out := b.run(t.Context(), t, func(o *backfill.Options) { o.Rate = 20 }, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k")
	if took := time.Since(began); out.err != nil || out.summary.Requests != 11 || took < 500*time.Millisecond {
		t.Error(out.summary, out.err, took)
	}
}
