package browser

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// Events are shown in pages, the newest first, those that a filter takes, and exported as
// the command replays them.
func TestEvents(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	page := startUI(t, r.environ())
	const pictures = 230
	var before time.Time
	for i := range pictures {
		r.deliver(t, picture1(fmt.Sprintf("events_%03d", i)))
		if i == 99 {
			before = time.Now()
		}
	}
	r.deliver(t, failure("events_blocked", "CONTENT_VIOLATION", "Blocked"), failure("events_late", "TIMEOUT", "Took too long"), webhook{id: "events_film", model: "veo-3", urls: []string{"https://" + cdnHost + "/output/events_film.mp4"}})
	const all = pictures + 3

	for name, l := range map[string]look{"with scripts": desktop, "without": {width: 1280, height: 900, noScripts: true}} {
		t.Run("pages, "+name, func(t *testing.T) {
			t.Parallel()
			tab := newTab(t, l)
			tab.view("events", page.URL+"/events")
			var seen []int
			for pages := 1; ; pages++ {
				seen = append(seen, eval[[]int](tab, `Array.from(document.querySelectorAll("#events tbody tr"), r => Number(r.dataset.seq))`)...)
				if !tab.has(`a[rel="next"]`) {
					break
				}
				if pages > 30 {
					t.Fatal("there is no last page")
				}
				last := seen[len(seen)-1]
				tab.click(`a[rel="next"]`)
				tab.await(`document.readyState === "complete" && Number(document.querySelector("#events tbody tr")?.dataset.seq) < %d`, last)
			}
			var want []int
			for n := all; n > 0; n-- {
				want = append(want, n)
			}
			if !slices.Equal(seen, want) {
				t.Errorf("the pages show %d events: %v", len(seen), seen)
			}
		})
	}

	stamp := func(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }
	for name, filter := range map[string]struct {
		fields   map[string]string
		want     int // events
		first    string
		exported []string // flags of replay
	}{
		"all":                   {nil, all, "events_film", nil},
		"failed":                {map[string]string{"state": "failed"}, 2, "events_late", []string{"--state", "failed"}},
		"success":               {map[string]string{"state": "success"}, pictures + 1, "events_film", []string{"--state", "success"}},
		"model":                 {map[string]string{"model": "veo-3"}, 1, "events_film", []string{"--model", "veo-3"}},
		"fail code":             {map[string]string{"fail-code": "CONTENT_VIOLATION"}, 1, "events_blocked", []string{"--fail-code", "CONTENT_VIOLATION"}},
		"until":                 {map[string]string{"until": stamp(before)}, 100, "events_099", []string{"--until", stamp(before)}},
		"since, and failed":     {map[string]string{"since": stamp(before), "state": "failed"}, 2, "events_late", []string{"--since", stamp(before), "--state", "failed"}},
		"of the last hour":      {map[string]string{"since": "1h"}, all, "events_film", []string{"--since", "1h"}},
		"older than an hour":    {map[string]string{"until": "1h"}, 0, "", []string{"--until", "1h"}},
		"of a model that is no": {map[string]string{"model": `"><script>`}, 0, "", []string{"--model", `"><script>`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tab := newTab(t, desktop)
			tab.view("events", page.URL+"/events")
			for field, value := range filter.fields {
				tab.choose(fmt.Sprintf("#filter [name=%q]", field), value)
			}
			tab.submit("#filter button")
			tab.showing("events")
			for field, value := range filter.fields {
				if kept := eval[string](tab, `document.querySelector(%q).value`, fmt.Sprintf("#filter [name=%q]", field)); kept != value {
					t.Errorf("the filter has forgotten %s %q: it says %q", field, value, kept)
				}
			}
			rows := tab.texts("#events tbody th")
			if filter.want == 0 && len(rows) > 0 || filter.want > 0 && (len(rows) == 0 || rows[0] != filter.first) || len(rows) > filter.want {
				t.Errorf("%d events are shown, the first of %.3q", len(rows), rows)
			}
			if more := tab.has(`a[rel="next"]`); more != (len(rows) < filter.want) {
				t.Errorf("%d of %d are shown, and that there are more: %v", len(rows), filter.want, more)
			}
			var status int
			var header http.Header
			var exported string
			await(t, "others are exporting all the time", func() bool {
				status, header, exported = get(t, page.URL+tab.attribute("#export", "href"))
				return status != http.StatusServiceUnavailable
			})
			if status != 200 || !strings.HasPrefix(header.Get("Content-Disposition"), "attachment") {
				t.Errorf("the export is answered %d, %v", status, header)
			}
			from := []string{"--from-seq", "1"}
			if slices.Contains(filter.exported, "--since") {
				from = nil
			}
			if want := run(t, r.environ(), slices.Concat([]string{"replay", "--to", "-"}, from, filter.exported)...); exported != want {
				t.Errorf("the export has %d bytes, replay has %d: %s", len(exported), len(want), cut(exported, 500))
			}
			if lines := strings.Count(exported, "\n"); lines != filter.want {
				t.Errorf("the export has %d lines, want %d", lines, filter.want)
			}
		})
	}

	t.Run("what is no time", func(t *testing.T) {
		t.Parallel()
		tab := newTab(t, desktop)
		tab.expect("status of 4")
		if status := tab.open(page.URL + "/events?" + url.Values{"since": {"<b>yesterday"}}.Encode()); status >= 500 {
			t.Errorf("it is answered %d", status)
		}
		tab.reads(".trouble", "<b>yesterday")
	})
}
