package outbox

import (
	"context"
	"errors"
	"slices"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/retry"
)

// remove takes entries out of the outbox, and does not go on before they are
// gone: later they could be forwarded again when the broker has forgotten them.
// Those whose removal is lost with the process are, and are duplicates.
func (o *Outbox) remove(ctx context.Context, entries []entry) {
	if len(entries) == 0 {
		return
	}
	_, err := retry.Do(ctx, backoff.NewConstantBackOff(minBackoff), func() (removed struct{}, err error) {
		if err = o.removeOnce(ctx, entries); err != nil && ctx.Err() == nil {
			o.Log.Warn("forwarded webhooks could not be removed from the outbox; it is tried again", "messages", len(entries), "error", err)
		}
		return removed, err
	})
	if err != nil {
		return
	}
	if n := int64(len(entries)); o.backlog.Add(-n) == 0 {
		o.Log.Info("the outbox is empty: all webhooks in it have been forwarded")
	}
}

func (o *Outbox) removeOnce(ctx context.Context, entries []entry) error {
	// Also when the relay is stopping: what is removed now is not forwarded again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enqueueTimeout)
	defer cancel()
	sequences := make([]uint64, len(entries))
	for i, e := range entries {
		metadata, err := e.in.Metadata()
		if err != nil {
			return err
		}
		sequences[i] = metadata.Sequence.Stream
	}
	slices.Sort(sequences) // what was handed out twice can come late
	sequences = slices.Compact(sequences)
	info, err := o.stream.Info(ctx)
	if err != nil {
		return err
	}
	oldest, last := sequences[0], sequences[len(sequences)-1]
	if info.State.FirstSeq > last {
		return nil // an earlier try did it, and its answer was lost
	}
	if oldest == info.State.FirstSeq && last-oldest == uint64(len(sequences)-1) {
		// They are all that there is up to the last of them, so that they can go at
		// once, with one fsync instead of one for each.
		return o.stream.Purge(ctx, jetstream.WithPurgeSequence(last+1))
	}
	for _, e := range entries {
		if err := e.in.DoubleAck(ctx); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			return err
		}
	}
	return nil
}
