package admin_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/admin"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	good := func() error { return nil }
	bad := func() error { return errors.Join(errors.New("no broker"), errors.New("no stream")) }
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a_metric 1\n") })
	for _, tt := range []struct {
		name         string
		checks       admin.Checks
		method, path string
		status       int
		body         string
	}{
		{"healthy", admin.Checks{Health: good, Ready: bad}, "GET", "/healthz", 200, `{"status":"ok"}`},
		{"unhealthy", admin.Checks{Health: bad, Ready: good}, "GET", "/healthz", 503, `{"status":"unhealthy","reasons":["no broker","no stream"]}`},
		{"ready", admin.Checks{Health: bad, Ready: good}, "GET", "/readyz", 200, `{"status":"ready"}`},
		{"ready, with a note", admin.Checks{Ready: good, Notes: func() []string { return []string{"but slow"} }}, "GET", "/readyz", 200, `{"status":"ready","notes":["but slow"]}`},
		{"not ready", admin.Checks{Health: good, Ready: bad}, "GET", "/readyz", 503, `{"status":"not ready","reasons":["no broker","no stream"]}`},
		{"errors in errors", admin.Checks{Health: good, Ready: func() error { return errors.Join(bad(), errors.New("no time")) }}, "GET", "/readyz", 503, `{"status":"not ready","reasons":["no broker","no stream","no time"]}`},
		{"errors with words around them", admin.Checks{Health: good, Ready: func() error { return fmt.Errorf("store: %w (last try: %w)", errors.New("away"), errors.New("late")) }}, "GET", "/readyz", 503, `{"status":"not ready","reasons":["store: away (last try: late)"]}`},
		{"a probe that wants no body", admin.Checks{Health: good, Ready: good}, "HEAD", "/readyz", 200, ""},
		{"metrics", admin.Checks{Health: good, Ready: good}, "GET", "/metrics", 200, "a_metric 1"},
		{"changing nothing", admin.Checks{Health: good, Ready: good}, "POST", "/readyz", 405, "Method Not Allowed"},
		{"elsewhere", admin.Checks{Health: good, Ready: good}, "GET", "/webhook/apixo", 404, "404 page not found"},
	} {
		server := httptest.NewServer(admin.Handler(tt.checks, metrics))
		request, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		server.Close()
		if err != nil || response.StatusCode != tt.status || strings.TrimSpace(string(body)) != tt.body {
			t.Errorf("%s: %d %s (%v), want %d %s", tt.name, response.StatusCode, body, err, tt.status, tt.body)
		}
		if h := response.Header; strings.HasPrefix(tt.body, "{") && (h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store") {
			t.Errorf("%s: the headers are %v", tt.name, h)
		}
	}
}

// Each probe asks anew, and a server for them waits for nobody for ever.
func TestProbesAskEachTime(t *testing.T) {
	t.Parallel()
	ready := errors.New("not yet")
	handler := admin.Handler(admin.Checks{Ready: func() error { return ready }}, http.NotFoundHandler())
	server := admin.Server(handler, slog.New(slog.DiscardHandler))
	if server.ReadHeaderTimeout <= 0 || server.ReadTimeout <= 0 || server.WriteTimeout <= 0 || server.IdleTimeout <= 0 {
		t.Error("a client may take for ever")
	}
	for _, want := range []int{503, 200, 503} {
		w := httptest.NewRecorder()
		server.Handler.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		if w.Code != want {
			t.Errorf("answered %d, want %d", w.Code, want)
		}
		if ready == nil {
			ready = errors.New("no more")
		} else {
			ready = nil
		}
	}
}
