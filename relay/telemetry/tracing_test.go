package telemetry

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// Without a collector nothing is made of what the relay asks for with each webhook.
func TestWithoutACollectorNothingIsMade(t *testing.T) {
	tracing := StartTracing(config.Tracing{}, "v0.0.0", slog.New(slog.DiscardHandler))
	if tracing != nil {
		t.Fatal("there is tracing")
	}
	away := errors.New("the broker is away")
	messages := []string{"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	made := testing.AllocsPerRun(100, func() {
		ctx, webhook := tracing.StartRequest(t.Context(), Request{Route: "/webhook/apixo", TraceParent: messages[0]})
		ctx, message, traceParent, traceState := tracing.StartPublish(ctx)
		AddRetryEvent(ctx, away)
		message.End(PublishResult{Operation: "publish", Subject: "apixo.task.success", ID: "task_1", Size: 1})
		tracing.StartForward(messages[0], "").End(PublishResult{Operation: "forward", Subject: "apixo.task.success", ID: "task_1", Size: 1})
		webhook.End(RequestResult{Status: http.StatusOK, Outcome: Published, Size: 1})
		if id, _, _ := webhook.IDs(); id+traceParent+traceState != "" {
			t.Error("there is a trace")
		}
	})
	if made != 0 {
		t.Errorf("%v allocations for a webhook", made)
	}
}

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
	var text bytes.Buffer
	r := &loggingClient{collectorClient: startClient(t, config.Tracing{Endpoint: s.URL}), log: NewLogger(&text, Text, nil)}
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
