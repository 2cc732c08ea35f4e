package telemetry

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/apixo-relay/apixo-relay/relay/telemetry/otlp"
)

// The log tells when spans are lost and when they are not lost any more, and not for
// each of them.
func TestLostSpansAreToldOnce(t *testing.T) {
	t.Parallel()
	var refuses atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if refuses.Load() {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(s.Close)
	client, err := otlp.New(otlp.Settings{Endpoint: s.URL, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Stop(t.Context()) })
	var text bytes.Buffer
	r := &reporting{Client: client, log: NewLogger(&text, Text, nil)}
	for _, refused := range []bool{false, true, true, true, false, false, true} {
		refuses.Store(refused)
		if err := r.UploadTraces(t.Context(), []*tracepb.ResourceSpans{{}}); err != nil {
			t.Error(err)
		}
	}
	var told []string
	for line := range strings.Lines(text.String()) {
		switch {
		case strings.Contains(line, "cannot be sent") && strings.Contains(line, "403"):
			told = append(told, "lost")
		case strings.Contains(line, "sent again"):
			told = append(told, "sent")
		default:
			t.Error(line)
		}
	}
	if got := strings.Join(told, " "); got != "lost sent lost" {
		t.Error(got)
	}
}
