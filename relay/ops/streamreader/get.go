package streamreader

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Get returns one message of a stream, by the stream's leader, which alone knows what is there
// now. It is [jetstream.ErrMsgNotFound] or [jetstream.ErrStreamNotFound] if it is not there; a
// message that is no CloudEvent has an Err of its own.
func Get(ctx context.Context, conn *nats.Conn, domain, stream string, sequence uint64) (Message, error) {
	reply, err := conn.RequestWithContext(ctx, jsapi.MessageSubject(domain, stream), jsapi.MessageRequest(sequence))
	if err != nil {
		return Message{}, err
	}
	raw, err := jsapi.ParseMessage(reply.Data)
	if err != nil {
		return Message{}, err
	}
	m := Message{Sequence: raw.Sequence, Stored: raw.Time, Subject: raw.Subject, Header: raw.Header, Data: raw.Data}
	m.Event, m.Err = schema.DecodeMessage(m.Header, m.Data)
	return m, nil
}
