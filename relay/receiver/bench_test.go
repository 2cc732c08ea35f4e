package receiver_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/receiver"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// BenchmarkReceive is what the relay itself does for a webhook: without the
// library's part, and with a store that answers at once. Its log goes to a file by way
// of a writer of its own, as the program's does, or straight to it. With tracing it makes
// both spans, which a collector takes.
func BenchmarkReceive(b *testing.B) {
	store := storeFunc(func(context.Context, event.Message) (store.Receipt, error) {
		return store.Receipt{Stream: "APIXO", Sequence: 123456}, nil
	})
	encoder := event.Encoder{Source: "https://api.apixo.ai", Prefix: "apixo"}
	settings := config.Webhooks{Path: webhookPath, MaxBodyBytes: 256 << 10, MaxInFlight: 1024, PublishTimeout: 20 * time.Second}
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer collector.Close()
	for _, c := range []struct {
		name   string
		level  slog.Level
		direct bool
		trace  config.Tracing
	}{
		{"log=info", slog.LevelInfo, false, config.Tracing{}},
		{"log=direct", slog.LevelInfo, true, config.Tracing{}},
		{"log=off", slog.LevelError, false, config.Tracing{}},
		{"log=off/tracing", slog.LevelError, false, config.Tracing{Endpoint: collector.URL, Timeout: time.Second, Propagate: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			file, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			var out io.Writer = file
			if !c.direct {
				async := telemetry.NewAsyncWriter(file, telemetry.JSON)
				defer async.Close()
				out = async
			}
			log := telemetry.NewLogger(out, telemetry.JSON, c.level)
			tracing := telemetry.StartTracing(c.trace, "bench", log)
			defer func() { _ = tracing.Stop(context.Background()) }()
			rc := receiver.New(receiver.Options{Config: settings, Attributes: []string{"model"}, Encoder: encoder, Store: store, Metrics: telemetry.NewMetrics("bench"), Tracing: tracing, Log: log})
			body := bytes.NewReader([]byte(success("task_abc123xyz")))
			req := httptest.NewRequest(http.MethodPost, webhookPath+"?model=nano-banana", nil)
			req.Host = "127.0.0.1:8720"
			req.Header.Set("Content-Type", "application/json")
			req.ContentLength = body.Size()
			req.Body = io.NopCloser(body)
			w := &discard{header: make(http.Header)}
			b.ReportAllocs()
			for b.Loop() {
				body.Seek(0, io.SeekStart)
				clear(w.header)
				rc.ServeHTTP(w, req)
				if w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// discard is the connection of an answer that nobody reads.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
