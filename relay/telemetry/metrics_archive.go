package telemetry

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/apixo-relay/apixo-relay/schema"
)

// CauseTarget is the cause of an archive's failures that are its target's: it is full, or away.
// They are not final, whereas those with a reason of [schema.ArchiveFailure] as their cause are.
const CauseTarget = "target"

// ArchiveMetrics are the counters of an archive, on a registry of their own. All methods may be
// called by many goroutines.
type ArchiveMetrics struct {
	registry *prometheus.Registry

	files, bytes prometheus.Counter
	failures     map[string]prometheus.Counter
	retries      prometheus.Counter
	timeLeft     prometheus.Histogram
}

// NewArchiveMetrics returns the metrics of an archive of that version.
func NewArchiveMetrics(version string) *ArchiveMetrics {
	r := prometheus.NewRegistry()
	m := &ArchiveMetrics{registry: r}
	m.files = counter(r, "archived_files_total", "Files of results that were stored in the archive.")
	m.bytes = counter(r, "archived_bytes_total", "Size of the files that were stored in the archive.")
	m.failures = counters[string](r, "archive_failures_total", "Files that could not be stored, by why. With the cause target it is the target that cannot store, and they are tried again; with each other one it is final.", "cause", append(schema.ArchiveFailureReasons(), CauseTarget))
	m.retries = counter(r, "archive_retries_total", "Events that were put off and are tried again, since something that can pass kept a file out.")
	// APIXO deletes files a day after they were made.
	m.timeLeft = histogram(r, "archive_time_left_seconds", "From a file being stored to its address expiring; 0 if it should have been gone.",
		[]float64{0, 60, 600, 1800, 3600, 7200, 14400, 28800, 43200, 57600, 72000, 79200, 82800, 84600, 86100, 86340})
	describeProcess(r, version)
	return m
}

// File counts a file that was stored now, with its size and what is left until its address
// expires. A time left below zero counts as none.
func (m *ArchiveMetrics) File(bytes int64, left time.Duration) {
	m.files.Inc()
	m.bytes.Add(float64(bytes))
	m.timeLeft.Observe(max(0, left).Seconds())
}

// Failure counts a file that could not be stored: by a reason of [schema.ArchiveFailure], or by
// [CauseTarget]. What is neither counts as [schema.ReasonUnavailable], so that no sender can
// grow the number of time series.
func (m *ArchiveMetrics) Failure(cause string) {
	c, ok := m.failures[cause]
	if !ok {
		c = m.failures[schema.ReasonUnavailable]
	}
	c.Inc()
}

// Retry counts an event that is tried again.
func (m *ArchiveMetrics) Retry() { m.retries.Inc() }

// Backlog sets the function that returns how many events are not acknowledged yet, and the age
// of the oldest of them, 0 if there is none. It is called at each scrape. Backlog must be called
// once at the most.
func (m *ArchiveMetrics) Backlog(state func() (events uint64, oldest time.Duration)) {
	m.registry.MustRegister(backlogCollector(state))
}

// TargetUp sets the function that reports whether the target can store, as far as is known. It
// is called at each scrape. TargetUp must be called once at the most.
func (m *ArchiveMetrics) TargetUp(up func() bool) {
	boolGauge(m.registry, "archive_target_up", "0 while the target cannot store: it is full, or away.", up)
}

// BrokerConnected sets the function that reports whether the broker is connected. It is called
// at each scrape. BrokerConnected must be called once at the most.
func (m *ArchiveMetrics) BrokerConnected(connected func() bool) {
	brokerConnected(m.registry, connected)
}

// Log sets the logger whose dropped lines are counted (see [AsyncWriter]). It must be called
// once at the most.
func (m *ArchiveMetrics) Log(log *slog.Logger) { countDropped(m.registry, log) }

// Handler serves the metrics, as [Metrics.Handler] does.
func (m *ArchiveMetrics) Handler() http.Handler { return serve(m.registry) }

// backlogCollector asks once for both figures.
type backlogCollector func() (events uint64, oldest time.Duration)

var (
	backlogEvents = prometheus.NewDesc(namespace+"_archive_backlog_events", "Events of results whose files are not all safe yet.", nil, nil)
	backlogOldest = prometheus.NewDesc(namespace+"_archive_oldest_seconds", "Age of the oldest event whose files are not all safe yet; 0 if there is none. At a day its addresses expire.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c backlogCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- backlogEvents
	descs <- backlogOldest
}

// Collect implements prometheus.Collector.
func (c backlogCollector) Collect(metrics chan<- prometheus.Metric) {
	events, oldest := c()
	metrics <- prometheus.MustNewConstMetric(backlogEvents, prometheus.GaugeValue, float64(events))
	metrics <- prometheus.MustNewConstMetric(backlogOldest, prometheus.GaugeValue, oldest.Seconds())
}
