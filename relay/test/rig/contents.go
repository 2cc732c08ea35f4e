package rig

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Contents are digests of a stream's messages, with their headers, subjects and
// times, by their sequences.
type Contents map[uint64][sha256.Size]byte

// readTimeout is for a message that a damaged store does not hand out.
const readTimeout = 2 * time.Second

// ReadEach asks the leader of a stream for each message up to a sequence by itself,
// so that one that is damaged does not hide the others. What it does not hand out
// is counted by what it says.
func ReadEach(ctx context.Context, conn *nats.Conn, stream string, last uint64) (Contents, map[string]int, error) {
	contents, failed := make(Contents), make(map[string]int)
	for seq := uint64(1); seq <= last; seq++ {
		message, why, err := get(ctx, conn, stream, seq)
		switch {
		case ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		case err != nil:
			return nil, nil, fmt.Errorf("event %d of %s cannot be asked for: %w", seq, stream, err)
		case why != "":
			failed[why]++
		default:
			contents[seq] = sha256.Sum256(message)
		}
	}
	return contents, failed, nil
}

// get returns a message as the leader describes it, or what it says instead.
func get(ctx context.Context, conn *nats.Conn, stream string, seq uint64) (message []byte, why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	answer, err := conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, fmt.Appendf(nil, `{"seq":%d}`, seq))
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrNoResponders):
		return nil, "no answer", nil
	case err != nil:
		return nil, "", err
	}
	var got struct {
		Message json.RawMessage
		Error   struct{ Description string }
	}
	err = json.Unmarshal(answer.Data, &got)
	return got.Message, got.Error.Description, err
}
