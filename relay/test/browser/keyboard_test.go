package browser

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
)

// The keyboard alone is enough: to sign in, to pause, to filter, to open a task, to put the
// quarantine right, and to start and stop a replay.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	tab := newTab(t, desktop)
	fake := fakeapi.New(apiKey)
	fake.Default(fakeapi.Failure)
	api := httptest.NewServer(fake)
	t.Cleanup(api.Close)
	verifying := []string{"RELAY_VERIFY=enforce", "APIXO_API_KEY=" + apiKey, "APIXO_BASE_URL=" + api.URL}
	r := startRelay(t, verifying...)
	to := newReceiver(t)
	page := startUI(t, append(append(r.environ(), verifying...), "RELAY_UI_TOKENS="+token, "RELAY_UI_TARGETS=slow="+to.server.URL))
	kept := r.reject(t, fakeapi.Result("keys_mended"))
	fake.Default(fakeapi.Success)
	for i := range 12 {
		r.reject(t, fmt.Sprintf("broken %d", i))
		if a := r.send(t, fakeapi.Result(fmt.Sprintf("keys_%02d", i)), nil); a.status != 200 {
			t.Fatalf("a webhook is answered %d", a.status)
		}
	}

	tab.view("sign-in", page.URL+"/")
	tab.tabTo("#token")
	tab.keys(token + kb.Enter)
	tab.showing("now")
	tab.await(`document.documentElement.dataset.live === "on" && document.querySelector("#latest").innerText.includes("keys_11")`)
	// The first key leads past the views.
	tab.keys(tabKey)
	if !eval[bool](tab, `document.activeElement.matches("a.skip") && document.activeElement.getBoundingClientRect().top >= 0`) {
		t.Error("the first thing on a page is not the way past the views")
	}
	tab.keys(kb.Enter)
	tab.keys(tabKey)
	if !eval[bool](tab, `document.activeElement.closest("main") !== null`) {
		t.Errorf("behind the way past the views is %s", tab.focused())
	}
	tab.tabTo("#pause")
	tab.keys(" ")
	tab.await(`document.querySelector("#pause").getAttribute("aria-pressed") === "true"`)
	tab.keys(" ")
	tab.await(`document.querySelector("#pause").getAttribute("aria-pressed") === "false"`)

	tab.follow(`nav a[href="/events"]`, "events")
	tab.tabTo(`#filter [name="model"]`)
	tab.keys("no-such-model" + kb.Enter)
	tab.await(`document.readyState === "complete" && document.querySelectorAll("#events tbody tr").length === 0`)
	tab.tabTo(`#filter [name="model"]`)
	tab.selectAll()
	tab.keys(kb.Backspace + kb.Enter)
	tab.await(`document.readyState === "complete" && document.querySelectorAll("#events tbody tr").length === 12`)
	tab.follow(`#events a[href="/tasks/keys_05"]`, "task")

	tab.view("quarantined", fmt.Sprintf("%s/quarantine/%d", page.URL, kept))
	tab.tabTo("#send button")
	tab.keys(kb.Enter)
	tab.awaitJob("1 delivered")
	tab.view("quarantined", fmt.Sprintf("%s/quarantine/%d", page.URL, kept))
	tab.follow("#put-aside", "question")
	tab.tabTo("#confirm button")
	tab.keys(" ")
	tab.await(`document.readyState === "complete" && document.body.dataset.view !== "question"`)

	tab.view("replay", page.URL+"/replay")
	tab.tabTo("#from-seq")
	tab.keys("1")
	tab.tabTo(`#replay button[value="start"]`)
	tab.keys(" ")
	tab.await(`document.querySelector("#stop button")`)
	to.let(t, 3)
	tab.tabTo("#stop button")
	close(to.gate)
	tab.keys(kb.Enter)
	tab.await(`document.querySelector("#summary") && !document.querySelector("#stop")`)
	tab.tabTo("#sign-out button")
	tab.keys(kb.Enter)
	tab.showing("sign-in")
}

// reachable holds a view against the keyboard: each control is reached, is seen to be, and
// none keeps the focus.
func (w *town) reachable(t *testing.T, p place) {
	tab := newTab(t, desktop)
	w.visit(tab, p)
	eval[int](tab, `(() => {
		document.activeElement?.blur();
		const seen = e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && e.type !== "hidden" && e.tabIndex >= 0;
		window.controls = Array.from(document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex], audio[controls], video[controls]")).filter(seen);
		return controls.length;
	})()`)
	total := eval[int](tab, `controls.length`)
	if total < 2 {
		t.Fatalf("the view has %d controls", total)
	}
	for range 3 * total {
		tab.keys(tabKey)
		if eval[bool](tab, `(e => {
			if (e === document.body) return true;
			const root = controls.find(c => c === e || c.contains(e));
			if (root) root.reached = true;
			return false;
		})(document.activeElement)`) {
			break
		}
		if hidden := eval[string](tab, `(e => {
			const s = getComputedStyle(e), r = e.getBoundingClientRect();
			const ring = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1 || s.boxShadow !== "none";
			const inside = r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth && r.width > 0;
			return e.matches("audio, video") || ring && inside ? "" : e.outerHTML.slice(0, 200) + " ring " + ring + " inside " + inside;
		})(document.activeElement)`); hidden != "" {
			t.Errorf("the focus is not to be seen on %s", hidden)
		}
	}
	if left := eval[[]string](tab, `controls.filter(c => !c.reached).map(c => c.outerHTML.slice(0, 200))`); len(left) > 0 {
		t.Errorf("%d of %d controls are not reached: %q", len(left), total, left)
	}
}

// tabTo presses the tabulator until the focus is on what a selector finds.
func (t *tab) tabTo(selector string) {
	t.Helper()
	t.await(`document.querySelector(%q)`, selector)
	limit := 2*t.count("a, button, input, select, [tabindex]") + 10
	for range limit {
		if eval[bool](t, `document.activeElement?.matches(%q) ?? false`, selector) {
			return
		}
		t.keys(tabKey)
	}
	t.Fatalf("the tabulator does not come to %s", selector)
}

// follow goes to a link by the keyboard, which leads to a view.
func (t *tab) follow(selector, view string) {
	t.Helper()
	t.tabTo(selector)
	t.keys(kb.Enter)
	t.showing(view)
}

// focused is what has the focus.
func (t *tab) focused() string {
	t.Helper()
	return cut(strings.TrimSpace(eval[string](t, `document.activeElement.outerHTML`)), 200)
}
