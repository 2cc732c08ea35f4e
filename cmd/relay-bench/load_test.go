package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The webhook is APIXO's own example.
func TestPayload(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("../../schema/testdata/success.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf(payload, "task_abc123xyz"); got != strings.TrimSpace(string(want)) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func loadOn(t *testing.T, server *httptest.Server, want string) loadResult {
	t.Helper()
	return pacedLoadOn(t, server, want, 3, 0)
}

func pacedLoadOn(t *testing.T, server *httptest.Server, want string, connections, rate int) loadResult {
	t.Helper()
	u, err := url.Parse(server.URL + "/webhook/apixo?model=m")
	if err != nil {
		t.Fatal(err)
	}
	target, err := newTarget(u, want)
	if err != nil {
		t.Fatal(err)
	}
	crew, err := target.dial(t.Context(), connections)
	if err != nil {
		t.Fatal(err)
	}
	defer crew.close()
	return crew.run(t.Context(), 50*time.Millisecond, rate)
}

// Every webhook is a new task, and counted once.
func TestLoad(t *testing.T) {
	t.Parallel()
	var c counter
	server := httptest.NewServer(&c)
	defer server.Close()
	r := loadOn(t, server, `"duplicate":false`)
	if len(r.latencies) == 0 || len(r.latencies) != len(c.seen) || len(r.failures) != 0 {
		t.Errorf("%d stored, %d seen, failed: %v", len(r.latencies), len(c.seen), r.failures)
	}
	for id, n := range c.seen {
		if n != 1 || len(id) != len(idPrefix)+idDigits {
			t.Errorf("%d times %s", n, id)
		}
	}
	if c.head.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", c.head)
	}
}

// In an open loop webhooks come at their rate, however fast the answers are.
func TestOpenLoop(t *testing.T) {
	t.Parallel()
	var c counter
	server := httptest.NewServer(&c)
	defer server.Close()
	if r := pacedLoadOn(t, server, `"duplicate":false`, 3, 200); len(r.latencies) == 0 || len(r.latencies) > 10 || len(r.failures) != 0 {
		t.Errorf("%d stored at 200/s within 50 ms, failed: %v", len(r.latencies), r.failures)
	}
}

// Whoever waits for an earlier answer at its turn is waited for from then on.
func TestOpenLoopLate(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if requests.Add(1) == 1 {
			time.Sleep(40 * time.Millisecond)
		}
	}))
	defer server.Close()
	r := pacedLoadOn(t, server, "", 1, 100)
	if len(r.latencies) > 1 && r.latencies[1] < 29_000 || len(r.latencies) == 0 {
		t.Errorf("in an open loop of 100/s, answers after %v µs, the first of which took 40 ms", r.latencies)
	}
}

// Answers of any kind are understood, and what fails is counted by its cause.
func TestLoadAnswers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer  func(w http.ResponseWriter)
		failure string
	}{
		"chunked": {answer: func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"dupli`)
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, `cate":false}`)
		}},
		"closing": {answer: func(w http.ResponseWriter) {
			w.Header().Set("Connection", "close")
			_, _ = io.WriteString(w, `{"duplicate":false}`)
		}},
		"long": {answer: func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"duplicate":false}`+strings.Repeat(" ", 100<<10))
		}},
		"duplicate": {
			answer:  func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"duplicate":true}`) },
			failure: `200 without "duplicate":false`,
		},
		"redirect": {
			answer:  func(w http.ResponseWriter) { w.Header().Set("Location", "/"); w.WriteHeader(http.StatusFound) },
			failure: "302 Found",
		},
		"accepted": {
			answer:  func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted) },
			failure: "202 Accepted",
		},
		"broken off": {
			answer:  func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
			failure: "connection closed without a whole answer",
		},
		"broken off in the body": {
			answer: func(w http.ResponseWriter) {
				w.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(w, `{"duplicate":false}`)
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			},
			failure: "connection closed without a whole answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				test.answer(w)
			}))
			defer server.Close()
			r := loadOn(t, server, `"duplicate":false`)
			switch {
			case test.failure == "" && (len(r.latencies) == 0 || len(r.failures) > 0):
				t.Errorf("%d stored, failed: %v", len(r.latencies), r.failures)
			case test.failure != "" && (len(r.latencies) > 0 || len(r.failures) != 1 || r.failures[test.failure] == 0):
				t.Errorf("%d stored, failed: %v, want %q", len(r.latencies), r.failures, test.failure)
			}
		})
	}
}

// A receiver that has gone away is a failure, too, and does not end the load.
func TestLoadReceiverGone(t *testing.T) {
	t.Parallel()
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		_ = server.Listener.Close()
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	r := loadOn(t, server, "")
	if len(r.latencies) > 0 || r.failures["connection refused"] == 0 {
		t.Errorf("%d stored, failed: %v", len(r.latencies), r.failures)
	}
}

// A load that is stopped does not wait for answers.
func TestLoadStopped(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	silence := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cancel()
		<-silence
	}))
	defer server.Close()
	defer close(silence)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	target, err := newTarget(u, "")
	if err != nil {
		t.Fatal(err)
	}
	crew, err := target.dial(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer crew.close()
	if r := crew.run(ctx, time.Hour, 0); len(r.latencies) > 0 {
		t.Errorf("%d stored", len(r.latencies))
	}
}

// HTTPS goes to the port that the scheme means.
func TestTargetAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://hooks.example.com/x":  "hooks.example.com:443",
		"http://hooks.example.com":     "hooks.example.com:80",
		"http://[::1]/x":               "[::1]:80",
		"http://[::1]:8720/x":          "[::1]:8720",
		"https://hooks.example.com:99": "hooks.example.com:99",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		target, err := newTarget(u, "")
		if err != nil || target.address != want || (target.tls != nil) != (u.Scheme == "https") {
			t.Errorf("%s: %s, %v, want %s", text, target.address, err, want)
		}
	}
}
