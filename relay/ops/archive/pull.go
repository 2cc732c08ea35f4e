package archive

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/retry"
)

const (
	// Back-off while the broker or the consumer is away.
	minBrokerBackoff = 500 * time.Millisecond
	maxBrokerBackoff = 15 * time.Second
)

// pull has the broker send what there is room for, until ctx ends.
func (a *Archiver) pull(ctx context.Context) {
	wait := retry.Backoff(minBrokerBackoff, maxBrokerBackoff)
	var complaint complaint
	for {
		n := a.held.room(ctx)
		if n == 0 {
			return
		}
		err := a.fetch(ctx, n, func() {
			wait.Reset()
			complaint.over(a.log, "events come again")
		})
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		complaint.tell(a.log, "no events can be had from the broker; it is tried again", err)
		if retry.Sleep(ctx, wait.NextBackOff()) != nil {
			return
		}
		if c, err := a.openConsumer(ctx); err == nil { // it may have been deleted
			a.consumer.Store(&c)
		}
	}
}

// fetch asks for n events, and takes what comes. It calls works when something comes, or when
// nothing is there to come.
func (a *Archiver) fetch(ctx context.Context, n int, works func()) error {
	batch, err := (*a.consumer.Load()).Fetch(n, jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	for msg := range batch.Messages() {
		works()
		if m, err := newMessage(msg); err == nil {
			a.held.add(m)
		}
	}
	if err := batch.Error(); err != nil && ctx.Err() == nil {
		return err
	}
	works()
	return nil
}

// keepAlive tells the broker that somebody is on the events that are held.
func (a *Archiver) keepAlive(ctx context.Context) {
	ticker := time.NewTicker(a.ackWait() / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			a.held.each(func(m *message) { _ = m.InProgress() }) // the next one may get through
		case <-ctx.Done():
			return
		}
	}
}

// work takes one message after the other until pulling ends. What it has begun goes on until
// the end of working.
func (a *Archiver) work(pulling, working context.Context) {
	for {
		m := a.held.take(pulling)
		if m == nil {
			return
		}
		a.handle(working, m)
		a.held.release(m)
	}
}
