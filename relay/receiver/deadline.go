package receiver

import (
	"context"
	"sync"
	"time"
)

// deadlineGrain is how much earlier than it might a deadline can be.
const deadlineGrain = 10 * time.Millisecond

// deadlines makes the contexts in which webhooks are stored. Those that come
// within a moment of each other share one: a timer and a context for each of
// them would take as long as reading it does.
//
// A shared context ends at its deadline, or when the receiver is closed, and not
// when one webhook is done: as many are left at a time as there are grains in a
// budget, two or three thousand at the most.
type deadlines struct {
	closing context.Context
	base    time.Time // from which grains are counted, by the clock that never jumps

	mu     sync.Mutex
	grain  time.Duration // when the newest shared context ends, since base
	shared context.Context
	end    context.CancelFunc
}

// until is a context that ends at a time, or a little earlier. The function has
// to be called when it is no longer used.
func (d *deadlines) until(at time.Time) (context.Context, context.CancelFunc) {
	grain := at.Sub(d.base).Truncate(deadlineGrain)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case grain < d.grain:
		// Its body was long in coming.
		return context.WithDeadline(d.closing, at)
	case grain > d.grain || d.shared == nil:
		d.grain = grain
		d.shared, d.end = context.WithDeadline(d.closing, d.base.Add(grain))
	}
	return d.shared, func() {}
}
