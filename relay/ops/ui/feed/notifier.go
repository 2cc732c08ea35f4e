package feed

import (
	"sync"
	"time"
)

// notifyInterval is how far apart two changes are told.
const notifyInterval = 250 * time.Millisecond

// notifier tells that something has changed, and many changes at once.
type notifier struct {
	mu      sync.Mutex
	changed chan struct{} // nil where nobody waits
	timer   *time.Timer   // runs while changes are held back
	pending bool          // there are some
	stopped bool
}

// next returns a channel that is closed at the next change.
func (n *notifier) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	return n.changed
}

// notify tells of a change, soon.
func (n *notifier) notify() {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.stopped:
	case n.timer != nil:
		n.pending = true
	default:
		n.tell()
		n.timer = time.AfterFunc(notifyInterval, n.elapsed)
	}
}

func (n *notifier) tell() {
	n.pending = false
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
}

func (n *notifier) elapsed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timer = nil
	if n.pending && !n.stopped {
		n.tell()
		n.timer = time.AfterFunc(notifyInterval, n.elapsed)
	}
}

// stop tells once more, and then no more.
func (n *notifier) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return
	}
	n.stopped = true
	n.tell()
	if n.timer != nil {
		n.timer.Stop()
	}
}
