package ui

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
)

// errGone: there is no message at a sequence, or not any more.
var errGone = errors.New("there is nothing at this sequence, or not any more")

// message returns one message of a stream, by the stream's leader. Its error is errGone if
// there is none.
func (s *Server) message(ctx context.Context, stream string, sequence uint64) (streamreader.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	m, err := streamreader.Get(ctx, s.conn(), streamreader.Selection{Domain: s.cfg.Stream.Domain, Stream: stream}, sequence)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return m, errGone
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.Is(err, nats.ErrDisconnected):
		err = unavailableError{fmt.Sprintf("the broker did not answer about message %d of the stream %s", sequence, stream)}
	}
	return m, s.orAway(err)
}
