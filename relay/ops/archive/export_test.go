package archive

import "time"

// WithWaits has tries and deliveries follow each other sooner.
func (o Options) WithWaits(backoff, ackWait time.Duration) Options {
	o.backoff, o.ackWait = backoff, ackWait
	return o
}
