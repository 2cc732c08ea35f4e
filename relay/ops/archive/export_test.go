package archive

import "time"

// WithWaits has tries and deliveries follow each other sooner.
func (o Options) WithWaits(backoff, ackWait time.Duration) Options {
	o.backoff, o.ackWait = backoff, ackWait
	return o
}

// Held is how many events it has been sent, and has not settled.
func (a *Archiver) Held() (n int) {
	a.held.each(func(*message) { n++ })
	return n
}
