package event

import "maps"

// Names of a trace context, as attributes (CloudEvents' extension for distributed
// tracing) and as headers. NATS knows upper from lower case: those who look for a
// context in a message, nats-server among them, look for these.
const (
	traceParentName = "traceparent"
	traceStateName  = "tracestate"
)

// withTraceContext returns a header with those of a trace context, if there is one: a
// copy, since events share theirs.
func withTraceContext(header map[string][]string, d Delivery) map[string][]string {
	if d.Attributes[traceParentName] == "" {
		return header
	}
	header = maps.Clone(header)
	for _, name := range []string{traceParentName, traceStateName} {
		if value := d.Attributes[name]; value != "" {
			header[name] = []string{value}
		}
	}
	return header
}

// TraceContext is that of a message with these headers, in the W3C's form.
func TraceContext(header map[string][]string) (traceParent, traceState string) {
	if values := header[traceParentName]; len(values) > 0 {
		traceParent = values[0]
	}
	if values := header[traceStateName]; len(values) > 0 {
		traceState = values[0]
	}
	return traceParent, traceState
}
