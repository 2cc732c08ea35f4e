package outbox

import (
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Headers of an entry. Its payload is the webhook's body: what that becomes is
// decided when it leaves, so that entries need no conversion when the relay is
// configured differently, or is another version.
const (
	headerReceived   = "Relay-Received"   // RFC 3339
	headerAttributes = "Relay-Attributes" // as in the query of a URL, since header values lose spaces at their ends
	// Why the headers of the request kept its body from becoming an event; neither is
	// there where the body decides.
	headerReason = "Relay-Refused"
	headerDetail = "Relay-Refused-Detail"
	// Who fetched the body from the status API; not there where it came by webhook.
	headerRecovered = "Relay-Recovered"
)

func entryOf(id string, d event.Delivery) *nats.Msg {
	attributes := make(url.Values, len(d.Attributes))
	for name, value := range d.Attributes {
		attributes.Set(name, value)
	}
	header := nats.Header{
		jetstream.MsgIDHeader: {id},
		headerReceived:        {d.Received.UTC().Format(time.RFC3339Nano)},
		headerAttributes:      {attributes.Encode()},
	}
	if d.Rejection != nil {
		header[headerReason], header[headerDetail] = []string{d.Rejection.Code}, []string{d.Rejection.Detail}
	}
	if d.Recovered != "" {
		header[headerRecovered] = []string{d.Recovered}
	}
	return &nats.Msg{Subject: subject, Header: header, Data: d.Body}
}

// deliveryOf is the way back. What cannot be read of the headers is left out:
// the body is what was promised.
func deliveryOf(header nats.Header, body []byte) event.Delivery {
	d := event.Delivery{Body: body, Recovered: header.Get(headerRecovered)}
	if received, err := time.Parse(time.RFC3339Nano, header.Get(headerReceived)); err == nil {
		d.Received = received
	}
	if values, err := url.ParseQuery(header.Get(headerAttributes)); err == nil && len(values) > 0 {
		d.Attributes = make(map[string]string, len(values))
		for name := range values {
			d.Attributes[name] = values.Get(name)
		}
	}
	if reason := header.Get(headerReason); reason != "" {
		d.Rejection = &schema.Error{Kind: event.ErrMediaType, Code: reason, Detail: header.Get(headerDetail)}
	}
	return d
}
