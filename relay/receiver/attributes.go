package receiver

import (
	"net/url"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/event"
)

// callbackAttributes picks out of the callback URL's query what becomes
// attributes of the event: the configured parameters, and a trace context.
// What cannot be an attribute is left out and named in the log.
func callbackAttributes(query string, names []string, line *logLine) map[string]string {
	if query == "" {
		return nil
	}
	attributes := make(map[string]string, len(names))
	take := func(name string, valid func(string) bool) {
		switch value := parameter(query, name); {
		case value == "":
		case valid(value):
			attributes[name] = value
		default:
			line.dropped = append(line.dropped, name)
		}
	}
	for _, name := range names {
		take(name, event.ValidAttribute)
	}
	take("traceparent", event.ValidTraceParent)
	if attributes["traceparent"] != "" {
		take("tracestate", event.ValidTraceState)
	}
	return attributes
}

// parameter is the first value of a parameter in a query, as url.Values.Get
// finds it, without a map of all the others.
func parameter(query, name string) string {
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if strings.Contains(pair, ";") {
			continue // nor does the library take those
		}
		key, err := url.QueryUnescape(key)
		if err != nil || key != name {
			continue
		}
		if value, err = url.QueryUnescape(value); err == nil {
			return value
		}
	}
	return ""
}
