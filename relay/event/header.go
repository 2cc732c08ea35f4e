package event

import (
	"maps"

	"github.com/apixo-relay/apixo-relay/schema"
)

// withHeaders returns a header with those that a message has in either mode besides the
// event: its trace context, and who has recovered it. It is a copy where there are any, since
// events share theirs.
func withHeaders(header map[string][]string, d Delivery) map[string][]string {
	traced := d.Attributes[traceParentName] != ""
	if !traced && d.Recovered == "" {
		return header
	}
	header = maps.Clone(header)
	add := func(name, value string) {
		if value != "" {
			header[name] = []string{value}
		}
	}
	if traced {
		add(traceParentName, d.Attributes[traceParentName])
		add(traceStateName, d.Attributes[traceStateName])
	}
	add(schema.HeaderRecovered, d.Recovered)
	return header
}
