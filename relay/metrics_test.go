package relay_test

import (
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay"
)

var update = flag.Bool("update", false, "write the golden file")

// scrape is what Prometheus gets of a relay, without what the Go runtime tells of itself.
func scrape(t *testing.T, r *relay.Relay) string {
	t.Helper()
	resp, err := client(t).Get("http://" + r.AdminAddr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(body)) {
		if strings.Contains(line, "apixo_relay_") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Names, labels, help and buckets are what dashboards and alerts hold on to: these
// are all that there are, and all are there from the start.
func TestMetricsAreTheOnesThatAreKnown(t *testing.T) {
	t.Parallel()
	const file = "testdata/metrics.txt"
	got := regexp.MustCompile(`go_version="[^"]*"`).ReplaceAllString(scrape(t, start(t, environ(t))), `go_version="go"`)
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

// What readiness says, the metrics say.
func TestStateIsAMetric(t *testing.T) {
	t.Parallel()
	r := start(t, environ(t, "NATS_URL=nats://127.0.0.1:1"))
	if got := scrape(t, r); !strings.Contains(got, "\napixo_relay_ready 0\n") || !strings.Contains(got, "\napixo_relay_healthy 1\n") || !strings.Contains(got, "\napixo_relay_broker_connected 0\n") {
		t.Errorf("without a broker:\n%s", got)
	}
	if got := scrape(t, start(t, environ(t))); !strings.Contains(got, "\napixo_relay_ready 1\n") {
		t.Errorf("with one:\n%s", got)
	}
}
