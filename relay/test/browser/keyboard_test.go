package browser

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
)

// The keyboard alone is enough: to sign in, to pause, to filter, to open a task, to put the
// quarantine right, and to start and stop a replay.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	browser(t)
	fake := fakeapi.New(apiKey)
	fake.Default(fakeapi.Failure)
	api := httptest.NewServer(fake)
	t.Cleanup(api.Close)
	verifying := []string{"RELAY_VERIFY=enforce", "APIXO_API_KEY=" + apiKey, "APIXO_BASE_URL=" + api.URL}
	r := startRelay(t, verifying...)
	to := newReceiver(t)
	second := startRelay(t, "NATS_URL="+r.Broker) // which believes every webhook
	page := startUI(t, append(r.environ(), "RELAY_UI_TOKENS="+token, "RELAY_UI_TARGETS=slow="+to.server.URL+",relay="+second.Webhooks))
	tab := newTab(t, desktop)
	kept := r.rejectOf(t, "nano-banana", fakeapi.Result("keys_mended"))
	fake.Default(fakeapi.Success)
	for i := range 12 {
		r.reject(t, fmt.Sprintf("broken %d", i))
		if a := r.send(t, fakeapi.Result(fmt.Sprintf("keys_%02d", i)), url.Values{"model": {"nano-banana"}}); a.status != 200 {
			t.Fatalf("a webhook is answered %d", a.status)
		}
	}

	tab.view("sign-in", page.URL+"/")
	tab.tabTo("#token")
	tab.keys(token + kb.Enter)
	tab.showing("now")
	tab.await(`document.documentElement.dataset.live === "on" && document.querySelector("#latest").innerText.includes("keys_00")`)
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
	tab.awaitJob("delivered", 1)
	tab.view("quarantined", fmt.Sprintf("%s/quarantine/%d", page.URL, kept))
	tab.follow("#put-aside", "question")
	tab.tabTo("#confirm button")
	tab.keys(" ")
	tab.leaves("question")

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
func (t *tab) reachable() {
	t.Helper()
	total := eval[int](t, `(() => {
		// A part that is brought up to date meanwhile has new elements: a control is known by
		// what it is.
		const nameOf = e => [e.localName, e.id, ...["href", "name", "value", "aria-label", "aria-labelledby", "class", "src"].map(n => e.getAttribute(n))].join("|");
		window.controls = () => Array.from(document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex], audio[controls], video[controls]"))
			.filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && e.type !== "hidden" && e.tabIndex >= 0);
		const reached = new Set();
		window.left = () => controls().filter(c => !reached.has(nameOf(c)));
		// The focus is seen where it is: on the screen, and marked.
		window.arrive = e => {
			if (e === document.body) return "";
			reached.add(nameOf(e));
			const s = getComputedStyle(e), r = e.getBoundingClientRect();
			const ring = s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1 || s.boxShadow !== "none";
			const inside = r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth && r.width > 0;
			return e.matches("audio, video") || ring && inside ? "" : e.outerHTML.slice(0, 200) + (ring ? "" : ", without a mark") + (inside ? "" : ", off the screen");
		};
		document.activeElement.blur();
		return controls().length;
	})()`)
	if total < 2 {
		t.Fatalf("the view has %d controls", total)
	}
	// Twice past the end: it may begin in the middle, where a field has the focus.
	for range 2*total + 20 {
		t.keys(tabKey)
		got := eval[struct {
			Hidden string
			Left   int
		}](t, `({hidden: arrive(document.activeElement), left: left().length})`)
		if got.Hidden != "" {
			t.Errorf("the focus is not to be seen on %s", got.Hidden)
		}
		if got.Left == 0 {
			return
		}
	}
	t.Errorf("of %d controls these are not reached: %q", total, eval[[]string](t, `left().map(c => c.outerHTML.slice(0, 200))`))
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
