// Package retry says how long the relay and its commands wait before they try again.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Backoff returns a back-off that doubles from one interval to another, each with a
// random half of it more or less: many that failed together do not come back together.
// It belongs to one goroutine.
func Backoff(first, last time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: first, MaxInterval: last, Multiplier: 2, RandomizationFactor: 0.5}
}

// Do tries until there is no error, the error is of [backoff.Permanent], or ctx ends; its
// cause is the error then.
func Do[T any](ctx context.Context, wait backoff.BackOff, try backoff.Operation[T]) (T, error) {
	v, err := try()
	if err == nil { // as mostly, so that nothing has to be made ready for more
		return v, nil
	}
	first := true
	return backoff.Retry(ctx, func() (T, error) {
		if first {
			first = false
			return v, err
		}
		return try()
	}, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0))
}

// Sleep waits. It returns the cause of ctx's end if that comes first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
