package feed

import (
	"cmp"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/schema"
)

// maxRecovered is how many of the newest recovered events are kept.
const maxRecovered = 100

// Recovered is an event that was stored without its webhook.
type Recovered struct {
	Sequence uint64
	Stored   time.Time
	TaskID   string
	// By is one of the values of [schema.HeaderRecovered].
	By string
}

// recoveredEvents are the newest of those in the stream, newest first.
type recoveredEvents []Recovered

// add takes note of an event that has the header, in any order.
func (r *recoveredEvents) add(sequence uint64, stored time.Time, header nats.Header) {
	by := header.Get(schema.HeaderRecovered)
	if by == "" {
		return
	}
	at, found := slices.BinarySearchFunc(*r, sequence, func(e Recovered, n uint64) int { return cmp.Compare(n, e.Sequence) })
	if found || at == maxRecovered {
		return
	}
	*r = slices.Insert(*r, at, Recovered{sequence, stored, taskOf(header), by})
	*r = (*r)[:min(len(*r), maxRecovered)]
}

// trim forgets what is below the first sequence of the stream.
func (r *recoveredEvents) trim(first uint64) {
	*r = slices.DeleteFunc(*r, func(e Recovered) bool { return e.Sequence < first })
}

// Recovered returns the newest events that the status API has told instead of a webhook, newest
// first, at most 100 of them, as far as the stream is known.
func (f *Feed) Recovered() []Recovered {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.Clone(f.recovered)
}
