package event

// Names of a trace context, as attributes (CloudEvents' extension for distributed
// tracing) and as headers. NATS knows upper from lower case: those who look for a
// context in a message, nats-server among them, look for these.
const (
	traceParentName = "traceparent"
	traceStateName  = "tracestate"
)

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
