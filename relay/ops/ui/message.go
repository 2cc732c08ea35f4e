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

// inWords words that the time has ended in which a stream was to be read.
func inWords(err error, stream string) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the broker did not answer in time about the stream %s: it is stalled, without quorum, or does not let this user read it by a consumer", stream)
	}
	return err
}
