package event

// Names of a trace context, as attributes (CloudEvents' extension for distributed
// tracing) and as headers. NATS knows upper from lower case: those who look for a
// context in a message, nats-server among them, look for these.
const (
	traceParentName = "traceparent"
	traceStateName  = "tracestate"
)

// addTraceContext adds the headers of a trace context, if there is one.
func addTraceContext(header map[string][]string, d Delivery) {
	for _, name := range []string{traceParentName, traceStateName} {
		if value := d.Attributes[name]; value != "" {
			header[name] = []string{value}
		}
	}
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
