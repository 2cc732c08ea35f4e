package admin_test

import (
	"errors"
	"io"
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
		{"not ready", admin.Checks{Health: good, Ready: bad}, "GET", "/readyz", 503, `{"status":"not ready","reasons":["no broker","no stream"]}`},
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
	}
}
