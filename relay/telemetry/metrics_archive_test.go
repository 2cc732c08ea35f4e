package telemetry_test

import (
	"bytes"
	"flag"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

var update = flag.Bool("update", false, "write the golden file")

// archiveMetrics are those of an archive that has all that tells something.
func archiveMetrics(t *testing.T) *telemetry.ArchiveMetrics {
	t.Helper()
	m := telemetry.NewArchiveMetrics("test")
	m.Backlog(func() (uint64, time.Duration) { return 3, 90 * time.Second })
	m.TargetUp(func() bool { return true })
	m.BrokerConnected(func() bool { return false })
	m.Log(telemetry.NewLogger(io.Discard, telemetry.JSON, slog.LevelInfo))
	return m
}

// Names, labels, help and buckets are what dashboards and alerts hold on to: these are all that
// there are, and all are there from the start.
func TestArchiveMetricsAreTheOnesThatAreKnown(t *testing.T) {
	t.Parallel()
	const file = "testdata/archive.txt"
	got := regexp.MustCompile(`go_version="[^"]*"`).ReplaceAll([]byte(scrape(archiveMetrics(t))), []byte(`go_version="go"`))
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the metrics are not those of %s (-update writes it):\n%s", file, got)
	}
}

// What is counted is there, and a cause that is not known makes no series.
func TestArchiveCounts(t *testing.T) {
	t.Parallel()
	m := archiveMetrics(t)
	series := strings.Count(scrape(m), "\n")
	m.File(1<<20, 23*time.Hour)
	m.File(5, -time.Second)
	m.Retry()
	for _, cause := range append(schema.ArchiveFailureReasons(), telemetry.CauseTarget, "x\ny") {
		m.Failure(cause)
	}
	got := scrape(m)
	if n := strings.Count(got, "\n"); n != series {
		t.Errorf("%d lines became %d", series, n)
	}
	for _, want := range []string{
		"archived_files_total 2", "archived_bytes_total 1.048581e+06", "archive_retries_total 1",
		`archive_failures_total{cause="gone"} 1`, `archive_failures_total{cause="target"} 1`, `archive_failures_total{cause="unavailable"} 2`,
		"archive_time_left_seconds_sum 82800", `archive_time_left_seconds_bucket{le="0"} 1`, "archive_time_left_seconds_count 2",
	} {
		if !strings.Contains(got, "apixo_relay_"+want+"\n") {
			t.Errorf("there is no %s in\n%s", want, got)
		}
	}
}
