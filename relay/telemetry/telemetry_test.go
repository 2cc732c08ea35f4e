package telemetry_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

// scrape is what Prometheus gets, without what the Go runtime tells of itself.
func scrape(m interface{ Handler() http.Handler }) string {
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

// Each name that a webhook can bring has its series from the start, and no other.
func TestNormalizedMembersAreBounded(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("test")
	series := strings.Count(scrape(m), "\n")
	m.Normalized(schema.NormalizedMembers())
	m.Normalized([]string{"failCode"})
	m.Normalized(nil)
	got := scrape(m)
	if n := strings.Count(got, "\n"); n != series {
		t.Errorf("%d lines became %d", series, n)
	}
	for _, name := range schema.NormalizedMembers() {
		want := fmt.Sprintf("apixo_relay_normalized_total{member=%q} 1\n", name)
		if name == "failCode" {
			want = strings.Replace(want, " 1", " 2", 1)
		}
		if !strings.Contains(got, want) {
			t.Errorf("there is no %s in\n%s", want, got)
		}
	}
}

// Prometheus reads what is served in each of the formats that it asks for, and the
// runtime's metrics are in it. Native histograms travel as protocol buffers only, and
// the ids of traces not as plain text.
func TestFormats(t *testing.T) {
	t.Parallel()
	const trace = "0af7651916cd43dd8448eb211c80319c"
	m := telemetry.NewMetrics("test")
	m.Problems([]string{"not-json"})
	m.Webhook(telemetry.Published, "", 3*time.Millisecond, trace)
	m.Webhook(telemetry.Quarantined, "not-json", 40*time.Millisecond, "")
	for name, c := range map[string]struct {
		accept, contentType string
		native, examples    bool
	}{
		"none":        {"", "text/plain; version=0.0.4; charset=utf-8", false, false},
		"OpenMetrics": {"application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0; charset=utf-8", false, true},
		// As Prometheus asks that scrapes native histograms.
		"protobuf": {"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,text/plain;version=0.0.4;q=0.5",
			"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited", true, true},
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Accept", c.accept)
		m.Handler().ServeHTTP(w, r)
		got := w.Header().Get("Content-Type")
		if w.Code != 200 || !strings.HasPrefix(got, c.contentType) {
			t.Errorf("%s: %d with content type %q, want 200 with %q", name, w.Code, got, c.contentType)
		}
		if name == "OpenMetrics" {
			if want := `apixo_relay_request_duration_seconds_bucket{le="0.005"} 1 # {trace_id="` + trace + `"} 0.003`; !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: there is no %s in\n%s", name, want, w.Body)
			}
			continue
		}
		families := map[string]*dto.MetricFamily{}
		for d := expfmt.NewDecoder(w.Body, expfmt.ResponseFormat(w.Header())); ; {
			family := new(dto.MetricFamily)
			err := d.Decode(family)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(name, err)
			}
			families[family.GetName()] = family
		}
		for _, metric := range []string{"apixo_relay_webhooks_total", "go_goroutines", "process_start_time_seconds"} {
			if families[metric] == nil {
				t.Errorf("%s: %s is not among the metrics", name, metric)
			}
		}
		for metric, family := range families {
			if family.GetType() != dto.MetricType_HISTOGRAM || !strings.HasPrefix(metric, "apixo_relay_") {
				continue
			}
			h := family.GetMetric()[0].GetHistogram()
			if native := h.Schema != nil; native != c.native || len(h.GetBucket()) < 10 {
				t.Errorf("%s: %s is native: %v, %d classic buckets", name, metric, native, len(h.GetBucket()))
			}
		}
		h := families["apixo_relay_request_duration_seconds"].GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 2 || c.native && len(h.GetPositiveSpan()) != 2 {
			t.Errorf("%s: %v", name, h)
		}
	}
}
