package streamreader

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Get returns one message of a stream, as its leader has it; of the selection Domain and Stream
// count. Its Pending is 0. errors.Is tells whether the error is [jetstream.ErrMsgNotFound].
func Get(ctx context.Context, conn *nats.Conn, s Selection, sequence uint64) (Message, error) {
	reply, err := conn.RequestWithContext(ctx, jsapi.MessageSubject(s.Domain, s.Stream), jsapi.MessageRequest(sequence))
	if err != nil {
		return Message{}, Explain(s, err)
	}
	raw, err := jsapi.ParseMessage(reply.Data)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Message{}, fmt.Errorf("the stream %s has no message %d: %w", s.Stream, sequence, err)
	case err != nil:
		return Message{}, Explain(s, err)
	}
	m := Message{Sequence: raw.Sequence, Stored: raw.Time, Subject: raw.Subject, Header: raw.Header, Data: raw.Data}
	m.Event, m.Err = schema.DecodeMessage(m.Header, m.Data)
	return m, nil
}
