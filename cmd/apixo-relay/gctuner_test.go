package main

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestTuneCollector(t *testing.T) {
	t.Parallel()
	const limit = 1000 << 20
	for _, c := range []struct {
		live, bodies int64
		percent      int
		wantLimit    int64
	}{
		{0, 0, 400, limit},
		{2 << 20, 0, 400, limit},
		{4 << 20, 0, 150, limit},
		{5 << 20, 0, 100, limit},
		{included / 2, 0, 100, limit},
		// Webhooks are kept to the limit, however much of it they take.
		{900 << 20, 300 << 20, 100, limit},
		{700 << 20, 256 << 20, 100, limit},
		// Ids are not, or it would run all the time.
		{900 << 20, 0, 100, limit + 1800<<20 - included},
		{4000 << 20, 0, 100, limit + 8000<<20 - included},
		{1300 << 20, 300 << 20, 100, limit + 800<<20 - included},
	} {
		var percent int
		var bytes int64
		tuned := &gcTuner{
			limit: limit, limitNow: 20 * limit, inFlight: func() int64 { return c.bodies },
			setPercent: func(p int) { percent = p }, setLimit: func(b int64) { bytes = b },
		}
		tuned.tune(c.live, often/2)
		if percent != c.percent || bytes != c.wantLimit {
			t.Errorf("%d bytes in use: %d percent and a limit of %d, want %d and %d", c.live, percent, bytes, c.percent, c.wantLimit)
		}
		percent, bytes = 0, 0
		tuned.tune(c.live+c.live/50, often/2)
		if percent != 0 || bytes != 0 {
			t.Errorf("%d bytes in use: a fiftieth more changes it to %d and %d", c.live, percent, bytes)
		}
	}
}

// The heap is roomy while collections follow one another quickly, and no longer.
func TestHeapIsSmallWithoutAFlood(t *testing.T) {
	t.Parallel()
	percent := leastPercent
	tuned := &gcTuner{
		percent: percent, inFlight: func() int64 { return 0 },
		setPercent: func(p int) { percent = p }, setLimit: func(int64) {},
	}
	for i, step := range []struct {
		since time.Duration
		want  int
	}{
		{2 * time.Minute, leastPercent}, // by itself
		{often, leastPercent},
		{often - 1, maxPercent},
		{often, maxPercent}, // being roomy, it is collected less often
		{seldom, maxPercent},
		{seldom + 1, leastPercent},
		{often, leastPercent},
	} {
		if tuned.tune(1<<20, step.since); percent != step.want {
			t.Errorf("step %d, %s after the collection before: %d percent, want %d", i, step.since, percent, step.want)
		}
	}
}

// Clients of the embedded broker get a part of the bound of their own, once they take it,
// and no more than that.
func TestTunesForClients(t *testing.T) {
	t.Parallel()
	const limit, clients = 1000 << 20, 500 << 20
	for _, c := range []struct{ live, want int64 }{
		{0, limit},
		{included / 2, limit},
		{included/2 + 100<<20, limit + 100<<20},
		{included/2 + clients, limit + clients},
		{included/2 + clients + 100<<20, limit + clients + 200<<20},
	} {
		bytes := int64(0)
		tuned := &gcTuner{
			limit: limit, limitNow: 20 * limit, clients: clients, inFlight: func() int64 { return 0 },
			setPercent: func(int) {}, setLimit: func(b int64) { bytes = b },
		}
		tuned.tune(c.live, often/2)
		if bytes != c.want {
			t.Errorf("%d bytes in use: a limit of %d, want %d", c.live, bytes, c.want)
		}
	}
}

// It goes on for as long as the program runs.
func TestTunesAfterEachCollection(t *testing.T) {
	tuned := make(chan int64, 100)
	c := &gcTuner{
		limitNow: 1, limit: 1, inFlight: func() int64 { return -1 << 30 }, live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}},
		setPercent: func(int) {}, setLimit: func(bytes int64) { tuned <- bytes },
	}
	afterEachCollection(c.collected)
	for range 3 {
		runtime.GC()
		if bytes := <-tuned; bytes < 1<<31 {
			t.Errorf("%d bytes are taken to be in use", bytes)
		}
		c.limitNow = 1
	}
}
