package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Clean removes chunks that no object refers to. It holds one line for each object of the
// store, about 100 bytes.
func (t *objectStore) Clean(ctx context.Context) error {
	if t.readOnly {
		return errReadOnly
	}
	removed, err := t.clean(ctx)
	if removed > 0 {
		t.log.Info("removed parts of files that were not finished", "target", t.text, "files", removed)
	}
	if err != nil && ctx.Err() == nil {
		err = t.explain(ctx, "clean", "the object store", err)
	}
	return err
}

func (t *objectStore) clean(ctx context.Context) (removed int, err error) {
	// Chunks first: those of an object that comes meanwhile are not among them, or it is.
	prefix := t.chunks("")
	listing, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	info, err := t.stream.Info(listing, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return 0, err
	}
	unused := info.State.Subjects
	err = t.eachMeta(ctx, func(data []byte) error {
		var object jetstream.ObjectInfo
		if err := json.Unmarshal(data, &object); err != nil {
			return fmt.Errorf("an object's description cannot be read, and nothing was removed: %w", err)
		}
		delete(unused, prefix+object.NUID)
		return nil
	})
	if err != nil {
		return 0, err
	}
	for subject := range unused {
		m, err := t.stream.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && time.Since(m.Time) < t.abandoned {
			continue
		}
		if err == nil {
			err = t.stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
		if err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// metaBatch is how many descriptions of objects are under way at a time, of about 500 bytes each.
const metaBatch = 500

// eachMeta calls do for the description of every object. Its error may be that it could not see
// all of them.
func (t *objectStore) eachMeta(ctx context.Context, do func([]byte) error) error {
	c, err := t.js.CreateConsumer(ctx, t.streamName(), jetstream.ConsumerConfig{
		FilterSubject: t.metas(), AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: time.Minute, MemoryStorage: true,
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := request(context.WithoutCancel(ctx))
		defer cancel()
		_ = t.js.DeleteConsumer(ctx, t.streamName(), c.CachedInfo().Name)
	}()
	r := metaReader{left: c.CachedInfo().NumPending, do: do}
	for r.left > 0 {
		if err := r.batch(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// metaReader reads descriptions of objects.
type metaReader struct {
	do       func([]byte) error
	left     uint64
	sequence uint64 // of the last message, as the consumer counts
}

func (r *metaReader) batch(ctx context.Context, c jetstream.Consumer) error {
	ctx, cancel := request(ctx)
	defer cancel()
	batch, err := c.Fetch(int(min(r.left, metaBatch)), jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	before := r.sequence
	for m := range batch.Messages() {
		at, err := m.Metadata()
		if err != nil {
			return err
		}
		// Nothing is sent again that got lost on its way.
		if r.sequence++; at.Sequence.Consumer != r.sequence {
			return errors.New("the broker's list of objects has come with a gap; try again")
		}
		if err := r.do(m.Data()); err != nil {
			return err
		}
		r.left = at.NumPending
	}
	if err := batch.Error(); err != nil {
		return err
	}
	if r.sequence == before {
		return errors.New("the broker's list of objects does not come to its end; try again")
	}
	return nil
}
