package config

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The variables of this file are read by OpenTelemetry's SDK. Here it is found out
// which of them it cannot use, so that the log and check tell of all of them alike.

var (
	// tracingSamplers are those of the specification but for jaeger's and X-Ray's.
	tracingSamplers = []string{"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}
	// spanLimits are numbers of which a negative one means that there is no limit.
	spanLimits = []string{
		"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT",
		"OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
	}
	// batchNumbers have bounds that the SDK does not look at: it panics, takes memory
	// without end, or does not rest. Times are in milliseconds.
	batchNumbers = []struct {
		variable    string
		least, most int
	}{
		{"OTEL_BSP_SCHEDULE_DELAY", 1, maxBatchMillis}, {"OTEL_BSP_EXPORT_TIMEOUT", 0, maxBatchMillis},
		{"OTEL_BSP_MAX_QUEUE_SIZE", 1, maxBatchSpans}, {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, maxBatchSpans},
	}
)

const (
	maxBatchMillis = 24 * 60 * 60 * 1000
	// maxBatchSpans bounds a queue whose memory is allocated at once.
	maxBatchSpans = 1 << 20
)

// unusable warns of a variable, and keeps it from the SDK.
func (r *tracingReader) unusable(variable, problem, instead string) {
	r.warn(variable, problem, instead)
	r.t.Unset = append(r.t.Unset, variable)
}

func (r *tracingReader) checkSampler() {
	const variable, argument = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	sampler := strings.ToLower(r.value(variable))
	if sampler != "" && !slices.Contains(tracingSamplers, sampler) {
		r.unusable(variable, "is no sampler that the relay has", "parentbased_always_on is used")
		return
	}
	arg := r.value(argument)
	if arg == "" || !strings.HasSuffix(sampler, "traceidratio") {
		return
	}
	if ratio, err := strconv.ParseFloat(arg, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
		r.unusable(argument, "is no share of all traces, from 0 to 1", "1.0 is used")
	}
}

// checkResource holds the attributes of the resource against their form. As the
// specification has it, all of them are left out if one is wrong.
func (r *tracingReader) checkResource() {
	const variable = "OTEL_RESOURCE_ATTRIBUTES"
	for i, pair := range strings.Split(r.value(variable), ",") {
		_, value, ok := strings.Cut(pair, "=")
		if _, err := url.PathUnescape(value); r.value(variable) != "" && (!ok || err != nil) {
			r.unusable(variable, fmt.Sprintf("has no attribute like name=value, the value percent-encoded, in place %d", i+1), "it is left out")
			return
		}
	}
}

func (r *tracingReader) checkNumbers() {
	number := func(variable string) (n int, ok bool) {
		value := r.vars[variable]
		if value == "" {
			return 0, false
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			r.unusable(variable, "is no whole number", "the default is used")
		}
		return n, err == nil
	}
	for _, variable := range spanLimits {
		number(variable)
	}
	for _, b := range batchNumbers {
		if n, ok := number(b.variable); ok && (n < b.least || n > b.most) {
			r.unusable(b.variable, fmt.Sprintf("is not from %d to %d", b.least, b.most), "the default is used")
		}
	}
}
