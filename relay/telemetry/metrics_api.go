package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// VerificationResult is what the status API made of a webhook, and the label of
// verifications_total.
type VerificationResult string

// The results of verifications.
const (
	Confirmed    VerificationResult = "confirmed"    // it tells the same
	Contradicted VerificationResult = "contradicted" // it tells another outcome, or knows no such task
	Unverified   VerificationResult = "unknown"      // it was not asked, or does not tell
)

// APIResult is what a request to the status API brought, and the label of
// apixo_requests_total.
type APIResult string

// The results of requests.
const (
	APIAnswered APIResult = "answered" // something about the task, or about the request
	APIDenied   APIResult = "denied"   // the key is not taken
	APIUnusable APIResult = "unusable" // no answer, a pause, an error, or no answer of the API's
)

// Announcement counts a request that announces a task.
func (m *Metrics) Announcement(o Outcome) { m.announcements[o].Inc() }

// Recovered counts an announced task whose result was fetched, and stored for the first time.
func (m *Metrics) Recovered() { m.recovered.Inc() }

// Missing counts an announced task that was given up.
func (m *Metrics) Missing() { m.missing.Inc() }

// ExpectError counts a failure of the register of announced tasks.
func (m *Metrics) ExpectError() { m.expectErrors.Inc() }

// Verification counts a webhook that was held against the status API.
func (m *Metrics) Verification(r VerificationResult) { m.verifications[r].Inc() }

// APIRequest counts a request to the status API, and records its duration.
func (m *Metrics) APIRequest(r APIResult, took time.Duration) {
	m.apiRequests[r].Inc()
	m.apiDuration.Observe(took.Seconds())
}

// Expected sets the function that returns how many announced tasks are outstanding, and how
// many of them are overdue. It is called at each scrape. Expected must be called once at the
// most.
func (m *Metrics) Expected(state func() (tasks, overdue int)) {
	for _, g := range []struct {
		name, help string
		value      func() int
	}{
		{"expected_tasks", "Announced tasks that are outstanding.", func() int { tasks, _ := state(); return tasks }},
		{"expected_overdue", "Outstanding tasks whose webhook has not come within RELAY_EXPECT_AFTER, so that the status API is asked for them.", func() int { _, overdue := state(); return overdue }},
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: g.name, Help: g.help}, func() float64 { return float64(g.value()) }))
	}
}
