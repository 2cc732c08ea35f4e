package receiver

import (
	"net/url"

	"github.com/apixo-relay/apixo-relay/relay/event"
)

// callbackAttributes picks out of the callback URL's query what becomes
// attributes of the event: the configured parameters, and a trace context.
// What cannot be an attribute is dropped, and the names of these are returned too.
func callbackAttributes(query string, names []string) (attributes map[string]string, dropped []string) {
	if query == "" {
		return nil, nil
	}
	parameters, _ := url.ParseQuery(query) // those that can be read, as URL.Query returns them
	attributes = make(map[string]string, len(names))
	take := func(name string, valid func(string) bool) {
		switch value := parameters.Get(name); {
		case value == "":
		case valid(value):
			attributes[name] = value
		default:
			dropped = append(dropped, name)
		}
	}
	for _, name := range names {
		take(name, event.ValidAttribute)
	}
	take("traceparent", event.ValidTraceParent)
	if attributes["traceparent"] != "" {
		take("tracestate", event.ValidTraceState)
	}
	return attributes, dropped
}
