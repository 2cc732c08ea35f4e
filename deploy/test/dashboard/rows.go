package main

// row is a headline and what stands below it, from left to right.
type row struct {
	title  string
	panels []panel
}

// panel is one picture.
type panel struct {
	title string
	kind  kind
	width int // of 24
	// description says what it shows and when to worry.
	description string
	// alerts are those whose runbook sections it links to.
	alerts  []string
	unit    string // one of Grafana's
	queries []query
	// steps colour a value, from each on.
	steps []step
	// log is a logarithmic axis.
	log bool
}

// query is in PromQL. @ stands for the relays that were chosen.
type query struct{ expr, legend string }

type step struct {
	from  float64
	color string
}

type kind string

const (
	stat     kind = "stat"
	yesNo    kind = "yes or no" // a stat of 1 or 0
	lines    kind = "timeseries"
	stacked  kind = "stacked" // a timeseries whose values add up
	heatmap  kind = "heatmap"
	states   kind = "state-timeline" // of 1 and 0
	barGauge kind = "bargauge"
)

var (
	fine    = []step{{0, "green"}}
	anyIsNo = []step{{0, "green"}, {1, "red"}}    // something is wrong from 1 on
	anyIsOK = []step{{0, "green"}, {1, "yellow"}} // something to look at from 1 on
)

// quantiles are two lines of a histogram: what half of all take, and a high one of the
// relay where that is highest, since many good ones would hide a bad one.
func quantiles(metric, high, name string) []query {
	of := func(q, by string) string {
		return "histogram_quantile(" + q + ", sum by (" + by + ") (rate(" + metric + "_bucket{@}[$__rate_interval])))"
	}
	return []query{{of("0.5", "le"), "p50"}, {"max(" + of(high, "job, instance, le") + ")", name + ", highest relay"}}
}

var rows = []row{
	{"Is everything all right?", []panel{
		{title: "Alerts", kind: stat, width: 3, unit: "none", steps: anyIsNo,
			description: "Alerts of apixo-relay.rules.yaml that fire now. Each has a section in the runbook.",
			queries:     []query{{`count(ALERTS{@, alertname=~"ApixoRelay.*", alertstate="firing"}) or vector(0)`, ""}}},
		{title: "Ready", kind: yesNo, width: 3, unit: "none",
			description: "Whether all relays would accept a webhook now, as /readyz says. If not: webhooks are lost 12.5 minutes after they were first sent.",
			alerts:      []string{"ApixoRelayNotReady", "ApixoRelayDown"},
			queries:     []query{{`min(apixo_relay_ready{@})`, ""}}},
		{title: "Broker", kind: yesNo, width: 3, unit: "none",
			description: "Whether all relays are connected to NATS. If not, events wait in the outbox, or webhooks are refused.",
			alerts:      []string{"ApixoRelayBrokerAway"},
			queries:     []query{{`min(apixo_relay_broker_connected{@})`, ""}}},
		{title: "Webhooks/s", kind: stat, width: 3, unit: "reqps", steps: fine,
			description: "Requests that came in, whatever they were answered.",
			queries:     []query{{`sum(rate(apixo_relay_webhooks_total{@}[$__rate_interval]))`, ""}}},
		{title: "Refused", kind: stat, width: 3, unit: "short", steps: anyIsNo,
			description: "Webhooks that were answered with 503 in the time shown. The sender comes again after 30 s, 2 min and 10 min, so few are no loss; many, or for minutes, are.",
			alerts:      []string{"ApixoRelayRefusing", "ApixoRelayOverloaded"},
			queries:     []query{{`sum(increase(apixo_relay_webhooks_total{@, outcome=~"unavailable|overloaded"}[$__range]))`, ""}}},
		{title: "Events", kind: stat, width: 3, unit: "short", steps: fine,
			description: "Tasks that were stored for the first time in the time shown, in the broker or the outbox.",
			queries:     []query{{`sum(increase(apixo_relay_events_total{@}[$__range]))`, ""}}},
		{title: "Quarantine", kind: stat, width: 3, unit: "short", steps: anyIsOK,
			description: "Deliveries in the time shown that could not be read, or that contradict what is stored. They are kept: apixo-relay tail --quarantine shows them.",
			alerts:      []string{"ApixoRelayQuarantineGrowing", "ApixoRelayConflicts"},
			queries:     []query{{`sum(increase(apixo_relay_webhooks_total{@, outcome=~"quarantined|conflict"}[$__range])) + sum(increase(apixo_relay_outbox_forwarded_total{@, outcome=~"quarantined|conflict"}[$__range]))`, ""}}},
		{title: "Outbox", kind: stat, width: 3, unit: "short", steps: anyIsOK,
			description: "Webhooks that wait for the broker now. They got their 200; consumers do not see them yet.",
			alerts:      []string{"ApixoRelayOutboxWaiting", "ApixoRelayOutboxFilling"},
			queries:     []query{{`sum(apixo_relay_outbox_messages{@})`, ""}}},
	}},
	{"Traffic", []panel{
		{title: "Webhooks by outcome", kind: stacked, width: 12, unit: "reqps",
			description: "published, duplicate and conflict got 200. unavailable and overloaded got 503: the sender comes again. The others got 4xx; of these only quarantined are kept. Many duplicates say that the sender does not see the answers.",
			alerts:      []string{"ApixoRelayRefusing", "ApixoRelayDuplicates"},
			queries:     []query{{`sum by (outcome) (rate(apixo_relay_webhooks_total{@}[$__rate_interval]))`, "{{outcome}}"}}},
		{title: "Not answered with 200, by problem", kind: stacked, width: 12, unit: "reqps",
			description: "What senders were told, by the words of the README's table \"What each answer means\". unauthorized after a change of tokens: webhooks are being lost.",
			alerts:      []string{"ApixoRelayRefusing", "ApixoRelayTurningAway", "ApixoRelayUnauthorized", "ApixoRelayRejecting"},
			queries:     []query{{`sum by (problem) (rate(apixo_relay_problems_total{@}[$__rate_interval])) > 0`, "{{problem}}"}}},
	}},
	{"Answers", []panel{
		{title: "Answer time, all", kind: heatmap, width: 12, unit: "s",
			description: "How many answers took how long. One band is the ordinary case; a second one far above it is a broker that is sometimes slow.",
			queries:     []query{{`sum by (le) (increase(apixo_relay_request_duration_seconds_bucket{@}[$__rate_interval]))`, "{{le}}"}}},
		{title: "Answer time", kind: lines, width: 6, unit: "s", log: true,
			description: "Half of the answers take less than p50; all but one in a hundred less than p99, here that of the slowest relay. Worry over 10 s: from 20 s on (RELAY_PUBLISH_TIMEOUT) the answer is 503, and the sender waits for 30 s.",
			alerts:      []string{"ApixoRelaySlow"},
			steps:       []step{{0, "transparent"}, {10, "orange"}, {20, "red"}},
			queries:     quantiles("apixo_relay_request_duration_seconds", "0.99", "p99")},
		{title: "In flight", kind: lines, width: 6, unit: "short",
			description: "Webhooks that are being worked on. Over the limit, RELAY_MAX_IN_FLIGHT, they get 503. It rises when the broker is slow.",
			alerts:      []string{"ApixoRelayBusy", "ApixoRelayOverloaded"},
			queries:     []query{{`apixo_relay_in_flight_requests{@}`, "{{instance}}"}}},
	}},
	{"Publishing", []panel{
		{title: "Until the broker acknowledged", kind: lines, width: 6, unit: "s", log: true,
			description: "From handing a message to the broker to its acknowledgement, retries included. An external broker's fsync and replication are in it; the embedded one acknowledges what it has written, and is fsynced afterwards.",
			alerts:      []string{"ApixoRelaySlow"},
			queries:     quantiles("apixo_relay_publish_duration_seconds", "0.99", "p99")},
		{title: "Messages acknowledged", kind: lines, width: 6, unit: "wps",
			description: "Messages that the broker stored or knew already, by relay.",
			queries:     []query{{`rate(apixo_relay_publish_duration_seconds_count{@}[$__rate_interval])`, "{{instance}}"}}},
		{title: "Fsync", kind: lines, width: 6, unit: "s", log: true,
			description: "How long the disk in RELAY_DATA_DIR takes to make durable what the embedded broker or the outbox has written. An answer waits for one or two of them. max is rounded up to the next limit of a bucket. Ordinary is up to some 10 ms; from 10 s on (half of RELAY_PUBLISH_TIMEOUT) webhooks get 503. Nothing with an external broker alone, or with RELAY_EMBEDDED_SYNC=interval.",
			alerts:      []string{"ApixoRelayDiskSlow"},
			steps:       []step{{0, "transparent"}, {1, "orange"}, {10, "red"}},
			queries: append(quantiles("apixo_relay_fsync_duration_seconds", "0.99", "p99"),
				query{`histogram_quantile(1, sum by (le) (rate(apixo_relay_fsync_duration_seconds_bucket{@}[$__rate_interval])))`, "max"})},
		{title: "Webhooks an fsync", kind: lines, width: 6, unit: "short",
			description: "How many webhooks shared an fsync: those that waited when it began. More than 1 where many come at once or the disk is slow, and then it is what keeps up with them.",
			alerts:      []string{"ApixoRelayDiskSlow"},
			queries: []query{
				{`sum(rate(apixo_relay_fsync_webhooks_sum{@}[$__rate_interval])) / sum(rate(apixo_relay_fsync_webhooks_count{@}[$__rate_interval]))`, "mean"},
				{`histogram_quantile(0.99, sum by (le) (rate(apixo_relay_fsync_webhooks_bucket{@}[$__rate_interval])))`, "p99"},
			}},
	}},
	{"Events", []panel{
		{title: "Events by state", kind: stacked, width: 6, unit: "ops",
			description: "Tasks stored for the first time, by how they ended at APIXO. More failed ones are no fault of the relay's: see the fail codes.",
			queries:     []query{{`sum by (state) (rate(apixo_relay_events_total{@}[$__rate_interval]))`, "{{state}}"}}},
		{title: "Failed tasks by fail code", kind: barGauge, width: 6, unit: "short",
			description: "In the time shown. INSUFFICIENT_CREDITS and MODEL_UNAVAILABLE are yours and APIXO's to mend, the others are mostly the prompts'. other is what APIXO has not documented.",
			queries:     []query{{`sum by (fail_code) (increase(apixo_relay_task_failures_total{@}[$__range])) > 0`, "{{fail_code}}"}}},
		{title: "Callback lag", kind: lines, width: 6, unit: "s", log: true,
			description: "From a task's end, by APIXO's clock, to its event being stored. 30 s, 2.5 and 12.5 minutes are APIXO's retries. Result URLs expire after 24 hours.",
			alerts:      []string{"ApixoRelayCallbackLag"},
			steps:       []step{{0, "transparent"}, {120, "orange"}},
			queries:     quantiles("apixo_relay_callback_lag_seconds", "0.9", "p90")},
		{title: "Task cost", kind: lines, width: 6, unit: "s", log: true,
			description: "APIXO's processing time, as its webhooks tell it (costTime). The relay has no part in it.",
			queries:     quantiles("apixo_relay_task_cost_seconds", "0.9", "p90")},
	}},
	{"Broker and outbox", []panel{
		{title: "Ready, by relay", kind: states, width: 12, unit: "none",
			description: "When each relay would have accepted webhooks. A gap is a relay that was not there.",
			alerts:      []string{"ApixoRelayNotReady", "ApixoRelayDown", "ApixoRelayAbsent", "ApixoRelayUnhealthy"},
			queries:     []query{{`min by (instance) (apixo_relay_ready{@})`, "{{instance}}"}}},
		{title: "Broker connected, by relay", kind: states, width: 12, unit: "none",
			description: "When each relay was connected to NATS.",
			alerts:      []string{"ApixoRelayBrokerAway"},
			queries:     []query{{`min by (instance) (apixo_relay_broker_connected{@})`, "{{instance}}"}}},
		{title: "Waiting in the outbox", kind: lines, width: 6, unit: "short",
			description: "Webhooks, by relay. It rises while the broker is away and falls quickly afterwards. A few that stay are ones that the broker refuses: the log says why.",
			alerts:      []string{"ApixoRelayOutboxWaiting"},
			queries:     []query{{`apixo_relay_outbox_messages{@}`, "{{instance}}"}}},
		{title: "Oldest in the outbox", kind: lines, width: 6, unit: "s",
			description: "How late consumers get what has waited longest. Over RELAY_DEDUPE_WINDOW (1 h unless set) a webhook can be stored twice; over 24 hours result URLs have expired.",
			alerts:      []string{"ApixoRelayOutboxWaiting"},
			steps:       []step{{0, "transparent"}, {900, "orange"}, {3600, "red"}},
			queries:     []query{{`apixo_relay_outbox_oldest_seconds{@}`, "{{instance}}"}}},
		{title: "Size of the outbox", kind: lines, width: 6, unit: "bytes",
			description: "Over RELAY_OUTBOX_MAX_BYTES webhooks get 503.",
			alerts:      []string{"ApixoRelayOutboxFilling"},
			queries:     []query{{`apixo_relay_outbox_bytes{@}`, "{{instance}}"}}},
		{title: "Duplicate window", kind: lines, width: 6, unit: "s",
			description: "For how long the stream remembers task ids. Under 14.5 minutes APIXO's last retry can be stored twice. 0: not known yet.",
			alerts:      []string{"ApixoRelayWindowTooShort"},
			steps:       []step{{0, "red"}, {870, "transparent"}},
			queries:     []query{{`apixo_relay_dedupe_window_seconds{@}`, "{{instance}}"}}},
		{title: "Forwarded from the outbox", kind: stacked, width: 24, unit: "ops",
			description: "What the broker made of webhooks that had waited. conflict and quarantined are in the quarantine; many duplicates after an outage are ordinary, they are what APIXO had sent again.",
			queries:     []query{{`sum by (outcome) (rate(apixo_relay_outbox_forwarded_total{@}[$__rate_interval]))`, "{{outcome}}"}}},
	}},
	{"Expected tasks and verification", []panel{
		{title: "Announced tasks", kind: lines, width: 6, unit: "short",
			description: "Tasks that were announced and have not ended, and those of them that are asked for because their webhook has not come in RELAY_EXPECT_AFTER. Relays that share a broker see the same. Overdue ones that only become more: the status API gives no answer, or has much to do.",
			alerts:      []string{"ApixoRelayDeliveriesLost", "ApixoRelayAPIAway"},
			queries:     []query{{`max(apixo_relay_expected_tasks{@})`, "outstanding"}, {`max(apixo_relay_expected_overdue{@})`, "overdue"}}},
		{title: "Recovered and missing tasks", kind: stacked, width: 5, unit: "short",
			description: "recovered: the status API gave the result, and no webhook had come. A few are webhooks that were on their way; many, for long: deliveries are being lost. missing: given up. errors: the bucket of announced tasks could not be used, as the log says.",
			alerts:      []string{"ApixoRelayDeliveriesLost", "ApixoRelayTasksMissing", "ApixoRelayExpectFailing"},
			queries: []query{
				{`sum(increase(apixo_relay_recovered_total{@}[$__rate_interval]))`, "recovered"},
				{`sum(increase(apixo_relay_missing_total{@}[$__rate_interval]))`, "missing"},
				{`sum(increase(apixo_relay_expect_errors_total{@}[$__rate_interval]))`, "errors"},
			}},
		{title: "Verified webhooks", kind: stacked, width: 5, unit: "ops",
			description: "What the status API said of webhooks, with RELAY_VERIFY. contradicted: they are forged, or the key is another account's. unknown: their callback URL names no model, or no answer came in RELAY_VERIFY_TIMEOUT.",
			alerts:      []string{"ApixoRelayForgedWebhooks", "ApixoRelayNotVerified"},
			queries:     []query{{`sum by (result) (rate(apixo_relay_verifications_total{@}[$__rate_interval]))`, "{{result}}"}}},
		{title: "Requests to the status API", kind: stacked, width: 4, unit: "reqps",
			description: "denied: APIXO refuses the key. unusable: no answer, 429, 5xx, or something else in its place. They are bounded by RELAY_API_RATE.",
			alerts:      []string{"ApixoRelayAPIKeyRefused", "ApixoRelayAPIAway"},
			queries:     []query{{`sum by (result) (rate(apixo_relay_apixo_requests_total{@}[$__rate_interval]))`, "{{result}}"}}},
		{title: "Status API, answers in", kind: lines, width: 4, unit: "s", log: true,
			description: "Of requests to the status API. Webhooks wait for it for RELAY_VERIFY_TIMEOUT (5 s unless set) at the longest.",
			alerts:      []string{"ApixoRelayNotVerified"},
			queries:     quantiles("apixo_relay_apixo_request_duration_seconds", "0.99", "p99")},
	}},
	{"Archive", []panel{
		{title: "Archived files", kind: lines, width: 4, unit: "ops",
			description: "Files of results that were stored, by archive. Nothing in this row where 'apixo-relay archive' does not run.",
			alerts:      []string{"ApixoRelayArchiveDown", "ApixoRelayArchiveAbsent"},
			queries:     []query{{`rate(apixo_relay_archived_files_total{@}[$__rate_interval])`, "{{instance}}"}}},
		{title: "Archived bytes", kind: lines, width: 4, unit: "Bps",
			description: "Their size.",
			queries:     []query{{`rate(apixo_relay_archived_bytes_total{@}[$__rate_interval])`, "{{instance}}"}}},
		{title: "Files given up, by cause", kind: stacked, width: 4, unit: "short",
			description: "Files that are not in the archive and will not be, each with an event under apixo.archive.failed. gone: the origin does not have it any more. forbidden-host: RELAY_ARCHIVE_HOSTS does not allow it. target is none of these: the target could not store, and it is tried again.",
			alerts:      []string{"ApixoRelayArchiveFailures", "ApixoRelayArchiveTargetDown"},
			queries:     []query{{`sum by (cause) (increase(apixo_relay_archive_failures_total{@}[$__rate_interval])) > 0`, "{{cause}}"}}},
		{title: "Backlog", kind: lines, width: 4, unit: "short",
			description: "Events whose files are not all safe yet, and how many were put off to be tried again. Archives that share the work see the same backlog. One that only rises: more arrives than is stored.",
			alerts:      []string{"ApixoRelayArchiveLate"},
			queries:     []query{{`max(apixo_relay_archive_backlog_events{@})`, "events"}, {`sum(increase(apixo_relay_archive_retries_total{@}[$__rate_interval]))`, "tries again"}}},
		{title: "Oldest in the backlog", kind: lines, width: 4, unit: "s",
			description: "Age of the oldest event whose files are not all safe yet. At 24 hours its addresses expire, and the files are lost.",
			alerts:      []string{"ApixoRelayArchiveLate", "ApixoRelayArchiveExpiring"},
			steps:       []step{{0, "transparent"}, {43200, "orange"}, {72000, "red"}},
			queries:     []query{{`max(apixo_relay_archive_oldest_seconds{@})`, "oldest"}}},
		{title: "Time left when stored", kind: lines, width: 4, unit: "s",
			description: "What was left until a file's address expired, at the moment that it was stored. Ordinary is nearly 24 hours; one in a hundred has less than p1.",
			alerts:      []string{"ApixoRelayArchiveLate"},
			queries: []query{
				{`histogram_quantile(0.5, sum by (le) (rate(apixo_relay_archive_time_left_seconds_bucket{@}[$__rate_interval])))`, "p50"},
				{`histogram_quantile(0.01, sum by (le) (rate(apixo_relay_archive_time_left_seconds_bucket{@}[$__rate_interval])))`, "p1"},
			}},
	}},
	{"Process", []panel{
		{title: "CPU", kind: lines, width: 4, unit: "percentunit",
			description: "1 is a whole core. The embedded broker's share is in it.",
			queries:     []query{{`rate(process_cpu_seconds_total{@}[$__rate_interval])`, "{{instance}}"}}},
		{title: "Memory", kind: lines, width: 4, unit: "bytes",
			description: "Resident. Bounded by 1,228 MiB with the default settings, 1,216 MiB for clients of an embedded broker, and what its ids take: see the README.",
			queries:     []query{{`process_resident_memory_bytes{@}`, "{{instance}}"}}},
		{title: "Goroutines", kind: lines, width: 4, unit: "short",
			description: "A few for each connection and webhook in flight. One that only ever rises is a leak: please report it.",
			queries:     []query{{`go_goroutines{@}`, "{{instance}}"}}},
		{title: "File descriptors in use", kind: lines, width: 4, unit: "percentunit",
			description: "Of those that the process may open. Near all of them, idle connections are closed for new ones.",
			queries:     []query{{`process_open_fds{@} / process_max_fds{@}`, "{{instance}}"}}},
		{title: "Starts", kind: stat, width: 4, unit: "short", steps: []step{{0, "green"}, {3, "red"}},
			description: "Of the relay that was started most often, in the time shown, the first start not counted. More than your rollouts: the log's last lines say why one ended.",
			alerts:      []string{"ApixoRelayRestarting", "ApixoRelayUnhealthy"},
			queries:     []query{{`max(changes(process_start_time_seconds{@}[$__range]))`, ""}}},
		{title: "Log lines dropped", kind: lines, width: 4, unit: "short",
			description: "Lines that the log's reader was too slow for, or gone. Webhooks do not wait for it.",
			alerts:      []string{"ApixoRelayLogDropped"},
			queries:     []query{{`increase(apixo_relay_log_lines_dropped_total{@}[$__rate_interval])`, "{{instance}}"}}},
	}},
}
