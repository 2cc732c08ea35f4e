package backfill

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Room replaces the look at the disk.
func (o *Options) Room(room func(folder string) error) { o.room = room }

// Hurry makes back-off a millisecond, and has the stream waited for no longer than stall.
func (o *Options) Hurry(stall time.Duration) {
	o.backoff = func() backoff.BackOff { return backoff.NewConstantBackOff(time.Millisecond) }
	o.stall = stall
}
