package send

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
)

// roundTrip is a transport without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// receiver is an HTTP server that notes what arrived.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
}

// receive starts a receiver. Each request is answered by the handler, which is
// told which one it is, from 1.
func receive(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, nth int)) *receiver {
	t.Helper()
	rec := &receiver{}
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		rec.mu.Lock()
		rec.bodies = append(rec.bodies, string(body))
		nth := len(rec.bodies)
		rec.mu.Unlock()
		answer(w, r, nth)
	}))
	t.Cleanup(rec.Close)
	return rec
}

func (rec *receiver) arrived() []string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return slices.Clone(rec.bodies)
}

// taskIDs are those of the webhooks that arrived, in that order.
func (rec *receiver) taskIDs(t *testing.T) (ids []string) {
	t.Helper()
	for _, body := range rec.arrived() {
		var webhook struct {
			Data struct {
				TaskID string `json:"taskId"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(body), &webhook); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, webhook.Data.TaskID)
	}
	return ids
}

// options are for one sample webhook to the URL.
func options(t *testing.T, to string) Options {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	transport := httpclient.NewTransport(8, nil, nil)
	t.Cleanup(transport.CloseIdleConnections)
	return Options{URL: u, Transport: transport, Payloads: []Payload{sample(t, Success)}, Count: 1, Concurrency: 1}
}

func mustRun(t *testing.T, o Options) Summary {
	t.Helper()
	s, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if s.Delivered+s.Failed+s.Unfinished+s.NotStarted != s.Webhooks {
		t.Errorf("the webhooks do not add up: %+v", s)
	}
	return s
}

func TestRunDelivers(t *testing.T) {
	t.Parallel()
	rec := receive(t, func(w http.ResponseWriter, r *http.Request, nth int) {
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("User-Agent") != userAgent || r.URL.Path != "/webhook/apixo" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		switch {
		case nth%10 == 0:
			io.WriteString(w, `{"duplicate":true,"conflict":true,"sequence":1}`)
		case nth%5 == 0:
			io.WriteString(w, `{"duplicate":true}`)
		case nth%7 == 0:
			io.WriteString(w, `{"duplicate":"yes"}`)
		default:
			io.WriteString(w, "OK")
		}
	})
	o := options(t, rec.URL+"/webhook/apixo")
	o.Count, o.Concurrency = 100, 8
	s := mustRun(t, o)
	if !s.AllDelivered() || s.Delivered != 100 || s.Attempts != 100 || s.Duplicates != 20 || s.Conflicts != 10 || s.Latency.Samples != 100 || s.Answer != nil || s.Target != rec.URL {
		t.Errorf("summary %+v", s)
	}
	ids := rec.taskIDs(t)
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 100 {
		t.Errorf("of 100 task ids, %d differ", len(slices.Compact(ids)))
	}
}

func TestRunTakesPayloadsInTurn(t *testing.T) {
	t.Parallel()
	rec := receive(t, func(http.ResponseWriter, *http.Request, int) {})
	o := options(t, rec.URL)
	o.Count = 2
	o.Payloads = []Payload{File("a", []byte("{"), false), File("b", []byte("[]"), false)}
	if s := mustRun(t, o); s.Delivered != 4 {
		t.Errorf("summary %+v", s)
	}
	if got := rec.arrived(); !slices.Equal(got, []string{"{", "[]", "{", "[]"}) {
		t.Errorf("arrived %q", got)
	}
}

func TestRunWithOneTaskID(t *testing.T) {
	t.Parallel()
	rec := receive(t, func(http.ResponseWriter, *http.Request, int) {})
	o := options(t, rec.URL)
	o.Count, o.TaskID = 3, "task_abc123xyz"
	mustRun(t, o)
	bodies := rec.arrived()
	if len(slices.Compact(bodies)) != 1 || !strings.Contains(bodies[0], `"taskId":"task_abc123xyz"`) {
		t.Errorf("arrived %q", bodies)
	}
}

// Only 200 will do, and where a redirect leads nobody goes.
func TestRunCountsEverythingBut200AsFailed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{202, 204, 301, 307, 308, 400, 401, 404, 413, 429, 500, 503, 599} {
		t.Run(httpclient.StatusLine(status, ""), func(t *testing.T) {
			t.Parallel()
			rec := receive(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
			})
			s := mustRun(t, options(t, rec.URL))
			if s.AllDelivered() || s.Failed != 1 || len(s.Answers) != 1 || s.Answers[0].Status != status || s.Answer.Status != status || len(rec.arrived()) != 1 {
				t.Errorf("summary %+v", s)
			}
		})
	}
}

func TestRunTriesAgain(t *testing.T) {
	t.Parallel()
	rec := receive(t, func(w http.ResponseWriter, _ *http.Request, nth int) {
		if nth < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	o := options(t, rec.URL)
	o.Retries, _ = RetrySchedule(0)
	var attempts []Attempt
	last := time.Duration(0)
	o.OnAttempt = func(a Attempt) {
		if a.Latency <= 0 || a.At < last+a.Latency {
			t.Errorf("attempt %d took %s and ended after %s, the one before after %s", a.Number, a.Latency, a.At, last)
		}
		last, a.At, a.Latency = a.At, 0, 0 // which cannot be foretold
		attempts = append(attempts, a)
	}
	s := mustRun(t, o)
	if s.Delivered != 1 || !slices.Equal(s.DeliveredAt, []int{0, 0, 1, 0}) || s.Attempts != 3 || !slices.Equal(s.Answers, []AnswerCount{{Status: 200, Count: 1}, {Status: 503, Count: 2}}) {
		t.Errorf("summary %+v", s)
	}
	bodies := rec.arrived()
	if len(bodies) != 3 || len(slices.Compact(bodies)) != 1 {
		t.Errorf("the attempts differ: %q", bodies)
	}
	id := s.Answer.TaskID
	if want := []Attempt{
		{TaskID: id, Number: 1, Status: 503, Retrying: true, Waiting: 1},
		{TaskID: id, Number: 2, Status: 503, Retrying: true, Waiting: 1},
		{TaskID: id, Number: 3, Status: 200, Delivered: 1},
	}; !slices.Equal(attempts, want) {
		t.Errorf("attempts %+v, want %+v", attempts, want)
	}
}

func TestRunAbandons(t *testing.T) {
	t.Parallel()
	rec := receive(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusServiceUnavailable) })
	o := options(t, rec.URL)
	o.Count, o.Concurrency = 5, 2
	o.Retries, _ = RetrySchedule(0)
	if s := mustRun(t, o); s.Failed != 5 || s.Attempts != 20 {
		t.Errorf("summary %+v", s)
	}
}

// With one slot and a first webhook that waits for an hour, the others still
// go out; and stopping then leaves one unfinished.
func TestRunGoesOnWhileOneWaits(t *testing.T) {
	t.Parallel()
	rec := receive(t, func(w http.ResponseWriter, _ *http.Request, nth int) {
		if nth == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := options(t, rec.URL)
	o.Count = 10
	o.Retries, _ = RetrySchedule(120)
	o.OnAttempt = func(a Attempt) {
		if a.Delivered == 9 {
			cancel()
		}
	}
	s, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || s.Delivered != 9 || s.Unfinished != 1 || s.NotStarted != 0 {
		t.Errorf("%v, summary %+v", err, s)
	}
}

func TestRunStops(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rec := receive(t, func(_ http.ResponseWriter, r *http.Request, nth int) {
		if nth == 3 {
			cancel()
			<-r.Context().Done() // never answered
		}
	})
	o := options(t, rec.URL)
	o.Count = 1000
	o.Retries, _ = RetrySchedule(1)
	s, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || s.Delivered != 2 || s.Failed != 0 || s.Unfinished != 1 || s.NotStarted != 997 {
		t.Errorf("%v, summary %+v", err, s)
	}
	if last := s.Answers[len(s.Answers)-1]; last.Error != httpclient.CauseInterrupted || last.Count != 1 {
		t.Errorf("answers %+v", s.Answers)
	}
}

func TestRunStoppedBeforeItBegins(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := options(t, "http://127.0.0.1:1")
	o.Count, o.Concurrency, o.Rate = 100, 4, 1
	s, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || s.NotStarted != 100 || s.Attempts != 0 || s.Answers == nil || s.Latency != nil {
		t.Errorf("%v, summary %+v", err, s)
	}
}
