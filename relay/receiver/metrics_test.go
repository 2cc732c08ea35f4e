package receiver_test

import (
	"fmt"
	"strings"
	"testing"
)

// drifted is a webhook that no event can be of as it came.
const drifted = `{"code":200,"data":{"taskId":"task_drifted","state":"failed","failCode":1001,"x":"\ud800"}}`

func TestMetrics(t *testing.T) {
	t.Parallel()
	r := start(t, tokenEnv, "RELAY_MAX_BODY_BYTES=1024")
	requests := []struct {
		path, body string
		changes    []change
	}{
		{goodPath, success("task_1"), nil},
		{goodPath, success("task_2"), nil},
		{goodPath, success("task_2"), nil}, // a duplicate
		{goodPath, failed("task_3", "CONTENT_VIOLATION"), nil},
		{goodPath, failed("task_4", "MADE_UP_BY_A_SENDER"), nil},
		{goodPath, failed("task_5", ""), nil},
		{goodPath, failed("task_5", ""), nil}, // a duplicate
		{goodPath, failed("task_5", ""), nil}, // another
		{goodPath, drifted, nil},
		{goodPath, drifted, nil},                                     // a duplicate
		{goodPath, strings.Replace(drifted, "1001", "1002", 1), nil}, // a conflict
		{goodPath, "no JSON", nil},
		{goodPath, "{}", nil},
		{webhookPath, success("task_6"), nil},
		{"/nowhere", "", nil},
		{goodPath, "", []change{method("PUT")}},
		{goodPath, "", []change{header("Content-Type", "text/plain")}},
		{goodPath, strings.Repeat(" ", 1025), nil},
	}
	for _, req := range requests {
		r.post(t, req.path, req.body, req.changes...)
	}
	r.log.webhook(t, len(requests)) // the last thing that is done about a request
	r.receiver.CancelInFlight()
	r.post(t, goodPath, success("task_7"))
	r.log.webhook(t, len(requests)+1)

	for outcome, want := range map[string]float64{
		"published": 6, "duplicate": 4, "conflict": 1, "quarantined": 3, "unauthorized": 1,
		"rejected": 3, "overloaded": 0, "unavailable": 1,
	} {
		r.wantMetric(t, fmt.Sprintf("apixo_relay_webhooks_total{outcome=%q}", outcome), want)
	}
	r.wantMetric(t, `apixo_relay_events_total{state="success"}`, 2)
	r.wantMetric(t, `apixo_relay_events_total{state="failed"}`, 4)
	r.wantMetric(t, `apixo_relay_task_failures_total{fail_code="CONTENT_VIOLATION"}`, 1)
	r.wantMetric(t, `apixo_relay_task_failures_total{fail_code="other"}`, 3)
	r.wantMetric(t, "apixo_relay_request_duration_seconds_count", float64(len(requests)+1))
	r.wantMetric(t, "apixo_relay_publish_duration_seconds_count", 15)
	// Once for the event, not for its repeats.
	for member, want := range map[string]float64{"failCode": 1, "other": 1, "costTime": 0} {
		r.wantMetric(t, fmt.Sprintf("apixo_relay_normalized_total{member=%q}", member), want)
	}
	// Only these two tell their costTime and completeTime.
	r.wantMetric(t, "apixo_relay_task_cost_seconds_count", 2)
	r.wantMetric(t, "apixo_relay_task_cost_seconds_sum", 25)
	r.wantMetric(t, "apixo_relay_callback_lag_seconds_count", 2)
	r.wantMetric(t, "apixo_relay_in_flight_requests", 0)
	r.wantMetric(t, "apixo_relay_dedupe_window_seconds", 3600)
}
