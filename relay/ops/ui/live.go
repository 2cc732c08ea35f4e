package ui

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxStreams bounds the pages that are kept up to date at once.
	maxStreams = 100
	// liveInterval is the least time between two updates of a page, livePulse the longest
	// after which something is sent: a connection that is dead is noticed by it.
	liveInterval = 500 * time.Millisecond
	livePulse    = 15 * time.Second
	// liveTick is how often a view looks for what the feed does not tell.
	liveTick = 2 * time.Second
	// liveWriteTimeout is how long a browser may take for one update.
	liveWriteTimeout = 30 * time.Second
)

// update is what changes on a page: the content of elements, by their ids.
type update struct {
	Replace map[string]string `json:"replace,omitempty"`
	Prepend map[string]string `json:"prepend,omitempty"`
	// Reload: the page is another one by now.
	Reload bool `json:"reload,omitempty"`
	// ID is from where on to go on with a page whose connection was lost.
	ID string `json:"-"`
}

// liveView returns what a view shows now.
type liveView func(ctx context.Context) update

// live keeps a page up to date by server-sent events.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	view := s.liveView(r)
	if view == nil {
		s.refuse(w, r, http.StatusNotFound, "Nothing is here", "This view does not change.")
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	out := http.NewResponseController(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // for proxies that would collect it
	if r.Method == http.MethodHead {
		return
	}
	_, _ = fmt.Fprint(w, "retry: 1000\n\n")
	sent := make(map[string]string)
	for last := time.Now(); ; {
		changed, progress := s.feed.Changed(), s.jobs.changed()
		u := view(r.Context())
		for id, content := range u.Replace {
			if last, ok := sent[id]; ok && last == content {
				delete(u.Replace, id)
			}
			sent[id] = content
		}
		message := ""
		if len(u.Replace)+len(u.Prepend) > 0 || u.Reload {
			data, err := json.Marshal(u)
			if err != nil {
				return // strings can always be written
			}
			message = "data: " + string(data) + "\n\n"
			if u.ID != "" {
				message = "id: " + u.ID + "\n" + message
			}
		} else if time.Since(last) > livePulse {
			message = ": still here\n\n"
		}
		if message != "" {
			last = time.Now()
			_ = out.SetWriteDeadline(last.Add(liveWriteTimeout))
			if _, err := fmt.Fprint(w, message); err != nil {
				return
			}
		}
		if out.Flush() != nil || u.Reload {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.ended.Done():
			return
		case <-time.After(liveInterval):
		}
		if !s.guard.Admits(r) {
			return // signed out, or the session is over
		}
		select {
		case <-changed:
		case <-progress:
		case <-time.After(liveTick):
		case <-r.Context().Done():
			return
		case <-s.ended.Done():
			return
		}
	}
}

// liveView returns what changes on the view that a request names; nil for none.
func (s *Server) liveView(r *http.Request) liveView {
	q := r.URL.Query()
	if q.Get("boot") != s.boot {
		return func(context.Context) update { return update{Reload: true} } // made by an earlier process
	}
	connection := func(u update) update {
		if u.Replace == nil {
			u.Replace = make(map[string]string)
		}
		u.Replace["connection"] = s.fragment("connection", s.trouble())
		return u
	}
	switch view := q.Get("view"); view {
	case "now":
		after, _ := strconv.ParseUint(q.Get("after"), 10, 64)
		if last, err := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
			after = last
		}
		return func(ctx context.Context) update {
			u := connection(s.nowUpdate(ctx))
			items, last, leftOut := s.latest(after)
			after = last
			u.Replace["left-out"] = s.fragment("left-out", leftOut)
			if len(items) > 0 {
				var b strings.Builder
				for _, i := range items {
					b.WriteString(s.fragment("item", i))
				}
				u.Prepend, u.ID = map[string]string{"latest": b.String()}, strconv.FormatUint(last, 10)
			}
			return u
		}
	case "replay":
		return func(context.Context) update {
			return connection(update{Replace: map[string]string{"job": s.fragment("job", s.replayView())}})
		}
	case "search":
		id := q.Get("id")
		return func(context.Context) update {
			search := s.searches.find(id)
			if search == nil || search.done() {
				return update{Reload: true}
			}
			return connection(update{Replace: map[string]string{"search": s.fragment("searching", search.view())}})
		}
	case "quarantine":
		reason := q.Get("reason")
		return func(context.Context) update {
			return connection(update{Replace: map[string]string{"reasons": s.fragment("reasons", s.reasons(reason))}})
		}
	case "task", "events", "quarantined", "question", "aside", "expected", "checks":
		return func(context.Context) update { return connection(update{}) }
	default:
		return nil
	}
}

// nowUpdate is what changes on the first page, but for its list.
func (s *Server) nowUpdate(ctx context.Context) update {
	minutes := s.feed.Minutes()
	return update{Replace: map[string]string{
		"chart-events": s.fragment("events-chart", eventsChart(minutes)),
		"chart-lag":    s.fragment("lag-chart", lagChart(minutes)),
		"relay":        s.fragment("relay", s.relayState(ctx)),
		"indexed":      s.fragment("indexed", s.indexState()),
		"consumers":    s.fragment("consumers", s.consumersView(ctx)),
	}}
}
