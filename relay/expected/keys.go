package expected

import (
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/retry"
	"github.com/apixo-relay/apixo-relay/schema"
)

// rename moves an announcement to the key that package schema has for its task. There are
// others that name it, such as those with small letters for hexadecimal digits: under two keys
// a task would be looked after twice, and the client does not take each.
func (r *Reconciler) rename(ctx context.Context, b *Bucket, told jetstream.KeyValueEntry, id string) {
	_, err := r.guarded(ctx, func(ctx context.Context) (uint64, error) {
		_, err := b.kv.Create(ctx, schema.ExpectedKey(id), told.Value())
		if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
			return 0, err
		}
		return 0, b.remove(ctx, told.Key(), told.Revision())
	})
	if r.failed(err); err != nil && !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		r.o.Log.Error("an announcement could not be moved to the key of its task", "taskId", id, "key", told.Key(), "error", err)
	}
}

// reject quarantines an announcement that cannot be used, and removes its key.
func (r *Reconciler) reject(ctx context.Context, b *Bucket, told jetstream.KeyValueEntry, rejection *schema.Error) {
	storing, cancel := context.WithTimeout(ctx, r.o.Config.Webhooks.PublishTimeout)
	defer cancel()
	receipt, err := r.Quarantine(storing, told.Key(), told.Value(), rejection)
	if err != nil {
		r.o.Log.Error("an announcement that cannot be used could not be quarantined; it stays in the bucket", "key", told.Key(), "reason", rejection.Code, "error", err)
		return
	}
	r.o.Log.Warn("an announcement cannot be used", "key", told.Key(), "reason", rejection.Code, "detail", rejection.Detail, "stream", receipt.Stream, "sequence", receipt.Sequence)
	_, err = r.guarded(ctx, func(ctx context.Context) (uint64, error) { return 0, b.remove(ctx, told.Key(), told.Revision()) })
	r.failed(err)
}

// removeGone removes the keys of settled tasks, those of a moment together.
func (r *Reconciler) removeGone(ctx context.Context) {
	for {
		select {
		case <-r.gone:
		case <-ctx.Done():
			return
		}
		if retry.Sleep(ctx, removeAfter) != nil {
			return
		}
		for batch := range slices.Chunk(r.tasks.takeGone(), removeBatch) {
			b, err := r.awaitBucket(ctx)
			if err != nil {
				return
			}
			if left := r.removeTogether(ctx, b, batch); len(left) > 0 {
				_ = retry.Sleep(ctx, maxBackoff)
				if r.tasks.returnGone(left) {
					notify(r.gone)
				}
			}
		}
	}
}

// removeTogether removes the keys of settled tasks, and returns those that could not be. One
// that has changed meanwhile is told of anew, and comes here again.
func (r *Reconciler) removeTogether(ctx context.Context, b *Bucket, batch []*entry) (left []*entry) {
	_, _ = r.guarded(ctx, func(ctx context.Context) (_ uint64, err error) {
		acks := make([]jetstream.PubAckFuture, len(batch))
		for i, e := range batch {
			if acks[i], err = b.removeAsync(e.key, e.revision); err != nil {
				break
			}
		}
		for i, e := range batch {
			if acks[i] != nil {
				err = awaitRemoval(ctx, acks[i])
			}
			switch {
			case err == nil:
				r.tasks.remove(e.key, e.id, e.revision)
			case errors.Is(err, jetstream.ErrKeyRevisionMismatch) && r.tasks.mismatched(e):
				r.tasks.remove(e.key, e.id, e.revision) // purged by somebody, who tells nobody
				notify(r.reopen)
			default:
				r.failed(err)
				left = append(left, e)
			}
		}
		return 0, err
	})
	return left
}
