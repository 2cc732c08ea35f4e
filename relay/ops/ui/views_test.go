package ui

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/broker"
)

// Every view of the contract is there, complete without scripts, and says which one it is.
func TestContract(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.webhook(t, success("task_1", "https://cdn.apixo.ai/a.png"), "model", "nano")
	rejected := s.webhook(t, "no JSON")
	p := s.site(t)
	p.known(s)
	for path, view := range map[string]string{
		"/": "now", "/events": "events", "/tasks/task_1": "task", "/quarantine": "quarantine", "/quarantine/" + digits(rejected): "quarantined",
		"/quarantine/put-aside?seq=" + digits(rejected): "question", "/replay": "replay", "/expected": "expected", "/checks": "checks",
	} {
		d := p.view(view, path)
		d.one("a[href=#main]")
		d.one("main#main h1")
		d.one("nav[aria-label=Views]")
		if current := d.all("nav a[aria-current=page]"); len(current) != 1 {
			t.Errorf("%s: %d entries of the navigation are the current one", path, len(current))
		}
		if text := d.one("#connection[role=status]").text(); text != "" {
			t.Errorf("%s: the connection is %q", path, text)
		}
		if live := d.one("body").attr("data-live"); !strings.HasPrefix(live, "/live?view=") || !strings.Contains(live, "&boot="+p.boot) {
			t.Errorf("%s: what is live comes from %q", path, live)
		}
		d.none("#sign-out")
		for _, script := range d.all("script") {
			if script.text() != "" || !strings.HasPrefix(script.attr("src"), "/static/") {
				t.Errorf("%s: a script in the page: %q", path, script.text())
			}
		}
		d.none("[style]")
		d.none("[onclick]")
	}
	for path, status := range map[string]int{
		"/tasks/unknown": 404, "/nothing": 404, "/quarantine/99": 404, "/quarantine/0": 404, "/quarantine/x": 404, "/quarantine/99/body": 404, "/events/1": 404,
		"/tasks?id=": 400, "/tasks/a%20b": 404, "/tasks/a%2Fb": 404, "/tasks/" + strings.Repeat("x", 129): 404,
		"/quarantine/send": 405, "/replay/stop": 405, "/quarantine/put-aside": 400, "/quarantine/put-aside?seq=x": 400, "/quarantine/put-aside?reason=r": 400,
	} {
		p.get(path).view(t, status, "error")
	}
	if got := p.get("/tasks?id=+task_1+"); got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/tasks/task_1" {
		t.Errorf("an id that is entered leads to %d, %q", got.StatusCode, got.Header.Get("Location"))
	}
	// What is a form's is no GET's.
	for _, path := range []string{"/events", "/expected", "/tasks/task_1", "/quarantine", "/live?view=now"} {
		if got := p.post(path); got.StatusCode != http.StatusMethodNotAllowed && got.StatusCode != http.StatusNotFound {
			t.Errorf("POST %s: %d", path, got.StatusCode)
		}
	}
}

// HEAD is answered like GET, without a body, also where GET does not end.
func TestHead(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	p := s.site(t)
	for _, path := range []string{"/", "/events", "/events/export", "/live?view=now&boot=" + p.boot} {
		if got := p.do(p.request(http.MethodHead, path, nil)); got.StatusCode != http.StatusOK {
			t.Errorf("HEAD %s: %d", path, got.StatusCode)
		}
	}
	if n := len(p.streams); n != 0 {
		t.Errorf("%d pages are kept up to date that nobody has", n)
	}
}

// The page's own files are small, may be kept while they are the same, and are not listed.
func TestStatic(t *testing.T) {
	t.Parallel()
	total := 0
	entries, err := staticRoot.ReadDir("static")
	if err != nil {
		t.Fatal(err)
	}
	p := newStore(t).site(t)
	for _, e := range entries {
		got := p.get(staticPath(e.Name()))
		if got.StatusCode != http.StatusOK || got.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" || got.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d, %v", e.Name(), got.StatusCode, got.Header)
		}
		total += len(got.body)
		for _, path := range []string{"/static/" + e.Name(), "/static/" + e.Name() + "?v=0"} {
			if got := p.get(path); got.StatusCode != http.StatusOK || got.Header.Get("Cache-Control") != "no-cache" {
				t.Errorf("%s: %d, %q", path, got.StatusCode, got.Header.Get("Cache-Control"))
			}
		}
		elsewhere := strings.Replace(staticPath(e.Name()), "/static/", "/static/x/", 1)
		if got := p.get(elsewhere); got.StatusCode != http.StatusNotFound || strings.Contains(got.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, %q", elsewhere, got.StatusCode, got.Header.Get("Cache-Control"))
		}
	}
	if total >= 100<<10 {
		t.Errorf("the page's own files have %d bytes, less than 100 KiB are wanted", total)
	}
	for _, path := range []string{"/static/", "/static/.", "/static/x"} {
		if got := p.get(path); got.StatusCode == http.StatusOK {
			t.Errorf("%s is answered:\n%s", path, got.body)
		}
	}
	for _, path := range append(p.view("now", "/").attrs("link", "href"), p.view("now", "/").attrs("script", "src")...) {
		if got := p.get(path); got.StatusCode != http.StatusOK || !strings.Contains(got.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s, which the page has: %d", path, got.StatusCode)
		}
	}
}

// Without a broker each view says so, and what is not known is not said to be nothing.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.webhook(t, success("task_1"))
	rejected := s.webhook(t, "no JSON")
	p := s.site(t, "RELAY_UI_TARGETS=again=nats:replayed.tasks")
	p.known(s)
	s.stop()
	p.eventually("the page knows that the broker is away", func() bool { return p.trouble() != "" })
	for path, status := range map[string]int{
		"/": 200, "/events": 503, "/tasks/task_1": 503, "/tasks/unknown": 503, "/quarantine": 503, "/quarantine/" + digits(rejected): 503, "/quarantine/" + digits(rejected) + "/body": 503,
		"/replay": 200, "/expected": 200, "/events/export": 503,
	} {
		got := p.get(path)
		if got.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, got.StatusCode, status)
			continue
		}
		if d := got.view(t, status, documentOf(t, got).one("body").attr("data-view")); !strings.Contains(d.one("#connection").text(), "The broker is away") {
			t.Errorf("%s says of the connection %q", path, d.one("#connection").text())
		}
	}
	p.view("expected", "/expected").one("#outstanding")
	if text := p.view("expected", "/expected").text(); !strings.Contains(text, "not known") || strings.Contains(text, "No announced task is outstanding") {
		t.Errorf("what is expected: %s", text)
	}
	for path, fields := range map[string][]string{
		"/quarantine/send":      {"seq", digits(rejected)},
		"/quarantine/put-aside": {"seq", digits(rejected)},
		"/replay":               {"from-seq", "1", "target", "again", "action", "start"},
	} {
		if got := p.post(path, fields...); got.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("POST %s: %d, want 503:\n%s", path, got.StatusCode, documentOf(t, got).one("main").text())
		}
	}
	s.start(t)
	p.eventually("the page goes on", func() bool { return p.get("/tasks/task_1").StatusCode == http.StatusOK })
	p.view("events", "/events").one("tr[data-seq=1]")
}

// Serve leaves nothing: no consumer in the broker, and no goroutine, as TestMain sees.
func TestServeEnds(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 5_000)
	p := s.site(t, "RELAY_UI_INDEX=10")
	p.known(s)
	p.view("now", "/")
	stream := p.stream("/live?view=now&boot="+p.boot, "")
	stream.next()
	p.get("/tasks/unknown")
	for i := range maxSearches { // which have only begun
		p.searches.start(p.Server, fmt.Sprint("other_", i))
	}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	for ok := true; ok; {
		_, ok = stream.read() // it ends
	}
	if slices.ContainsFunc(p.searches.all, func(one *search) bool { return !one.done() }) {
		t.Error("a search goes on behind the end")
	}
	// One that was being made at the end is gone after some seconds without a request.
	p.eventually("no consumer is left in the broker", func() bool { return s.consumers(t) == 0 })
}

// A page whose connection is gone for good ends, and does not stay as one that nothing comes to.
func TestServeEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	cfg := load(t, "NATS_URL="+s.server.ClientURL(), "RELAY_UI_ADDR=127.0.0.1:0")
	log := slog.New(slog.DiscardHandler)
	b, err := broker.OpenClient(cfg, "page", log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(context.Background()) }()
	page, err := New(Options{Config: cfg, Broker: b, Log: log, Audit: log})
	if err != nil {
		t.Fatal(err)
	}
	conn := b.Conn()
	ended := make(chan error, 1)
	go func() { ended <- page.Serve(t.Context()) }()
	for conn.Stats().OutMsgs == 0 { // it serves
		time.Sleep(time.Millisecond)
	}
	resp, err := http.Get(page.URL())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	conn.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "start the page again") {
		t.Errorf("it ended with %v", err)
	}
}
