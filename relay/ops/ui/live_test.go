package ui

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// stream is a page that is kept up to date.
type stream struct {
	p     *site
	resp  *http.Response
	lines *bufio.Reader
}

// told is one message of it.
type told struct {
	id     string
	update update
}

// stream opens the events of a view.
func (p *site) stream(path, lastID string) *stream {
	p.t.Helper()
	r := p.request(http.MethodGet, path, nil)
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	client := *p.client
	client.Timeout = 0 // it is bounded by the test's
	resp, err := client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		p.t.Fatalf("%s: %d, %q", path, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return &stream{p, resp, bufio.NewReader(resp.Body)}
}

// read returns the next message; false when there will be none.
func (s *stream) read() (m told, ok bool) {
	s.p.t.Helper()
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return m, false
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			m.id = value
		case "data":
			if err := json.Unmarshal([]byte(value), &m.update); err != nil {
				s.p.t.Fatalf("%q: %v", value, err)
			}
			return m, true
		}
	}
}

// next returns the next message, which there must be.
func (s *stream) next() told {
	s.p.t.Helper()
	m, ok := s.read()
	if !ok {
		s.p.t.Fatal("the page is kept up to date no more")
	}
	return m
}

// until reads until something is told.
func (s *stream) until(what string, holds func(told) bool) told {
	s.p.t.Helper()
	for {
		m, ok := s.read()
		if !ok {
			s.p.t.Fatalf("the page is never told: %s", what)
		}
		if holds(m) {
			return m
		}
	}
}

// An event that comes is told with the parts that it changes, once, and where to go on.
func TestLiveTellsWhatComes(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.webhook(t, success("task_before"))
	p := s.site(t)
	p.known(s)
	p.eventually("the first event is shown", func() bool { return strings.Contains(p.get("/").body, "task_before") })
	d := p.view("now", "/")
	live := p.stream(d.one("body").attr("data-live"), "")
	first := live.next()
	if strings.Contains(first.update.Prepend["latest"], "task_before") {
		t.Error("what is on the page already is told again")
	}
	s.webhook(t, success("task_new", "https://cdn.apixo.ai/new.png"))
	m := live.until("an event", func(m told) bool { return m.update.Prepend["latest"] != "" })
	if !strings.Contains(m.update.Prepend["latest"], "/tasks/task_new") || !strings.Contains(m.update.Prepend["latest"], "https://cdn.apixo.ai/new.png") || m.id == "" {
		t.Errorf("what comes is told as %+v", m)
	}
	if strings.Contains(m.update.Prepend["latest"], "task_before") {
		t.Error("an event is told twice")
	}
	if _, again := m.update.Replace["relay"]; again && first.update.Replace["relay"] == m.update.Replace["relay"] {
		t.Error("what has not changed is told again")
	}
	if !strings.Contains(m.update.Replace["chart-events"]+first.update.Replace["chart-events"], "<svg") {
		t.Error("no chart is told")
	}
	rejected := s.webhook(t, "no JSON")
	live.until("something quarantined", func(m told) bool {
		return strings.Contains(m.update.Prepend["latest"], fmt.Sprintf(`href="/quarantine/%d"`, rejected))
	})

	// A page whose connection was lost goes on behind the last that it was told.
	again := p.stream(d.one("body").attr("data-live"), m.id)
	text := again.until("the list", func(m told) bool { return m.update.Prepend["latest"] != "" }).update.Prepend["latest"]
	if strings.Contains(text, "task_new") || !strings.Contains(text, fmt.Sprintf("/quarantine/%d", rejected)) {
		t.Errorf("behind %s a page is told of %s", m.id, text)
	}
	behind := p.stream(d.one("body").attr("data-live")+"&after="+m.id, "")
	_ = behind.next()
}

// A page that was made while the broker was away is told that it is back.
func TestLiveTellsEverythingFirst(t *testing.T) {
	t.Parallel()
	p := newStore(t).site(t)
	for _, view := range []string{"now", "events", "task", "quarantine", "quarantined", "question", "aside", "replay", "expected", "checks"} {
		if text, ok := p.stream("/live?view="+view+"&boot="+p.boot, "").next().update.Replace["connection"]; !ok || text != "" {
			t.Errorf("%s: told first of the connection: %q, %v", view, text, ok)
		}
	}
}

// A page is told when the broker goes away, and when it is back, on whatever view it is.
func TestLiveTellsOfTheBroker(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.webhook(t, success("task_1"))
	p := s.site(t)
	p.known(s)
	var streams []*stream
	for _, view := range []string{"now", "events", "task", "quarantine", "replay", "expected", "checks"} {
		live := p.stream("/live?view="+view+"&boot="+p.boot, "")
		if text := live.next().update.Replace["connection"]; text != "" {
			t.Errorf("%s: the connection is %q", view, text)
		}
		streams = append(streams, live)
	}
	s.stop()
	for _, live := range streams {
		live.until("the broker is away", func(m told) bool { return strings.Contains(m.update.Replace["connection"], "The broker is away") })
	}
	s.start(t)
	for _, live := range streams {
		live.until("the broker is back", func(m told) bool {
			text, ok := m.update.Replace["connection"]
			return ok && text == ""
		})
	}
	s.webhook(t, success("task_2"))
	streams[0].until("what comes then", func(m told) bool { return strings.Contains(m.update.Prepend["latest"], "task_2") })
}

// A page of an earlier process is told to load itself anew; so is one whose search has ended.
func TestLiveReloads(t *testing.T) {
	t.Parallel()
	p := newStore(t).site(t)
	for _, path := range []string{"/live?view=now", "/live?view=now&boot=another", "/live?view=search&id=unknown&boot=" + p.boot} {
		live := p.stream(path, "7")
		if m := live.next(); !m.update.Reload {
			t.Errorf("%s: %+v", path, m)
		}
		if _, ok := live.read(); ok {
			t.Errorf("%s: more is told", path)
		}
	}
	p.get("/live?view=nothing&boot="+p.boot).refused(t, http.StatusNotFound, "does not change")
}

// No more pages are kept up to date than there may be, and one that is closed makes room.
func TestLiveIsBounded(t *testing.T) {
	t.Parallel()
	p := newStore(t).site(t)
	var first *stream
	for range maxStreams {
		live := p.stream("/live?view=checks&boot="+p.boot, "")
		live.next()
		if first == nil {
			first = live
		}
	}
	if got := p.get("/live?view=checks&boot=" + p.boot); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
		t.Errorf("one page too many: %d, %v", got.StatusCode, got.Header)
	}
	_ = first.resp.Body.Close()
	p.eventually("there is room again", func() bool { return len(p.streams) < maxStreams })
	p.stream("/live?view=checks&boot="+p.boot, "").next()
}

// Who signs out is told nothing more, and strangers are told nothing.
func TestLiveEndsWithTheSession(t *testing.T) {
	t.Parallel()
	const token = "operator-0123456789abcdef"
	p := newStore(t).site(t, "RELAY_UI_TOKENS="+token)
	path := "/live?view=checks&boot=" + p.boot
	for _, stranger := range []string{path, "/", "/events", "/replay", "/quarantine/1/body", "/events/export"} {
		if got := p.get(stranger); got.StatusCode != http.StatusUnauthorized && got.StatusCode != http.StatusSeeOther {
			t.Errorf("%s tells a stranger %d", stranger, got.StatusCode)
		}
	}
	d := p.view("sign-in", "/sign-in?next=/events")
	d.none("nav")
	if text := d.text(); strings.Contains(text, "v0-test") || strings.Contains(text, "APIXO") {
		t.Errorf("a stranger is told %q", text)
	}
	p.submit(d, "form#sign-in", "token", "another-0123456789abcdef").view(t, http.StatusUnauthorized, "sign-in")
	in := p.submit(d, "form#sign-in", "token", token)
	if in.StatusCode != http.StatusSeeOther || in.Header.Get("Location") != "/events" || len(in.Cookies()) != 1 {
		t.Fatalf("signing in: %d, %v", in.StatusCode, in.Header)
	}
	cookie := in.Cookies()[0].String()
	cookie, _, _ = strings.Cut(cookie, ";")
	events := p.view("events", "/events", "Cookie", cookie)
	events.one("form#sign-out")
	client := *p.client
	client.Timeout = 0
	resp, err := client.Do(p.request(http.MethodGet, path, nil, "Cookie", cookie))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	live := &stream{p, resp, bufio.NewReader(resp.Body)}
	live.next()
	p.do(p.request(http.MethodPost, "/sign-out", nil, "Cookie", cookie))
	if m, ok := live.read(); ok {
		t.Errorf("whoever has signed out is told %+v", m)
	}
}
