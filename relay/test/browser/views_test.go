package browser

import (
	"slices"
	"strings"
	"testing"
)

// Each view of a relay in which all kinds of things have happened.
func TestViews(t *testing.T) {
	t.Parallel()
	requireAxe(t)
	browser(t)
	w := newTown(t)
	t.Run("facts", func(t *testing.T) { everyView(t, w, w.facts) })
	t.Run("by the keyboard", func(t *testing.T) { everyView(t, w, w.reachable) })
	t.Run("accessible", func(t *testing.T) { everyView(t, w, w.accessible) })
}

// facts are read with scripts and without, and nothing goes wrong.
func (w *town) facts(t *testing.T, p place) {
	for _, l := range []look{desktop, {width: desktop.width, height: desktop.height, noScripts: true}} {
		tab := newTab(t, l)
		w.visit(tab, p)
		for selector, texts := range p.facts {
			if !tab.has(selector) {
				t.Errorf("there is no %s", selector)
			} else {
				tab.reads(selector, texts...)
			}
		}
		if live := eval[string](tab, `document.documentElement.dataset.live ?? ""`); l.noScripts && live != "" {
			t.Errorf("without scripts it says that it is live: %s", live)
		}
		w.frame(tab, p)
		if l.noScripts && p.view != "sign-in" {
			return
		}
		for _, r := range tab.requested() {
			if r.url.Host != host(w.url(p)) && !strings.HasSuffix(r.url.Hostname(), ".apixo.ai") {
				t.Errorf("it loads %s", r.url)
			}
		}
	}
}

// frame is what is around each view.
func (w *town) frame(t *tab, p place) {
	t.Helper()
	if n := t.count("h1"); n != 1 {
		t.Errorf("it has %d headings of the first level", n)
	}
	if lang := t.attribute("html", "lang"); lang != "en" {
		t.Errorf("its language is %q", lang)
	}
	if title := t.text("title"); !strings.Contains(title, "apixo-relay") {
		t.Errorf("its title is %q", title)
	}
	if t.attribute("a.skip", "href") != "#main" || !t.has("main#main") {
		t.Error("nothing leads to what it is about")
	}
	if p.view == "sign-in" {
		return
	}
	paths := eval[[]string](t, `Array.from(document.querySelectorAll('nav[aria-label="Views"] a'), a => a.getAttribute("href"))`)
	for _, path := range []string{"/", "/events", "/quarantine", "/replay", "/expected", "/checks"} {
		if !slices.Contains(paths, path) {
			t.Errorf("nothing leads to %s, but to %q", path, paths)
		}
	}
	current := t.attribute(`nav [aria-current="page"]`, "href")
	for view, path := range map[string]string{"now": "/", "events": "/events", "quarantine": "/quarantine", "replay": "/replay", "expected": "/expected", "checks": "/checks"} {
		if p.view == view && current != path {
			t.Errorf("it is called the current page that %q leads to", current)
		}
	}
}
