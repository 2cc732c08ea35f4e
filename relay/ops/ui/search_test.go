package ui

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
)

// found waits for the end of a look-up that may need a search, as a browser without scripts
// does.
func (p *site) found(id string) answer {
	p.t.Helper()
	var got answer
	p.eventually("the search for "+id+" ends", func() bool {
		got = p.get("/tasks/" + id) // a broker that takes its time is asked again
		return !strings.Contains(got.body, `data-view="search"`) && got.StatusCode != http.StatusServiceUnavailable
	})
	return got
}

// What the index has no room for is searched for, down to the oldest message.
func TestSearch(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 5_000)
	p := s.site(t, "RELAY_UI_INDEX=10")
	p.known(s)
	if st := p.feed.Status().Events; st.Indexed > 10 || st.IndexedFrom <= 4_900 {
		t.Fatalf("the index has %d messages, from %d on", st.Indexed, st.IndexedFrom)
	}
	for _, i := range []int{0, 1, 2_500, 4_980, 4_999} {
		d := p.found(id(i)).view(t, http.StatusOK, "task")
		if got, want := d.fact("dl#event", "stream"), fmt.Sprintf("APIXO, sequence %d", i+1); got != want {
			t.Errorf("%s is at %q, want %q", id(i), got, want)
		}
	}
	p.found("unknown").refused(t, http.StatusNotFound, "Nothing in the streams")
	// What comes afterwards is found, whatever was found before.
	s.webhook(t, success("unknown"))
	p.found("unknown").view(t, http.StatusOK, "task")
	// An event that was found, and is deleted, is there no more.
	p.found(id(0)).view(t, http.StatusOK, "task")
	stream, err := s.js.Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	p.found(id(0)).refused(t, http.StatusNotFound, "Nothing in the streams")
	// Copies count as their task.
	msg, err := s.encoder.Encode(event.Delivery{Body: []byte(success("task_copied")), Received: time.Now()})
	msg.ID = "task_copied~2"
	s.publish(t, msg, err)
	for i := range 30 {
		s.webhook(t, success(fmt.Sprint("later_", i)))
	}
	p.known(s)
	p.eventually("the copy is out of the index", func() bool { return p.feed.Status().Events.IndexedFrom > 5_002 })
	p.found("task_copied").view(t, http.StatusOK, "task")
}

// A search that goes on shows how far it is, to those without scripts too.
func TestSearchProgress(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 50)
	p := s.site(t, "RELAY_UI_INDEX=10")
	p.known(s)
	one := &search{id: "task_1", total: 40, indexed: 10, read: 10, ended: make(chan struct{})}
	p.searches.all = append(p.searches.all, one)
	got := p.get("/tasks/task_1")
	d := got.view(t, http.StatusOK, "search")
	if progress := d.one("progress#scan"); progress.attr("value") != "25" || progress.attr("max") != "100" {
		t.Errorf("the progress is %s of %s", progress.attr("value"), progress.attr("max"))
	}
	d.one("div#search").says("10 of 40 messages")
	if !strings.Contains(got.body, `<noscript><meta http-equiv="refresh" content="2"></noscript>`) {
		t.Error("without scripts the page is not loaded again")
	}
	live := p.stream(d.one("body").attr("data-live"), "")
	if first := live.next(); !strings.Contains(first.update.Replace["search"], "10 of 40") {
		t.Errorf("first it tells %+v", first)
	}
	one.mu.Lock()
	one.read = 20
	one.mu.Unlock()
	live.until("the progress", func(m told) bool { return strings.Contains(m.update.Replace["search"], "20 of 40") })
	close(one.ended)
	live.until("the end", func(m told) bool { return m.update.Reload })
}

// There is a bound to searches; one too many says to come again, and not that nothing is there.
func TestSearchIsBounded(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 50)
	p := s.site(t, "RELAY_UI_INDEX=10")
	p.known(s)
	for i := range maxSearches {
		p.searches.all = append(p.searches.all, &search{id: fmt.Sprint("other_", i), ended: make(chan struct{})})
	}
	got := p.get("/tasks/" + id(3))
	got.refused(t, http.StatusServiceUnavailable, "others are being searched for")
	if got.Header.Get("Retry-After") == "" {
		t.Error("it is not said when to come again")
	}
	if n := len(p.searches.all); n != maxSearches {
		t.Errorf("there are %d searches", n)
	}
	for _, one := range p.searches.all {
		close(one.ended)
	}
	p.found(id(3)).view(t, http.StatusOK, "task")
}

// A search that failed does not say that nothing is there.
func TestSearchFails(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 50)
	p := s.site(t, "RELAY_UI_INDEX=10")
	p.known(s)
	failed := &search{id: "task_1", ended: make(chan struct{}), err: errEnough, at: time.Now()}
	close(failed.ended)
	p.searches.all = append(p.searches.all, failed)
	p.get("/tasks/task_1").refused(t, http.StatusServiceUnavailable, errEnough.Error())
}

// What was found is forgotten after a while, and searched for anew.
func TestSearchForgets(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 50)
	p := s.site(t, "RELAY_UI_INDEX=10")
	p.known(s)
	p.found("unknown").refused(t, http.StatusNotFound, "Nothing in the streams")
	one := p.searches.find("unknown")
	p.found("unknown")
	if p.searches.find("unknown") != one {
		t.Error("the same is searched for twice within a minute")
	}
	one.mu.Lock()
	one.at = time.Now().Add(-searchMemory - time.Second)
	one.mu.Unlock()
	p.found("unknown")
	if again := p.searches.find("unknown"); again == one || len(p.searches.all) != 1 {
		t.Errorf("an old search is kept: %d are known", len(p.searches.all))
	}
}

// While the index is being filled, or cannot be, an unknown task is not said to be unknown.
func TestSearchBeforeTheIndexIsFilled(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 2_000)
	p := s.site(t)
	for _, i := range []int{0, 1_000, 1_999} {
		p.found(id(i)).view(t, http.StatusOK, "task")
	}
}
