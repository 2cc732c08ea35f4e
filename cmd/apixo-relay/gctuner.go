package main

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

const (
	// minHeap is up to where the heap may grow under a flood of webhooks before garbage
	// is collected, in bytes, however little of it is in use. Next to nothing outlives its
	// webhook: by its rule of twice what is in use alone, the collector would run tens of
	// times a second over the same few megabytes then.
	minHeap = 10 << 20
	// often is how soon one collection has to follow another for the heap to be made
	// roomy, and seldom after which time it is not any more: few relays ever see a flood,
	// and the memory is better used by the application beside them.
	often  = 100 * time.Millisecond
	seldom = time.Second
	// leastPercent is what the collector starts with; more than maxPercent would gain little.
	leastPercent = 100
	maxPercent   = 400
	// uncollected is what the garbage collector does not count, in bytes: the pages
	// of the program itself, and how far it can overshoot.
	uncollected = 200 << 20
	// included is what the bound has in it for everything but webhooks, in bytes, and
	// is collected.
	included = config.ProgramMemory - uncollected
)

// tuneGC makes the collector run seldom under a flood, keeps the heap small
// otherwise, and keeps what webhooks take within a bound, where by its rule alone it would let
// them take twice of that. GOGC and GOMEMLIMIT, if they are set, have the last word.
// The bodies in flight, in bytes, are asked for after each collection.
func tuneGC(cfg config.Config, inFlight func() int64) {
	t := &gcTuner{
		limit: cfg.MemoryBound() - cfg.EmbeddedMemory() - uncollected, clients: cfg.EmbeddedMemory(), inFlight: inFlight,
		live:       []metrics.Sample{{Name: "/gc/heap/live:bytes"}},
		setPercent: func(int) {}, setLimit: func(int64) {},
	}
	if os.Getenv("GOGC") == "" {
		t.setPercent = func(percent int) { debug.SetGCPercent(percent) }
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		t.setLimit = func(bytes int64) { debug.SetMemoryLimit(bytes) }
	}
	t.percent, t.limitNow = leastPercent, t.limit
	t.setPercent(t.percent)
	t.setLimit(t.limitNow)
	afterEachCollection(t.collected)
}

// gcTuner is what the runtime's garbage collector has been told.
type gcTuner struct {
	percent         int
	roomy           bool
	last            time.Time // of the collections that it was told of
	limit, limitNow int64     // in bytes; limitNow is more where something else than webhooks is large
	clients         int64     // what those of the embedded broker can take besides, in bytes
	inFlight        func() int64
	live            []metrics.Sample
	setPercent      func(int)
	setLimit        func(int64)
}

// afterEachCollection has a function called after each collection from now on.
func afterEachCollection(f func()) {
	runtime.AddCleanup(new([16]byte), func(f func()) {
		f()
		afterEachCollection(f)
	}, f)
}

// collected tunes after a collection.
func (t *gcTuner) collected() {
	metrics.Read(t.live)
	now := time.Now()
	t.tune(int64(t.live[0].Value.Uint64()), now.Sub(t.last))
	t.last = now
}

// tune fits the percentage and the limit to what is in use, in bytes, and to how long the
// collection before was ago. It leaves small differences alone, since each change stops the
// world for a moment.
func (t *gcTuner) tune(live int64, since time.Duration) {
	switch {
	case since < often:
		t.roomy = true
	case since > seldom:
		t.roomy = false
	}
	percent := leastPercent
	if t.roomy {
		percent = min(max(int(100*minHeap/max(live, 1))-100, leastPercent), maxPercent)
	}
	if percent < t.percent*9/10 || percent > t.percent*11/10 {
		t.percent = percent
		t.setPercent(percent)
	}
	// What clients of the embedded broker leave unread has a part of the bound of its
	// own, and no garbage of others is to take that. The broker can remember millions
	// of ids besides, which are no part of the bound: held to it, the collector would do
	// nothing but run.
	rest := live - config.BodyCopies*t.inFlight()
	clients := min(max(0, rest-included/2), t.clients)
	limit := t.limit + clients + max(0, 2*(rest-clients)-included)
	if limit < t.limitNow*9/10 || limit > t.limitNow*11/10 {
		t.limitNow = limit
		t.setLimit(limit)
	}
}
