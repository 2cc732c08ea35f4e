package archive

import (
	"cmp"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// minTries is how often a task is tried at least before it is given up. It is not given
	// up before its addresses have expired either.
	minTries = 5
	// Waits between tries: they double from the first to the last.
	firstWait = time.Second
	lastWait  = 10 * time.Minute
	// leaveFor is after how long a task that was left for another run is delivered again.
	leaveFor = 10 * time.Second
	// giveBackDelay is after how long what a program has when it is stopped is delivered to
	// others. At once the broker could deliver it to the pull that has just ended, of whose end
	// it hears last (nats.go 1.55.0), and then nobody has it for the acknowledgement's time.
	giveBackDelay = time.Second
)

// tries count the failures of tasks that are tried again. They are this program's own: how
// often the broker has delivered an event counts restarts, too, which are nobody's failure.
type tries struct {
	mu     sync.Mutex
	counts map[uint64]int // by sequence
	left   map[uint64]bool
}

// failed counts a failure, and returns how many there were.
func (t *tries) failed(m *message) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[m.meta.Sequence.Stream]++
	return t.counts[m.meta.Sequence.Stream]
}

func (t *tries) forget(m *message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.counts, m.meta.Sequence.Stream)
}

// leave has isLeft report true of a message from now on.
func (t *tries) leave(m *message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left == nil {
		t.left = make(map[uint64]bool)
	}
	t.left[m.meta.Sequence.Stream] = true
}

func (t *tries) isLeft(m *message) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.left[m.meta.Sequence.Stream]
}

// open is how many messages up to a sequence wait for another try, and how many of all are left.
func (t *tries) open(sequence uint64) (waiting, left int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.counts {
		if s <= sequence && !t.left[s] {
			waiting++
		}
	}
	return waiting, len(t.left)
}

// delay is how long to wait after the nth failure, half of it by chance.
func (a *Archiver) delay(n int) time.Duration {
	wait := min(cmp.Or(a.o.backoff, firstWait)<<min(n-1, 20), lastWait)
	return wait/2 + rand.N(wait/2+1)
}
