package ui

import (
	"context"
	"sync"
	"time"
)

// cached is something that takes a while to find out, and is shown to all who look at once.
// The zero value is ready to use.
type cached[T any] struct {
	mu      sync.Mutex
	value   T
	at      time.Time     // when it was found; zero for never
	pending chan struct{} // closed when what is being found is there; nil if nothing is
}

// get returns what was found within the last age, or finds it anew by find. It waits for that
// until ctx ends, and then returns the last one there is, and false where there is none. What
// is being found goes on without who asked for it.
func (c *cached[T]) get(ctx context.Context, age time.Duration, find func(context.Context) T) (value T, at time.Time, ok bool) {
	c.mu.Lock()
	if !c.at.IsZero() && time.Since(c.at) < age {
		defer c.mu.Unlock()
		return c.value, c.at, true
	}
	pending := c.pending
	if pending == nil {
		pending = make(chan struct{})
		c.pending = pending
		go func() {
			v := find(context.WithoutCancel(ctx))
			c.mu.Lock()
			defer c.mu.Unlock()
			c.value, c.at, c.pending = v, time.Now(), nil
			close(pending)
		}()
	}
	c.mu.Unlock()
	select {
	case <-pending:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value, c.at, !c.at.IsZero()
}

// forget has the next get find it anew.
func (c *cached[T]) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = time.Time{}
}
