package replay

import (
	"errors"
	"fmt"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
)

// What a replay does unless it is told otherwise.
const (
	// DefaultHTTPConcurrency and DefaultNATSConcurrency are how many deliveries are under
	// way at once: an HTTP endpoint works on each event; a broker takes them in order, and
	// only its answers are waited for.
	DefaultHTTPConcurrency = 8
	DefaultNATSConcurrency = 256
	// DefaultTimeout is how long an answer may take, and DefaultAttempts how often a
	// delivery is tried.
	DefaultTimeout  = 30 * time.Second
	DefaultAttempts = 5
	// DefaultMaxFailures is after how many failures in a row a replay stops.
	DefaultMaxFailures = 100
)

// ModeWebhook is the name of the form in which webhooks are sent, as [HTTPOptions.ChooseMode]
// takes it.
const ModeWebhook = "webhook"

// Reasons why events cannot be posted to a URL in a form.
var (
	// ErrNoWebhooks: webhooks are kept in the quarantine alone, and of others there are the
	// events.
	ErrNoWebhooks = errors.New("webhooks are kept in the quarantine alone, and of others there are the events")
	// ErrWebhookEndpoint: the URL is that of a relay's webhook endpoint, and it is CloudEvents
	// that would be posted.
	ErrWebhookEndpoint = errors.New("it is a relay's webhook endpoint, which takes webhooks: it would quarantine every CloudEvent")
)

// ChooseMode sets the form of what is posted by its name: structured, binary or webhook. An
// empty one is the form that fits: webhooks from the quarantine to a relay, and else the
// fallback. toRelay says that the URL is that of a relay's webhook endpoint, which takes
// webhooks alone; only the quarantine has them.
func (o *HTTPOptions) ChooseMode(name, fallback string, quarantine, toRelay bool) error {
	switch {
	case name == "" && toRelay && quarantine:
		name = ModeWebhook
	case name == "":
		name = fallback
	}
	switch name {
	case "structured":
		o.Mode = event.Structured
	case "binary":
		o.Mode = event.Binary
	case ModeWebhook:
		if o.Webhook = quarantine; !quarantine {
			return ErrNoWebhooks
		}
		return nil
	default:
		return fmt.Errorf("there is no mode %q: choose structured, binary or webhook", name)
	}
	if toRelay {
		return ErrWebhookEndpoint
	}
	return nil
}
