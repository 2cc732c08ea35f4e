package ui

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// searchPatience is how long a look-up waits for a search, which small streams need no
	// longer for.
	searchPatience = 400 * time.Millisecond
	// searchStep is how many messages are looked at between two reports of progress.
	searchStep = 20_000
	// searchTimeout bounds a search, and maxSearches how many there are at once; what was
	// found is remembered for searchMemory.
	searchTimeout = 2 * time.Minute
	maxSearches   = 4
	searchMemory  = time.Minute
)

// searches look for tasks in what the index does not have. The zero value is ready to use.
type searches struct {
	mu  sync.Mutex
	all []*search // the newest last
}

// search is one look through the older part of a stream.
type search struct {
	id      string
	total   uint64
	indexed int
	ended   chan struct{}

	mu    sync.Mutex
	read  uint64
	found uint64 // the sequence of the event; 0 if there is none
	err   error
	at    time.Time // when it ended
}

// find returns the search for a task, if there is one.
func (s *searches) find(id string) *search {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.all {
		if one.id == id {
			return one
		}
	}
	return nil
}

// wait waits for the end of all searches, or for that of ctx: each leaves nothing in the broker.
func (s *searches) wait(ctx context.Context) {
	s.mu.Lock()
	all := slices.Clone(s.all)
	s.mu.Unlock()
	for _, one := range all {
		select {
		case <-one.ended:
		case <-ctx.Done():
			return
		}
	}
}

// start begins to search for a task, unless that is done or was done a moment ago.
func (s *searches) start(server *Server, id string) *search {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, running := time.Now(), 0
	s.all = slices.DeleteFunc(s.all, func(one *search) bool { return one.isOld(now) })
	for _, one := range s.all {
		if one.id == id {
			return one
		}
		if !one.done() {
			running++
		}
	}
	st := server.feed.Status().Events
	one := &search{id: id, total: st.IndexedFrom - min(st.First, st.IndexedFrom), indexed: st.Indexed, ended: make(chan struct{})}
	if running == maxSearches {
		one.err, one.at = errors.New("others are being searched for; load this page again in a moment"), now.Add(-searchMemory)
		close(one.ended)
		return one
	}
	s.all = append(s.all, one)
	go one.run(server, st.IndexedFrom)
	return one
}

// run looks at the messages below a sequence, the newest first.
func (one *search) run(s *Server, below uint64) {
	ctx, cancel := context.WithTimeout(s.ended, searchTimeout)
	defer cancel()
	selection := streamreader.Selection{
		Domain: s.cfg.Stream.Domain, Stream: s.cfg.Stream.Name, Subjects: []string{schema.TaskSubjects(s.cfg.Stream.Prefix)}, HeadersOnly: true,
	}
	for first := below; ; {
		p, err := streamreader.ReadPage(ctx, s.conn(), selection, streamreader.PageOptions{
			Before: below, Size: 1, Most: searchStep, Match: func(m streamreader.Message) bool { return isTaskMessage(m, one.id) },
		})
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("the stream was not searched to its beginning within " + searchTimeout.String() + "; a larger RELAY_UI_INDEX finds older tasks at once")
		}
		done := err != nil || len(p.Messages) > 0 || p.Next == 0
		one.mu.Lock()
		one.read = first - max(p.Next, first-min(one.total, first))
		if one.err = err; len(p.Messages) > 0 {
			one.found = p.Messages[0].Sequence
		}
		if done {
			one.at = time.Now()
			close(one.ended)
			one.mu.Unlock()
			return
		}
		one.mu.Unlock()
		below = p.Next
	}
}

func (one *search) done() bool {
	select {
	case <-one.ended:
		return true
	default:
		return false
	}
}

// isOld reports whether what was found may be another thing by now.
func (one *search) isOld(now time.Time) bool {
	one.mu.Lock()
	defer one.mu.Unlock()
	return !one.at.IsZero() && now.Sub(one.at) > searchMemory
}

// wait waits for the end of a search, for a while.
func (one *search) wait(ctx context.Context, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-one.ended:
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (one *search) sequence() uint64 {
	one.mu.Lock()
	defer one.mu.Unlock()
	return one.found
}

// problem says why a search has ended before the beginning of the stream; empty if it has not.
func (one *search) problem() string {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.err == nil {
		return ""
	}
	return one.err.Error()
}

// searchView is what a page shows of a search.
type searchView struct {
	ID, Problem string
	Read, Total uint64
	Percent     int
	Indexed     int
}

func (one *search) view() searchView {
	one.mu.Lock()
	defer one.mu.Unlock()
	v := searchView{ID: one.id, Read: one.read, Total: one.total, Indexed: one.indexed}
	if one.total > 0 {
		v.Percent = int(one.read * 100 / one.total)
	}
	if one.err != nil {
		v.Problem = one.err.Error()
	}
	return v
}
