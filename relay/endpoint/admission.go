package endpoint

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Until the handler has admitted a request, the HTTP library holds its memory. The library
// bounds it for each connection, but not for all together, and the handler never sees a
// request that the library refuses, for example for too long headers. Therefore the number
// of connections in this state is bounded.
const (
	// maxUnadmitted is how many HTTP/2 connections may have only unadmitted requests at
	// once. Good connections are in that state for a moment, and take turns.
	maxUnadmitted = 64
	// admissionTick is the time between two checks of these connections while others wait.
	// A connection may stay for admissionTicks checks. A time limit alone would count
	// while the whole machine stands still. Between two checks all runnable goroutines
	// have had schedulerTurns turns: good requests are admitted after fewer.
	admissionTick  = 20 * time.Millisecond
	admissionTicks = 4
	schedulerTurns = 8

	// maxHeads is how many connections may be in the middle of the headers of a request,
	// or of a TLS handshake, at once, after longHead bytes have come. Small header fields
	// take 35 times their size in memory.
	maxHeads = 64
	longHead = 1 << 10
)

// admission holds the HTTP/2 connections with only unadmitted requests, and the connections
// that wait for their turn.
type admission struct {
	mu       sync.Mutex
	in       map[*conn]int           // checks that each has stayed for, with others waiting
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

// leave frees the connection's turn: it has no more requests, or one of them was admitted,
// or it is closed.
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

// evictSlow closes connections that stay although others wait, until no connection waits.
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
			_ = c.Close() // the peer would not read an answer
		}
	}
}

// Accept records that the handler has admitted the request with context ctx. From now on
// the handler bounds the memory of that request.
func Accept(ctx context.Context) {
	if c, ok := ctx.Value(connKey{}).(*conn); ok && c != nil && c.h2.Load() {
		c.listener.admission.leave(c)
	}
}

// turn makes an HTTP/2 connection wait for its turn when its first request begins.
func (c *conn) turn(state http.ConnState) {
	if state == http.StateActive {
		c.listener.admission.enter(c)
	} else {
		c.listener.admission.leave(c)
	}
}

// heads is the list of connections in the middle of a long head or handshake, the oldest
// first.
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
		_ = first.Close() // good senders send a head in one piece
	}
}

func (h *heads) leave(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits = slices.DeleteFunc(h.waits, func(w *conn) bool { return w == c })
}
