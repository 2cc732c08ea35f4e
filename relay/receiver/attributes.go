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
	return event.SelectAttributes(names, parameters.Get)
}
