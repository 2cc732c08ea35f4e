package browser

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Each view of a relay in which all kinds of things have happened: what is to be read there is
// read with scripts and without, nothing goes wrong, the keyboard alone is enough, and everybody
// can use it.
func TestViews(t *testing.T) {
	t.Parallel()
	browser(t)
	w := newTown(t)
	for _, p := range w.places() {
		t.Run(p.name(), func(t *testing.T) {
			t.Parallel()
			tab := newTab(t, desktop)
			w.visit(tab, p)
			w.facts(tab, p)
			tab.accessible(p.name())
			tab.reachable()
			for _, r := range tab.requested() {
				if r.url.Host != host(w.url(p)) && !strings.HasSuffix(r.url.Hostname(), ".apixo.ai") {
					t.Errorf("it loads %s", r.url)
				}
			}
		})
	}
	t.Run("without scripts", func(t *testing.T) {
		t.Parallel()
		// One tab for all, since to make one takes longer than to load a page in it.
		plain := newTab(t, look{width: desktop.width, height: desktop.height, noScripts: true})
		for _, p := range w.places() {
			t.Run(p.name(), func(t *testing.T) {
				plain.of(t)
				w.visit(plain, p)
				w.facts(plain, p)
				if live := plain.attribute("html", "data-live"); live != "" {
					t.Errorf("without scripts it says that it is live: %s", live)
				}
			})
		}
	})
}

// Events in binary mode look the same.
func TestBinaryMode(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t, "RELAY_CE_MODE=binary")
	page := startUI(t, r.environ())
	r.deliver(t, picture1("binary_picture"), failure("binary_failed", "TIMEOUT", "Took too long"))
	kept := r.reject(t, `{"data":{"taskId":"binary_broken",}}`)
	tab := newTab(t, desktop)
	tab.view("now", page.URL+"/")
	tab.await(`document.querySelectorAll("#latest li").length === 3`)
	tab.reads("#latest", "binary_picture", "nano-banana", "TIMEOUT Took too long", "rejected")
	tab.view("events", page.URL+"/events?fail-code=TIMEOUT")
	tab.reads("#events", "binary_failed", "flux-kontext")
	tab.view("task", page.URL+"/tasks/binary_picture")
	tab.await(`document.querySelector("#media img").naturalWidth > 0`)
	tab.reads("#json", "ai.apixo.task.success", "binary_picture")
	tab.view("quarantined", fmt.Sprintf("%s/quarantine/%d", page.URL, kept))
	tab.reads("#body pre", `{"data":{"taskId":"binary_broken",}}`)
	tab.reads("mark", "}")
}

// facts are what is to be read in a place.
func (w *town) facts(t *tab, p place) {
	t.Helper()
	for selector, texts := range p.facts {
		if !t.has(selector) {
			t.Errorf("there is no %s", selector)
		} else {
			t.reads(selector, texts...)
		}
	}
	w.frame(t, p)
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
