package ui

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/ops/ui/feed"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

const (
	// patience is how long a view waits for what it can do without.
	patience = 30 * time.Millisecond
	// relayAge is for how long it is taken to be so what the relay has said.
	relayAge = 2 * time.Second
	// consumersAge is for how long consumers are taken to be where they were.
	consumersAge = 2 * time.Second
	// probeTimeout bounds the question.
	probeTimeout = time.Second
)

// nowView is what the first page shows.
type nowView struct {
	Events, Lag chart
	Relay       relayState
	Latest      []item
	LeftOut     uint64
	Indexed     string
	Consumers   consumersView
}

// relayState is what the relay on this machine says of itself.
type relayState struct{ Class, Text string }

// consumersView are the consumers of the events.
type consumersView struct {
	Rows          []consumerRow
	Problem, More string
	Asking        bool
}

type consumerRow struct {
	Name, Note      string
	Lag             uint64
	Oldest, LastAck string
	Unacknowledged  string
	Redelivered     string
	Late            bool
}

// now shows what flows.
func (s *Server) now(w http.ResponseWriter, r *http.Request) {
	latest, last, leftOut := s.latest(0)
	minutes := s.feed.Minutes()
	s.render(w, r, page{View: "now", Title: "Now", Live: fmt.Sprintf("/live?view=now&after=%d", last), Body: nowView{
		Events: eventsChart(minutes), Lag: lagChart(minutes), Relay: s.relayState(r.Context()),
		Latest: latest, LeftOut: leftOut, Indexed: s.indexState(), Consumers: s.consumersView(r.Context()),
	}})
}

// latest are the items after a serial, newest first.
func (s *Server) latest(after uint64) (items []item, last, leftOut uint64) {
	found, last, leftOut := s.feed.Latest(after)
	for _, f := range slices.Backward(found) {
		i := s.item(f.Message)
		i.Serial = f.Serial
		items = append(items, i)
	}
	return items, last, leftOut
}

// relayState asks the relay on this machine whether it is ready.
func (s *Server) relayState(ctx context.Context) relayState {
	if s.cfg.AdminURL() == "" {
		return relayState{"unknown", "The relay is not asked how it is: RELAY_ADMIN_ADDR is off."}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	state, _, ok := s.relay.get(ctx, relayAge, func(ctx context.Context) relayState {
		fact, err := check.Probe(ctx, s.o.Environ, "ready", probeTimeout)
		if err != nil {
			return relayState{"bad", "Readiness: " + text.Line(err.Error()) + "."}
		}
		return relayState{"good", "Readiness: " + text.Line(fact) + "."}
	})
	if !ok {
		return relayState{"unknown", "The relay is being asked how it is."}
	}
	return state
}

// indexState says how much of the stream look-ups find at once.
func (s *Server) indexState() string {
	st := s.feed.Status().Events
	switch {
	case st.Problem != "":
		return st.Problem
	case st.Filling:
		return fmt.Sprintf("%s tasks are found at once so far; the stream is being read.", text.Count(st.Indexed))
	}
	return ""
}

// consumersAnswer is what the broker has told of the consumers.
type consumersAnswer struct {
	feed.Consumers
	err error
}

// consumersView shows the consumers of the events. The broker has more time to tell than a view
// has to wait: until then it shows what was told before.
func (s *Server) consumersView(ctx context.Context) (v consumersView) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	told, _, ok := s.consumers.get(ctx, consumersAge, func(ctx context.Context) consumersAnswer {
		found, err := s.feed.Consumers(ctx)
		return consumersAnswer{found, err}
	})
	switch {
	case !ok:
		v.Asking, v.More = true, "The broker is being asked for them."
		return v
	case told.err != nil:
		v.Problem = "The consumers are not known: " + told.err.Error()
		return v
	}
	found := told.Consumers
	now := time.Now()
	for _, c := range found.Consumers {
		v.Rows = append(v.Rows, row(c, found, now))
	}
	if found.Readers > 0 {
		v.More = fmt.Sprintf("Besides, there are %s that only look, such as those of tail, replay and this page.", text.Count(found.Readers))
		if found.Readers == 1 {
			v.More = "Besides, there is one that only looks, as tail, replay and this page do."
		}
	}
	if found.More > 0 {
		v.More += fmt.Sprintf(" %s more are not listed.", text.Count(found.More))
	}
	return v
}

// row words the state of a consumer.
func row(c feed.Consumer, all feed.Consumers, now time.Time) consumerRow {
	out := consumerRow{Name: text.Line(c.Name), Lag: c.Pending, Unacknowledged: text.Count(c.AckPending), Redelivered: text.Count(c.Redelivered), Oldest: "–", LastAck: "never"}
	if c.Paused {
		out.Note = "paused"
	}
	if !c.OldestUnread.IsZero() {
		age := now.Sub(c.OldestUnread)
		out.Oldest = "for " + elapsed(age)
		if all.MaxAge > 0 {
			out.Oldest += fmt.Sprintf(" of %s", elapsed(all.MaxAge))
			out.Late = age > all.MaxAge/2
		}
	}
	switch {
	case c.AckPolicy == jetstream.AckNonePolicy:
		out.Unacknowledged, out.LastAck = "–", "it acknowledges nothing"
	case !c.LastAcked.IsZero():
		out.LastAck = elapsed(now.Sub(c.LastAcked)) + " ago"
	}
	return out
}

// elapsed writes a time as people do, with its two largest units.
func elapsed(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return "less than a second"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
}
