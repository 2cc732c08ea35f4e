package telemetry

import (
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/apixo-relay/apixo-relay/schema"
)

// Outcome is how a webhook ended, and the label of webhooks_total.
type Outcome string

// The outcomes. Each webhook has exactly one.
const (
	Published    Outcome = "published"    // stored: 200
	Duplicate    Outcome = "duplicate"    // it was stored already: 200
	Conflict     Outcome = "conflict"     // it contradicts what is stored: 200, and kept
	Quarantined  Outcome = "quarantined"  // not a webhook, and kept: 400, 415 or 422
	Unauthorized Outcome = "unauthorized" // no valid token, or an address that may not send: 401 or 403
	Rejected     Outcome = "rejected"     // not even a webhook's request, and not kept: 404, 405, 408 or 413
	Overloaded   Outcome = "overloaded"   // too many at once: 503
	Unavailable  Outcome = "unavailable"  // it could not be stored: 503
)

var outcomes = []Outcome{Published, Duplicate, Conflict, Quarantined, Unauthorized, Rejected, Overloaded, Unavailable}

// failCodes are the values of the label fail_code: what APIXO's public pages
// list. The list is open, and whatever else comes counts as other, so that no
// sender can grow the number of time series.
var failCodes = []string{
	schema.FailContentViolation, schema.FailNSFWDetected, schema.FailPromptTooLong, schema.FailInvalidPrompt,
	schema.FailInvalidImageURL, schema.FailImageTooLarge, schema.FailUnsupportedFormat, schema.FailImageDownloadFailed,
	schema.FailProcessingTimeout, schema.FailModelUnavailable, schema.FailGenerationFailed, schema.FailInsufficientCredits,
	schema.FailSensitiveContent, schema.FailSensitiveContentDetected, schema.FailInputImageSensitiveContentDetected,
	schema.FailInputOutputSensitiveContentDetected, schema.FailNSFW, schema.FailProhibitedContentDetected,
	schema.FailPromptLengthExceeded,
}

// Metrics are the relay's counters, on a registry of their own. All methods may
// be called by many goroutines.
type Metrics struct {
	registry *prometheus.Registry

	webhooks        map[Outcome]prometheus.Counter
	forwarded       map[Outcome]prometheus.Counter
	problems        map[string]prometheus.Counter
	requestDuration prometheus.Histogram
	publishDuration prometheus.Histogram
	fsyncDuration   prometheus.Histogram
	fsyncWebhooks   prometheus.Histogram
	inFlight        prometheus.Gauge
	httpErrors      prometheus.Counter
	events          map[string]prometheus.Counter
	callbackLag     prometheus.Histogram
	taskCost        prometheus.Histogram
	taskFailures    map[string]prometheus.Counter
	normalized      map[string]prometheus.Counter
	dedupeWindow    prometheus.Gauge
	announcements   map[Outcome]prometheus.Counter
	recovered       prometheus.Counter
	missing         prometheus.Counter
	expectErrors    prometheus.Counter
	verifications   map[VerificationResult]prometheus.Counter
	apiRequests     map[APIResult]prometheus.Counter
	apiDuration     prometheus.Histogram
}

// NewMetrics returns the metrics of a relay of that version.
func NewMetrics(version string) *Metrics {
	r := prometheus.NewRegistry()
	m := &Metrics{registry: r}

	m.webhooks = counters[Outcome](r, "webhooks_total", "Webhook requests, by how they ended.", "outcome", outcomes)
	m.forwarded = counters[Outcome](r, "outbox_forwarded_total", "Webhooks that went from the outbox to the broker, by what that made of them.", "outcome", []Outcome{Published, Duplicate, Conflict, Quarantined})
	m.events = counters[string](r, "events_total", "Task events stored for the first time, by the task's state.", "state", []string{"success", "failed"})
	m.taskFailures = counters[string](r, "task_failures_total", "Failed tasks stored for the first time, by APIXO's fail code; codes that are not known count as other.", "fail_code", append(failCodes, "other"))
	m.normalized = counters[string](r, "normalized_total", "Task events stored for the first time, by each member of the webhook that they do not have as it came; members that are not known count as other.", "member", schema.NormalizedMembers())

	// The sender waits for an answer for 30 s.
	m.requestDuration = histogram(r, "request_duration_seconds", "From a webhook's headers to its answer.",
		[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30})
	m.publishDuration = histogram(r, "publish_duration_seconds", "From handing a message to the broker to its acknowledgement, retries included.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20})
	m.fsyncDuration = histogram(r, "fsync_duration_seconds", "How long the disk in RELAY_DATA_DIR took to make durable what had been written.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20})
	m.fsyncWebhooks = histogram(r, "fsync_webhooks", "Webhooks that one fsync was for: all that waited when it began.",
		[]float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024})
	m.callbackLag = histogram(r, "callback_lag_seconds", "From a task's completeTime, by APIXO's clock, to its event being stored.",
		[]float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400})
	m.taskCost = histogram(r, "task_cost_seconds", "APIXO's processing time of a task, as its webhook tells it.",
		[]float64{.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600})

	m.apiDuration = histogram(r, "apixo_request_duration_seconds", "From asking APIXO's status API for a task to the end of its answer.",
		[]float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30})
	m.apiRequests = counters[APIResult](r, "apixo_requests_total", "Requests to APIXO's status API, by what they brought.", "result", []APIResult{APIAnswered, APIDenied, APIUnusable})
	m.verifications = counters[VerificationResult](r, "verifications_total", "Webhooks held against APIXO's status API (RELAY_VERIFY), by what it made of them.", "result", []VerificationResult{Confirmed, Contradicted, Unverified})

	m.announcements = counters[Outcome](r, "announcements_total", "Requests that announce tasks (RELAY_EXPECT_PATH), by how they ended; published means that the register has the task.", "outcome", []Outcome{Published, Quarantined, Unauthorized, Rejected, Overloaded, Unavailable})
	m.recovered = counter(r, "recovered_total", "Announced tasks whose webhook had not come, and whose result was fetched and stored.")
	m.missing = counter(r, "missing_total", "Announced tasks that were given up without a result.")
	m.expectErrors = counter(r, "expect_errors_total", "Failures of the register of announced tasks: its bucket is missing, refuses, or does not answer.")
	m.httpErrors = counter(r, "http_errors_total", "Connections and HTTP/2 streams refused before they were a request: another protocol, failed TLS handshakes, malformed HTTP.")
	m.inFlight = gauge(r, "in_flight_requests", "Webhooks that are being worked on now.")
	m.dedupeWindow = gauge(r, "dedupe_window_seconds", "Duplicate window of the stream as it stands in the broker; 0 until it is known.")
	describeProcess(r, version)
	return m
}

const namespace = "apixo_relay"

// describeProcess registers what is running, and what its runtime tells of itself.
func describeProcess(r *prometheus.Registry, version string) {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the labels tell what is running.",
	}, []string{"version", "go_version"})
	r.MustRegister(build)
	build.WithLabelValues(version, runtime.Version()).Set(1)
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// counters makes a counter for each value of its label at once: the values are
// bounded, and a series that is there from the start can be alerted on.
func counters[T ~string](r *prometheus.Registry, name, help, label string, values []T) map[T]prometheus.Counter {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	r.MustRegister(vec)
	m := make(map[T]prometheus.Counter, len(values))
	for _, v := range values {
		m[v] = vec.WithLabelValues(string(v))
	}
	return m
}

// histogram makes one that is both: classic, with the given buckets, and native, for
// scrapers that ask for that, with buckets that grow by a tenth.
func histogram(r *prometheus.Registry, name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
		// Values that are spread further than 160 such buckets reach get wider ones, and
		// narrow ones again after an hour at the earliest.
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	})
	r.MustRegister(h)
	return h
}

func counter(r *prometheus.Registry, name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	r.MustRegister(c)
	return c
}

func gauge(r *prometheus.Registry, name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	r.MustRegister(g)
	return g
}

// Webhook counts a request and records its duration. The problem is its slug, or empty for a
// 200. The id of a sampled trace becomes an exemplar of the duration.
func (m *Metrics) Webhook(o Outcome, problem string, took time.Duration, traceID string) {
	m.webhooks[o].Inc()
	if problem != "" {
		m.problems[problem].Inc()
	}
	if traceID == "" {
		m.requestDuration.Observe(took.Seconds())
		return
	}
	m.requestDuration.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": traceID})
}

// Problems sets the slugs of all problems. It must be called once,
// before Webhook.
func (m *Metrics) Problems(slugs []string) {
	m.problems = counters[string](m.registry, "problems_total", "Webhook requests that were not answered with 200, by the type of the problem that they were told.", "problem", slugs)
}

// Forwarded counts a webhook that went from the outbox to the broker: published,
// duplicate, conflict or quarantined.
func (m *Metrics) Forwarded(o Outcome) { m.forwarded[o].Inc() }

// Stored counts a task's event that was stored for the first time. A zero completed or cost
// means that the webhook had no such member.
func (m *Metrics) Stored(state, failCode string, completed, now time.Time, cost time.Duration) {
	if c, ok := m.events[state]; ok {
		c.Inc()
	}
	if state == "failed" {
		c, ok := m.taskFailures[failCode]
		if !ok {
			c = m.taskFailures["other"]
		}
		c.Inc()
	}
	if !completed.IsZero() {
		// Clocks differ: a lag below zero is none.
		m.callbackLag.Observe(max(0, now.Sub(completed).Seconds()))
	}
	if cost > 0 {
		m.taskCost.Observe(cost.Seconds())
	}
}

// Normalized counts a task's event that was stored for the first time with these members
// normalized. schema.NormalizedMembers lists the names.
func (m *Metrics) Normalized(members []string) {
	for _, name := range members {
		m.normalized[name].Inc()
	}
}

// Acknowledged records how long the broker took to store a message.
func (m *Metrics) Acknowledged(took time.Duration) { m.publishDuration.Observe(took.Seconds()) }

// Fsync records how long an fsync took, and how many webhooks shared it.
func (m *Metrics) Fsync(webhooks int, took time.Duration) {
	m.fsyncDuration.Observe(took.Seconds())
	m.fsyncWebhooks.Observe(float64(webhooks))
}

// InFlight changes the number of webhooks in flight. It takes a difference, because the
// differences of many goroutines add up in any order.
func (m *Metrics) InFlight(change int) { m.inFlight.Add(float64(change)) }

// HTTPError counts a connection or request that the HTTP library refused.
func (m *Metrics) HTTPError() { m.httpErrors.Inc() }

// DedupeWindow records the stream's duplicate window.
func (m *Metrics) DedupeWindow(d time.Duration) { m.dedupeWindow.Set(d.Seconds()) }

// BrokerConnected sets the function that reports whether the broker is connected. It is called
// at each scrape. BrokerConnected must be called once at the most.
func (m *Metrics) BrokerConnected(connected func() bool) {
	brokerConnected(m.registry, connected)
}

func brokerConnected(r *prometheus.Registry, connected func() bool) {
	boolGauge(r, "broker_connected", "1 while there is a connection to the broker.", connected)
}

// Health sets the functions that report whether a webhook would be accepted now, and whether
// the process can recover by itself. They are called at each scrape. Health must be called
// once at the most.
func (m *Metrics) Health(ready, healthy func() bool) {
	boolGauge(m.registry, "ready", "1 while a webhook would be accepted, as /readyz tells with its reasons.", ready)
	boolGauge(m.registry, "healthy", "0 if only a restart helps, as /healthz tells; the process ends by itself then.", healthy)
}

// Limits records the limits that other metrics are compared with: webhooks in flight at once,
// the time for one webhook, and the size of the outbox in bytes (0 without one). It must be
// called once at the most.
func (m *Metrics) Limits(inFlight int, publishTimeout time.Duration, outboxBytes int64) {
	gauge(m.registry, "in_flight_requests_limit", "RELAY_MAX_IN_FLIGHT: more webhooks at once are refused.").Set(float64(inFlight))
	gauge(m.registry, "publish_timeout_seconds", "RELAY_PUBLISH_TIMEOUT: the whole budget for one webhook.").Set(publishTimeout.Seconds())
	gauge(m.registry, "outbox_limit_bytes", "RELAY_OUTBOX_MAX_BYTES: a full outbox refuses; 0 without an outbox.").Set(float64(outboxBytes))
}

// Log sets the logger whose dropped lines are counted (see [AsyncWriter]). It must be called
// once at the most.
func (m *Metrics) Log(log *slog.Logger) { countDropped(m.registry, log) }

func countDropped(r *prometheus.Registry, log *slog.Logger) {
	dropped := droppedLines(log)
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: namespace, Name: "log_lines_dropped_total", Help: "Lines that are missing in the log, since its reader was too slow or gone.",
	}, func() float64 { return float64(dropped()) }))
}

// boolGauge registers a gauge that is 1 for yes.
func boolGauge(r *prometheus.Registry, name, help string, holds func() bool) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, func() float64 {
		if holds() {
			return 1
		}
		return 0
	}))
}

// Outbox sets the function that returns the backlog of the outbox: entries, their size in bytes
// and the age of the oldest. It is called at each scrape. Outbox must be called once at the
// most.
func (m *Metrics) Outbox(state func() (messages, bytes uint64, oldest time.Duration)) {
	m.registry.MustRegister(outboxCollector(state))
}

// outboxCollector asks once for all three figures.
type outboxCollector func() (messages, bytes uint64, oldest time.Duration)

var (
	outboxMessages = prometheus.NewDesc(namespace+"_outbox_messages", "Webhooks that wait in the outbox for the broker.", nil, nil)
	outboxBytes    = prometheus.NewDesc(namespace+"_outbox_bytes", "Size of what waits in the outbox, as RELAY_OUTBOX_MAX_BYTES counts it.", nil, nil)
	outboxOldest   = prometheus.NewDesc(namespace+"_outbox_oldest_seconds", "Age of what has waited longest in the outbox; 0 if nothing waits.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c outboxCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- outboxMessages
	descs <- outboxBytes
	descs <- outboxOldest
}

// Collect implements prometheus.Collector.
func (c outboxCollector) Collect(metrics chan<- prometheus.Metric) {
	messages, bytes, oldest := c()
	metrics <- prometheus.MustNewConstMetric(outboxMessages, prometheus.GaugeValue, float64(messages))
	metrics <- prometheus.MustNewConstMetric(outboxBytes, prometheus.GaugeValue, float64(bytes))
	metrics <- prometheus.MustNewConstMetric(outboxOldest, prometheus.GaugeValue, oldest.Seconds())
}

// Handler serves the metrics in the format that a scraper asks for: as text, as OpenMetrics
// with the ids of traces, or as protocol buffers, the only format with native histograms.
// Requests over the limit of concurrent ones get 503.
func (m *Metrics) Handler() http.Handler { return serve(m.registry) }

func serve(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: maxGathering, Timeout: gatherTimeout})
}

const (
	// maxGathering is how often the metrics are gathered at once: anybody may ask, and
	// few have a reason to.
	maxGathering = 4
	// gatherTimeout is longer than it takes. With one, the answer is complete before it
	// is sent, so that who reads it slowly counts no longer among those.
	gatherTimeout = 10 * time.Second
)
