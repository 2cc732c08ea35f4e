package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/schema"
)

// consumer is a real HTTP server that gets events in binary mode.
func consumer(t testing.TB, handle func(w http.ResponseWriter, r *http.Request, id string)) replay.HTTPOptions {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// What is not read breaks the connection.
		_, _ = io.Copy(io.Discard, r.Body)
		handle(w, r, r.Header.Get("Ce-Id"))
	}))
	t.Cleanup(server.Close)
	return to(t, server.URL+"/events")
}

func to(t testing.TB, address string) replay.HTTPOptions {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	transport := httpclient.NewTransport(100, nil, nil)
	t.Cleanup(transport.CloseIdleConnections)
	return replay.HTTPOptions{
		URL: u, Transport: transport, Timeout: 10 * time.Second, Attempts: 3, Mode: event.Binary,
		Backoff: func() backoff.BackOff { return backoff.NewConstantBackOff(time.Millisecond) },
	}
}

// An event arrives as the HTTP binding has it, whichever mode it is stored in.
func TestHTTPModes(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 1)
	s.tasks(t, event.Binary, 2, 1)
	for _, mode := range []string{"structured", "binary"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			var got seen
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				e, err := schema.DecodeMessage(r.Header, body)
				if err != nil || e.Type != schema.TypeTaskSuccess || e.DataSchema != schema.TaskSchemaID || e.Extensions["model"] != "nano banana" || !strings.Contains(string(e.Data), `"n":1.50e+2`) {
					if r.Header.Get("Ce-Type") == "" || mode == "structured" {
						t.Errorf("%v: %v\n%s", err, r.Header, body)
					}
				}
				want := map[string]string{"structured": "application/cloudevents+json; charset=utf-8", "binary": "application/json"}[mode]
				user, password, _ := r.BasicAuth()
				if r.Method != "POST" || r.Header.Get("Content-Type") != want || user != "u" || password != "p" || r.Header.Get("X-Team") != "art" || r.Header.Get("User-Agent") != "apixo-relay-replay" {
					t.Errorf("%s %v", r.Method, r.Header)
				}
				if mode == "binary" && (r.Header.Get("Ce-Model") != "nano%20banana" || r.Header.Get("Ce-Datacontenttype") != "") {
					t.Errorf("the headers are %v", r.Header)
				}
				if mode == "structured" && r.Header.Get("Ce-Id") != "" {
					t.Errorf("the headers are %v", r.Header)
				}
				got.add(e.ID)
				w.WriteHeader(http.StatusAccepted)
			}))
			t.Cleanup(server.Close)
			h := to(t, strings.Replace(server.URL, "http://", "http://u:p@", 1))
			h.Header = http.Header{"X-Team": {"art"}}
			if err := h.ChooseMode(mode, "", false, false); err != nil {
				t.Fatal(err)
			}
			wantCounts(t, run(t.Context(), t, s, replay.HTTP(h), all(1)), 2, 0, 0, 0, 3)
			if got.times[id(1)] != 1 || got.times[id(2)] != 1 {
				t.Errorf("came: %v", got.order)
			}
		})
	}
}

// Each status means what it says: delivered, wrong for good, or to be tried again.
func TestHTTPStatuses(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const first, last = 200, 520
	s.tasks(t, event.Structured, 1, last-first)
	var got seen
	status := func(id string) int {
		n := 0
		_, _ = fmt.Sscanf(id, "task_%d", &n)
		return first + n - 1
	}
	h := consumer(t, func(w http.ResponseWriter, _ *http.Request, id string) {
		got.add(id)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status(id))
	})
	summary := run(t.Context(), t, s, replay.HTTP(h), all(1))
	wantCounts(t, summary, 100, last-first-100, 0, 0, 101)
	for id, times := range got.times {
		want := 1
		switch s := status(id); {
		case s == 501, s == 505:
		case s >= 500, s == 408, s == 425, s == 429:
			want = 3
		}
		if times != want {
			t.Errorf("%d was tried %d times, want %d", status(id), times, want)
		}
	}
	if len(summary.Failures) != 100 || summary.Failures[0].Sequence != 101 || !strings.Contains(summary.Failures[0].Reason, "300 Multiple Choices; redirects are not followed") {
		t.Errorf("%d failures, the first %+v", len(summary.Failures), summary.Failures[0])
	}
}

// Whatever a receiver does, and however often the replay has to be resumed, in the
// end each event has arrived.
func TestHTTPUnionIsEverything(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const n = 400
	s.tasks(t, event.Binary, 1, n)
	var taken seen
	var round atomic.Int32
	h := consumer(t, func(w http.ResponseWriter, r *http.Request, id string) {
		dice := rand.IntN(100)
		if round.Load() > 8 {
			dice = 99 // so that it comes to an end
		}
		switch {
		case dice < 2:
			w.WriteHeader(400)
		case dice < 5:
			w.WriteHeader(503)
		case dice < 7:
			reset(t, w)
		case dice < 9:
			panic(http.ErrAbortHandler)
		case dice < 11: // an answer that breaks off, of an event that is taken
			taken.add(id)
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("half"))
		case dice < 12: // no answer in time
			<-r.Context().Done()
		default:
			taken.add(id)
		}
	})
	h.Timeout, h.Attempts = 300*time.Millisecond, 2
	o := all(1)
	o.MaxFailures = 3
	for rounds := 1; ; rounds++ {
		round.Store(int32(rounds))
		ctx, cancel := context.WithCancel(t.Context())
		if rounds%2 == 0 {
			o.OnProgress = func(p replay.Progress) {
				if p.Read == 50 {
					cancel()
				}
			}
		}
		summary, err := replay.Run(ctx, s.conn, replay.HTTP(h), o)
		cancel()
		o.OnProgress = nil
		if err != nil && !errors.Is(err, replay.ErrStopped) && !errors.Is(err, replay.ErrTooManyFailures) {
			t.Fatal(err)
		}
		if done := summary.Complete() && err == nil; done != (summary.ResumeSequence == n+1) {
			t.Errorf("complete: %v, but it resumes from %d", done, summary.ResumeSequence)
		}
		for i := 1; i < int(summary.ResumeSequence); i++ {
			if taken.times[id(i)] == 0 {
				t.Fatalf("%s did not arrive, and is not to be delivered after round %d, from %d", id(i), rounds, summary.ResumeSequence)
			}
		}
		if summary.ResumeSequence == n+1 {
			break
		}
		o.Selection.FromSeq = summary.ResumeSequence
	}
}

// reset ends a connection as a host does that knows nothing of it.
func reset(t testing.TB, w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// Retry-After holds back all that is under way, not only the one that it came for.
func TestHTTPRetryAfter(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 20)
	var asked atomic.Pointer[time.Time]
	h := consumer(t, func(w http.ResponseWriter, _ *http.Request, id string) {
		now := time.Now()
		switch at := asked.Load(); {
		case id == id5 && at == nil:
			asked.Store(&now)
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(429)
		// Those that were on their way then come a little later.
		case at != nil && now.Sub(*at) > 300*time.Millisecond && now.Sub(*at) < time.Second:
			t.Errorf("%s comes %v after all were asked to wait for a second", id, now.Sub(*at))
		}
	})
	o := all(1)
	o.Concurrency, o.Rate = 2, 20 // a second for all: some would come within the wait
	wantCounts(t, run(t.Context(), t, s, replay.HTTP(h), o), 20, 0, 0, 0, 21)
}

const id5 = "task_000005"

// At most so many requests are under way, and as many as that.
func TestHTTPConcurrency(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 100)
	var now, most atomic.Int32
	full := make(chan struct{})
	h := consumer(t, func(http.ResponseWriter, *http.Request, string) {
		if n := now.Add(1); n > most.Load() {
			if most.Store(n); n == 5 {
				close(full)
			}
		}
		<-full
		now.Add(-1)
	})
	o := all(1)
	o.Concurrency = 5
	wantCounts(t, run(t.Context(), t, s, replay.HTTP(h), o), 100, 0, 0, 0, 101)
	if most.Load() != 5 {
		t.Errorf("%d requests were under way at once", most.Load())
	}
}

// After the signal nothing new begins, nothing is tried again, and what is under
// way is waited for.
func TestHTTPInterrupted(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var requests atomic.Int32
	arrived := make(chan struct{}, 100)
	h := consumer(t, func(w http.ResponseWriter, _ *http.Request, id string) {
		requests.Add(1)
		arrived <- struct{}{}
		<-ctx.Done()
		if id == id5 {
			w.WriteHeader(503) // which would be tried again
		}
	})
	go func() {
		for range 8 {
			<-arrived
		}
		cancel()
	}()
	summary, err := replay.Run(ctx, s.conn, replay.HTTP(h), all(1))
	if !errors.Is(err, replay.ErrStopped) || requests.Load() != 8 {
		t.Errorf("%v after %d requests", err, requests.Load())
	}
	wantCounts(t, summary, 7, 0, 0, 1, 5)

	// Without such a one it resumes behind what was under way.
	h = consumer(t, func(http.ResponseWriter, *http.Request, string) {})
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	o := all(6)
	o.Concurrency = 1
	o.OnProgress = func(p replay.Progress) {
		if p.Read == 3 {
			cancel()
		}
	}
	summary, err = replay.Run(ctx, s.conn, replay.HTTP(h), o)
	if !errors.Is(err, replay.ErrStopped) || summary.ResumeSequence != uint64(6+summary.Delivered) || summary.Delivered < 2 || summary.Delivered > 3 {
		t.Errorf("%v, %+v", err, summary)
	}
}

// An endpoint that takes nothing ends the replay; now and then a success does not.
func TestHTTPTooManyFailures(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 200)
	const token = "a-secret-of-the-path"
	var requests atomic.Int32
	h := consumer(t, func(w http.ResponseWriter, r *http.Request, id string) {
		requests.Add(1)
		if r.Header.Get("X-Kind") == "mostly" && strings.HasSuffix(id, "0") {
			return
		}
		w.WriteHeader(403)
		fmt.Fprintf(w, "no %s for %s", r.URL, r.Header.Get("Authorization"))
	})
	h.URL = h.URL.JoinPath(token)
	h.Header = http.Header{"Authorization": {"Bearer t0ps3cret"}}
	o := all(1)
	o.MaxFailures, o.Concurrency = 30, 4
	summary, err := replay.Run(t.Context(), s.conn, replay.HTTP(h), o)
	if !errors.Is(err, replay.ErrTooManyFailures) || requests.Load() > 34 || summary.ResumeSequence != 1 {
		t.Errorf("%v after %d requests: %+v", err, requests.Load(), summary)
	}
	shown, jsonErr := json.Marshal(summary)
	if all := string(shown) + err.Error(); jsonErr != nil || strings.Contains(all, token) || strings.Contains(all, "t0ps3cret") || !strings.Contains(all, "403 Forbidden: no /events/") {
		t.Errorf("%s", all)
	}
	h.Header = http.Header{"X-Kind": {"mostly"}}
	wantCounts(t, run(t.Context(), t, s, replay.HTTP(h), o), 20, 180, 0, 0, 1)
	o.MaxFailures = 0
	h.Header = nil
	wantCounts(t, run(t.Context(), t, s, replay.HTTP(h), o), 0, 200, 0, 0, 1)
}

// Others publish into the stream, too: what is no event, or cannot be sent as one,
// is left out.
func TestHTTPSkips(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, data := range []string{
		`{"specversion":"1.0","id":"good","source":"s","type":"t"}`,
		`{"specversion":"1.0","id":"bad name","source":"s","type":"t","a b":"c"}`,
		`{"specversion":"1.0","id":"bad type","source":"s","type":"t","datacontenttype":"a\nb: c"}`,
		`{"specversion":"0.3","id":"old","source":"s","type":"t"}`,
		`not JSON`,
	} {
		header := map[string][]string{"Content-Type": {"application/cloudevents+json"}}
		if _, err := s.js.PublishMsg(t.Context(), message("apixo.task.success", header, data)); err != nil {
			t.Fatal(err)
		}
	}
	h := consumer(t, func(_ http.ResponseWriter, _ *http.Request, id string) {
		if id != "good" {
			t.Errorf("%q was delivered", id)
		}
	})
	summary := run(t.Context(), t, s, replay.HTTP(h), all(1))
	wantCounts(t, summary, 1, 0, 4, 0, 6)
	if len(summary.Skips) != 4 || summary.Skips[0].ID != "bad name" || summary.Skips[3].Reason == "" {
		t.Errorf("skipped: %+v", summary.Skips)
	}
}

func TestParseHeader(t *testing.T) {
	t.Parallel()
	header := make(http.Header)
	for _, line := range []string{"authorization: Bearer a:b", "X-Empty:", "X-Two: 1", "x-two:2"} {
		if err := replay.ParseHeader(line, header); err != nil {
			t.Error(err)
		}
	}
	if header.Get("Authorization") != "Bearer a:b" || len(header["X-Two"]) != 2 || len(header["X-Empty"]) != 1 {
		t.Errorf("%v", header)
	}
	for _, line := range []string{"", ":", "t0ps3cret", "a b: t0ps3cret", "X: t0ps3cret\r\nY: z", "Content-Type: t0ps3cret", "ce-id: t0ps3cret", "Host: t0ps3cret", "ü: t0ps3cret"} {
		if err := replay.ParseHeader(line, header); err == nil || strings.Contains(err.Error(), "t0ps3cret") && line != "t0ps3cret" {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// failingTransport is an endpoint that refuses everything without a network.
func failingTransport(t testing.TB) replay.HTTPOptions {
	h := to(t, "http://host/")
	h.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 400, Body: http.NoBody}, nil
	})
	return h
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
