package faults

import (
	"sync/atomic"
	"time"
)

// stalls tells for how long this machine stood still at the most, as far as this
// program can see: nobody can answer meanwhile, and that is no fault of the relay's.
type stalls struct {
	longest atomic.Int64
	stop    chan struct{}
	stopped chan struct{}
}

// stallTick is how often the time is looked at.
const stallTick = 10 * time.Millisecond

func watchStalls() *stalls {
	s := &stalls{stop: make(chan struct{}), stopped: make(chan struct{})}
	go s.watch()
	return s
}

func (s *stalls) watch() {
	defer close(s.stopped)
	ticker := time.NewTicker(stallTick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ticker.C:
		case <-s.stop:
			return
		}
		now := time.Now()
		s.longest.Store(max(s.longest.Load(), int64(now.Sub(last)-stallTick)))
		last = now
	}
}

func (s *stalls) end() {
	close(s.stop)
	<-s.stopped
}

// most is the longest one so far.
func (s *stalls) most() time.Duration { return time.Duration(s.longest.Load()) }
