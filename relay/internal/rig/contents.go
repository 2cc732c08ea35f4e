package rig

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Contents are digests of a stream's messages, with their headers and subjects, by
// their sequences.
type Contents map[uint64][sha256.Size]byte

// readTimeout is for a message that a damaged store does not hand out.
const readTimeout = 2 * time.Second

// ReadEach asks a broker for each message up to a sequence by itself, so that one
// that is damaged does not hide the others. Errors are counted by what they say.
func ReadEach(ctx context.Context, js jetstream.JetStream, stream string, last uint64) (Contents, map[string]int, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, nil, fmt.Errorf("the stream %s cannot be looked at: %w", stream, err)
	}
	contents, failed := make(Contents), make(map[string]int)
	for seq := uint64(1); seq <= last; seq++ {
		m, err := get(ctx, s, seq)
		switch {
		case err == nil:
			h := sha256.New()
			fmt.Fprintf(h, "%s\n%v\n", m.Subject, m.Header)
			_, _ = h.Write(m.Data)
			contents[seq] = [sha256.Size]byte(h.Sum(nil))
		case ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		default:
			failed[errorText(err)]++
		}
	}
	return contents, failed, nil
}

func get(ctx context.Context, s jetstream.Stream, seq uint64) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return s.GetMsg(ctx, seq)
}

// errorText is the same for all messages.
func errorText(err error) string {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return "not found"
	case errors.As(err, &api):
		return api.Description
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return "no answer"
	default:
		return err.Error()
	}
}
