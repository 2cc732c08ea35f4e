package telemetry_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"log/slog"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

var update = flag.Bool("update", false, "write the golden file")

// scrape is what Prometheus gets, without what the Go runtime tells of itself.
func scrape(m *telemetry.Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var b strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "apixo_relay_") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Names, labels, help and buckets are what dashboards and alerts hold on to.
func TestMetricsAreTheOnesThatAreKnown(t *testing.T) {
	t.Parallel()
	const file = "testdata/metrics.txt"
	m := telemetry.NewMetrics("v1.2.3")
	m.BrokerConnected(func() bool { return true })
	m.Outbox(func() (messages, bytes uint64, oldest time.Duration) { return 3, 4000, 90 * time.Second })
	got := regexp.MustCompile(`go_version="[^"]*"`).ReplaceAllString(scrape(m), `go_version="go"`)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the metrics are not those of %s (-update writes it):\n%s", file, got)
	}
}

// No sender can make a series: what is not known counts as other.
func TestFailCodesAreBounded(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("test")
	series := strings.Count(scrape(m), "\n")
	for _, code := range []string{"CONTENT_VIOLATION", "x", "y\nz", "", strings.Repeat("A", 1000)} {
		m.Stored("failed", code, time.Time{}, time.Now(), 0)
	}
	m.Stored("success", "ignored", time.Now().Add(time.Hour), time.Now(), -time.Second)
	got := scrape(m)
	if n := strings.Count(got, "\n"); n != series {
		t.Errorf("%d lines became %d", series, n)
	}
	for _, want := range []string{
		`task_failures_total{fail_code="CONTENT_VIOLATION"} 1`, `task_failures_total{fail_code="other"} 4`,
		`events_total{state="failed"} 5`, `events_total{state="success"} 1`,
		"callback_lag_seconds_sum 0", "callback_lag_seconds_count 1", "task_cost_seconds_count 0",
	} {
		if !strings.Contains(got, "apixo_relay_"+want+"\n") {
			t.Errorf("there is no %s in\n%s", want, got)
		}
	}
}

func TestLoggerWritesDurationsInSecondsForPrograms(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	telemetry.NewLogger(&b, telemetry.JSON, slog.LevelInfo).Info("m", "duration", 1500*time.Microsecond, "inner", slog.GroupValue(slog.Duration("wait", 2*time.Second)))
	var line struct {
		Duration float64
		Inner    struct{ Wait float64 }
	}
	if err := json.Unmarshal(b.Bytes(), &line); err != nil || line.Duration != 0.0015 || line.Inner.Wait != 2 {
		t.Errorf("%s, %v", b.String(), err)
	}
	b.Reset()
	log := telemetry.NewLogger(&b, telemetry.Text, slog.LevelWarn)
	log.Info("hidden")
	log.Warn("m", "duration", 1500*time.Microsecond)
	if got := b.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "duration=1.5ms") {
		t.Error(got)
	}
}

// Prometheus reads what is served, and the runtime's metrics are in it.
func TestMetricsAreText(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	telemetry.NewMetrics("test").Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if got, want := w.Header().Get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8"; w.Code != 200 || got != want {
		t.Errorf("%d with content type %q, want 200 with %q", w.Code, got, want)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"apixo_relay_webhooks_total", "go_goroutines", "process_start_time_seconds"} {
		if families[name] == nil {
			t.Errorf("%s is not among the metrics", name)
		}
	}
}
