package feed

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// CatchUp waits until the feed knows what is stored in the stream of events at the time of
// the call: a few milliseconds. Its error says that it has not come to know it, because ctx has
// ended or the stream cannot be read.
func (f *Feed) CatchUp(ctx context.Context) error {
	stream, err := f.events.ask(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	created, last := stream.CachedInfo().Created, stream.CachedInfo().State.LastSeq
	for {
		f.mu.Lock()
		isKnown := f.events.status.Created.Equal(created)
		if isKnown && f.events.followed >= last {
			f.mu.Unlock()
			return nil
		}
		if !isKnown {
			// It was made anew a moment ago.
			select {
			case f.events.again <- struct{}{}:
			default:
			}
		}
		if f.events.advanced == nil {
			f.events.advanced = make(chan struct{})
		}
		advanced := f.events.advanced
		f.mu.Unlock()
		select {
		case <-advanced:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
