package backfill

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// CheckDiskSpace replaces the check of the disk.
func (o *Options) CheckDiskSpace(check func(folder string) error) { o.checkDiskSpace = check }

// Hurry makes back-off a millisecond, and has the stream waited for no longer than stall.
func (o *Options) Hurry(stall time.Duration) {
	o.backoff = func() backoff.BackOff { return backoff.NewConstantBackOff(time.Millisecond) }
	o.stall = stall
}
