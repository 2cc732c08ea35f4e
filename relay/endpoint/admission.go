package endpoint

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"
)

// What a request holds until the handler has let it in is the library's, and the
// library bounds it for each connection, but not for all of them. What it refuses by
// itself, such as headers that are too long, the handler never sees. So the number of
// connections is bounded that are in such a state.
const (
	// maxUnadmitted is how many connections in HTTP/2 may have requests at once none of
	// which has been let in. Good ones are so for a moment, and take turns.
	maxUnadmitted = 64
	// admissionTick is between two looks at them while others wait, and strangerLooks
	// how many of these a connection may stay if others do. A moment of the clock's
	// could pass while this machine stands still, and the connection with it. Between
	// two looks all goroutines that can run have had strangerTurns turns: good requests
	// are let in after fewer.
	admissionTick  = 20 * time.Millisecond
	admissionTicks = 4
	schedulerTurns = 8

	// maxHeads is how many connections may be waited for at once in the middle of the
	// headers of a request, or of a TLS handshake, once longHead bytes have come. In
	// small fields headers take 35 times their size.
	maxHeads = 64
	longHead = 1 << 10
)

// admission are the connections in HTTP/2 with requests none of which has been let
// in, and those that wait to have requests.
type admission struct {
	mu       sync.Mutex
	in       map[*conn]int           // looks that each has been seen by, with others waiting
	waiting  []*conn                 // in the order in which they came
	turns    map[*conn]chan struct{} // closed when it is the turn of one of those
	evicting bool
}

func newAdmission() *admission {
	return &admission{in: make(map[*conn]int), turns: make(map[*conn]chan struct{})}
}

// enter returns when the connection may have requests, or is closed. Meanwhile the
// library reads nothing more from it.
func (s *admission) enter(c *conn) {
	s.mu.Lock()
	if len(s.in) < maxUnadmitted {
		s.in[c] = 0
		s.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	s.waiting = append(s.waiting, c)
	s.turns[c] = turn
	if !s.evicting {
		s.evicting = true
		go s.evictSlow()
	}
	s.mu.Unlock()
	<-turn
}

// leave makes room: the connection has no requests any more, or one of them was let
// in, or it is closed.
func (s *admission) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if turn := s.turns[c]; turn != nil {
		delete(s.turns, c)
		s.waiting = slices.DeleteFunc(s.waiting, func(w *conn) bool { return w == c })
		close(turn)
	}
	delete(s.in, c)
	for len(s.in) < maxUnadmitted && len(s.waiting) > 0 {
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		close(s.turns[next])
		delete(s.turns, next)
		s.in[next] = 0
	}
}

// evictSlow closes connections that stay although others wait, until none does.
func (s *admission) evictSlow() {
	ticker := time.NewTicker(admissionTick)
	defer ticker.Stop()
	for range ticker.C {
		for range schedulerTurns {
			runtime.Gosched()
		}
		s.mu.Lock()
		if len(s.waiting) == 0 {
			s.evicting = false
			s.mu.Unlock()
			return
		}
		var stay []*conn
		for c := range s.in {
			if s.in[c]++; s.in[c] >= admissionTicks && len(stay) < len(s.waiting) {
				stay = append(stay, c)
			}
		}
		s.mu.Unlock()
		for _, c := range stay {
			_ = c.Close() // nobody reads what it is answered
		}
	}
}

// Accept says that the handler has let a request in, by its context, and that from
// now on the handler bounds what that takes.
func Accept(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*conn); ok && c != nil && c.h2.Load() {
		c.listener.admission.leave(c)
	}
}

// turn has a connection in HTTP/2 take its turn when it begins to have requests.
func (c *conn) turn(state http.ConnState) {
	if state == http.StateActive {
		c.listener.admission.enter(c)
	} else {
		c.listener.admission.leave(c)
	}
}

// heads are the connections that are waited for in the middle of something long, the
// one that began to wait first at the front.
type heads struct {
	mu    sync.Mutex
	waits []*conn
}

// enter adds a connection, and closes another if there are too many.
func (h *heads) enter(c *conn) {
	h.mu.Lock()
	h.waits = append(h.waits, c)
	var first *conn
	if len(h.waits) > maxHeads {
		first = h.waits[0]
		h.waits = h.waits[1:]
	}
	h.mu.Unlock()
	if first != nil {
		_ = first.Close() // what it sends comes in one piece from good senders
	}
}

func (h *heads) leave(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits = slices.DeleteFunc(h.waits, func(w *conn) bool { return w == c })
}
