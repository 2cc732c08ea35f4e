// Package service has the one lifecycle of all that runs beside webhooks: the publisher,
// the outbox, watchers and servers.
package service

import (
	"context"
	"sync"
)

// Service runs in goroutines of its own between Start and Stop. It starts once.
type Service interface {
	// Start returns when the service works, or the error for which it does not; then
	// nothing of it runs. The end of ctx ends Start and not what it started. After Stop
	// it starts nothing.
	Start(ctx context.Context) error
	// Stop ends the service, and returns when nothing of it runs any more, or an error if
	// that has not come to be when ctx ends. It may be called before Start, more than
	// once, and by several goroutines at once.
	Stop(ctx context.Context) error
}

// Background runs goroutines until it is stopped. Services embed it for their Stop. The
// zero value is ready to use.
type Background struct {
	mu      sync.Mutex
	ctx     context.Context // of the goroutines; nil before the first
	cancel  context.CancelFunc
	running int
	stopped bool
	ended   chan struct{} // closed when none runs after Stop
}

// Go runs a function in a goroutine. Its context ends with Stop, after which Go does
// nothing.
func (b *Background) Go(run func(context.Context)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return
	}
	if b.ctx == nil {
		b.ctx, b.cancel = context.WithCancel(context.Background())
	}
	b.running++
	go func() {
		defer b.end()
		run(b.ctx)
	}()
}

func (b *Background) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running--; b.running == 0 && b.stopped {
		close(b.ended)
	}
}

// Stop implements [Service]. Its error is the cause of ctx's end.
func (b *Background) Stop(ctx context.Context) error {
	b.mu.Lock()
	if !b.stopped {
		b.stopped, b.ended = true, make(chan struct{})
		if b.cancel != nil {
			b.cancel()
		}
		if b.running == 0 {
			close(b.ended)
		}
	}
	b.mu.Unlock()
	select {
	case <-b.ended:
	case <-ctx.Done():
		select {
		case <-b.ended: // both
		default:
			return context.Cause(ctx)
		}
	}
	return nil
}
