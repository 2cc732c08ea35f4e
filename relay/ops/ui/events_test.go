package ui

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
)

// rows are the sequences that a list has, on all of its pages from a path on.
func (p *site) rows(view, path string) (sequences []int) {
	p.t.Helper()
	for pages := 0; path != ""; pages++ {
		if pages > 100 {
			p.t.Fatalf("%s has no end", path)
		}
		d := p.view(view, path)
		path = ""
		for _, text := range d.attrs("tbody tr", "data-seq") {
			n, err := strconv.Atoi(text)
			if err != nil {
				p.t.Fatal(err)
			}
			sequences = append(sequences, n)
		}
		if next := d.all("a[rel=next]"); len(next) > 0 {
			path = next[0].attr("href")
		}
	}
	return sequences
}

// Pages lead through all events, each of them once, the newest first.
func TestEventsInPages(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	p := s.site(t)
	p.view("events", "/events").says("Nothing that is stored matches")
	s.many(t, 3*pageSize+17)
	var want []int
	for i := 3*pageSize + 17; i > 0; i-- {
		want = append(want, i)
	}
	if got := p.rows("events", "/events"); !slices.Equal(got, want) {
		t.Errorf("the pages have %v", got)
	}
	first := p.view("events", "/events")
	first.none("a[rel=first]")
	if n := len(first.all("tbody tr")); n != pageSize {
		t.Errorf("a page has %d events", n)
	}
	second := p.view("events", first.one("a[rel=next]").attr("href"))
	if got := second.one("a[rel=first]").attr("href"); got != "/events" {
		t.Errorf("the newest are at %q", got)
	}
	// With as many as a page has there is no other.
	if got := p.view("events", fmt.Sprintf("/events?before=%d", pageSize+1)); len(got.all("a[rel=next]")) != 0 || len(got.all("tbody tr")) != pageSize {
		t.Error("behind the last page there is another one")
	}
	p.view("events", "/events?before=1").says("Nothing that is stored matches")
}

// Filters select what they say, together, also on further pages and in the export.
func TestEventsFiltered(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const n = 4 * pageSize
	s.many(t, n) // every third failed, models alternate
	middle := s.webhook(t, failed("task_quota", "QUOTA"), "model", "it's a model & more")
	after := time.Now()
	s.webhook(t, success("task_last"))
	p := s.site(t)
	matching := func(match func(i int) bool) (want []int) {
		for i := n - 1; i >= 0; i-- {
			if match(i) {
				want = append(want, i+1)
			}
		}
		return want
	}
	instant := url.QueryEscape(after.UTC().Format(time.RFC3339Nano))
	for path, want := range map[string][]int{
		"state=failed&model=model-1":               matching(func(i int) bool { return i%3 == 0 && i%2 == 1 }),
		"state=success&to-seq=200":                 matching(func(i int) bool { return i%3 != 0 }),
		"model=model-0":                            matching(func(i int) bool { return i%2 == 0 }),
		"fail-code=CONTENT_VIOLATION":              matching(func(i int) bool { return i%3 == 0 }),
		"fail-code=QUOTA":                          {int(middle)},
		"model=it%27s+a+model+%26+more":            {int(middle)},
		"model=+model-1+&from-seq=5&to-seq=9":      {8, 6},
		"task=task_quota":                          {int(middle)},
		"fail-code=content_violation":              nil,
		"model=model":                              nil,
		"state=success&fail-code=QUOTA":            nil,
		"since=" + instant:                         {n + 2},
		"until=" + instant + "&from-seq=200":       {n + 1, n},
		"since=1h&until=0s&state=failed&model=no":  nil,
		"quarantine=1&reason=conflict&task=task_1": nil, // the list is of events
		"since=1h&fail-code=QUOTA&before=100":      nil,
	} {
		if got := p.rows("events", "/events?"+path); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
		d := p.view("events", "/events?"+path)
		export := p.get(d.one("a[id=export]").attr("href"))
		if export.StatusCode != http.StatusOK || strings.Contains(path, "before=") {
			continue
		}
		var exported []int
		for line := range strings.Lines(export.body) {
			for i := range n + 2 {
				if strings.Contains(line, fmt.Sprintf("%q", id(i))) || i == n && strings.Contains(line, "task_quota") || i == n+1 && strings.Contains(line, "task_last") {
					exported = append([]int{i + 1}, exported...)
				}
			}
		}
		if !slices.Equal(exported, want) {
			t.Errorf("%s: exported %v, want %v", path, exported, want)
		}
	}
	d := p.view("events", "/events?state=failed&model=it%27s+a+model+%26+more&fail-code=QUOTA&since=1h&until=1s")
	for name, want := range map[string]string{"model": "it's a model & more", "fail-code": "QUOTA", "since": "1h", "until": "1s"} {
		if got := d.one("form#filter input[name=" + name + "]").attr("value"); got != want {
			t.Errorf("the field %s has %q", name, got)
		}
	}
	if got := d.texts("form#filter option[selected]"); !slices.Equal(got, []string{"failed"}) {
		t.Errorf("chosen is %q", got)
	}
	d.one("pre#commands").says(`apixo-relay replay --since 1h --until 1s --state failed --model 'it'\''s a model & more' --fail-code QUOTA --to -`)
}

// What is entered wrongly is a 400 that says what, and keeps what was entered.
func TestEventsWrongInput(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 3)
	p := s.site(t)
	for query, says := range map[string]string{
		"since=yesterday":                     "Since",
		"until=x":                             "Until",
		"since=1h&until=2h":                   "before",
		"from-seq=0":                          "From sequence",
		"from-seq=-1":                         "From sequence",
		"from-seq=1.5":                        "From sequence",
		"to-seq=18446744073709551616":         "To sequence",
		"from-seq=5&to-seq=4":                 "before",
		"since=1h&from-seq=4":                 "exclude each other",
		"state=running":                       "neither success nor failed",
		"state=success%22%3E%3Cscript%3E":     "neither success nor failed",
		"before=x":                            "before",
		"before=-1":                           "before",
		"since=" + strings.Repeat("9", 10000): "Since",
	} {
		d := p.get("/events?"+query).view(t, http.StatusBadRequest, "events")
		d.one("[role=alert]").says(says)
		if len(d.one("[role=alert]").text()) > 1000 {
			t.Errorf("%.30s: what is wrong is repeated whole", query)
		}
		d.none("tbody tr")
		if strings.HasPrefix(query, "before") {
			continue
		}
		if got := p.get("/events/export?" + query); got.StatusCode != http.StatusBadRequest || got.Header.Get("Content-Disposition") != "" {
			t.Errorf("%s is exported: %d, %v", query, got.StatusCode, got.Header)
		}
	}
}

// The export is what replay writes, to the byte, in either mode.
func TestExport(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.many(t, 1000)
	s.encoder.Mode = event.Binary
	s.webhook(t, success("task_binary", "https://cdn.apixo.ai/<>&\u2028.png"), "model", "ümlaut")
	s.webhook(t, `{"data":{"taskId":"task_spelled","state":"success", "n":1.50e+2,"resultJson":"{}"}}`)
	p := s.site(t)
	for _, query := range []string{"", "state=failed", "model=model-1&fail-code=CONTENT_VIOLATION", "since=1h", "from-seq=990", "to-seq=3", "task=task_binary", "model=none"} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		selection, filter, err := formOf(values).selection(p.cfg, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if selection.Since.IsZero() {
			selection.FromSeq = max(selection.FromSeq, 1)
		}
		var want bytes.Buffer
		summary, err := replay.Run(t.Context(), s.js.Conn(), replay.Lines(&want), replay.Options{Selection: selection, Filter: filter, Concurrency: 1})
		if err != nil {
			t.Fatal(err)
		}
		got := p.get("/events/export?" + query)
		if got.StatusCode != http.StatusOK || got.body != want.String() || strings.Count(got.body, "\n") != summary.Delivered {
			t.Errorf("%q: %d, %d bytes, want %d", query, got.StatusCode, len(got.body), want.Len())
		}
		if got.Header.Get("Content-Disposition") != `attachment; filename="apixo-events.jsonl"` || !strings.HasPrefix(got.Header.Get("Content-Type"), "application/jsonl") {
			t.Errorf("%q: %v", query, got.Header)
		}
	}
	if n := len(p.exports); n != 0 {
		t.Errorf("%d exports are under way", n)
	}
}

// There are no more exports at once than there may be, one that nobody reads ends when its
// reader is gone, and one that is cut off says so.
func TestExportIsBounded(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	filler := strings.Repeat("x", 100_000)
	for i := range 300 { // more than the system keeps for a reader that does not read
		s.webhook(t, strings.Replace(success(id(i)), `"data":{`, `"data":{"filler":"`+filler+`",`, 1))
	}
	p := s.site(t)
	p.known(s)
	var stalled []*http.Response
	for range maxExports {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(p.request(http.MethodGet, "/events/export", nil))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		stalled = append(stalled, resp)
	}
	got := p.get("/events/export")
	got.refused(t, http.StatusServiceUnavailable, "exports are under way")
	if got.Header.Get("Retry-After") == "" || got.Header.Get("Content-Disposition") != "" {
		t.Errorf("one too many: %v", got.Header)
	}
	_ = stalled[0].Body.Close()
	p.eventually("there is room again", func() bool { return len(p.exports) < maxExports })
	if _, err := io.Copy(io.Discard, stalled[1].Body); err != nil {
		t.Errorf("an export that is read late is cut off: %v", err)
	}
	p.eventually("all exports have ended", func() bool { return len(p.exports) == 0 })
}
