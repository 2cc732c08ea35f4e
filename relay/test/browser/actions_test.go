package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/security"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// open goes to an address, and returns the answer's status when the page is loaded.
func (t *tab) open(url string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	response, err := chromedp.Run(ctx, chromedp.NavigateResponse(url))
	t.must("open "+url, err)
	if response == nil {
		return 0 // it came from no server
	}
	return int(response.Status)
}

// view opens a page, which has to be that view.
func (t *tab) view(name, url string) {
	t.Helper()
	if status := t.open(url); status != 200 {
		t.Fatalf("%s is answered %d", url, status)
	}
	t.showing(name)
}

// showing waits until the tab shows a view.
func (t *tab) showing(view string) {
	t.Helper()
	t.await(`document.readyState === "complete" && document.body?.dataset.view === %q`, view)
}

// leaves waits until the tab shows another view.
func (t *tab) leaves(view string) {
	t.Helper()
	t.await(`document.readyState === "complete" && document.body && document.body.dataset.view !== %q`, view)
}

// eval evaluates an expression in the page. Its arguments are put in as JSON for %q, and as
// by fmt for all else.
func eval[T any](t *tab, expression string, args ...any) T {
	t.Helper()
	result, err := tryEval[T](t, script(expression, args))
	t.must("evaluate "+cut(script(expression, args), 300), err)
	return result
}

func tryEval[T any](t *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression))
}

// script puts arguments into an expression.
func script(expression string, args []any) string {
	for i, arg := range args {
		if s, ok := arg.(string); ok {
			args[i] = quoted(s)
		}
	}
	return fmt.Sprintf(strings.ReplaceAll(expression, "%q", "%s"), args...)
}

// quoted is a text as JavaScript writes it.
type quoted string

// String implements fmt.Stringer.
func (q quoted) String() string {
	b, err := json.Marshal(string(q))
	if err != nil {
		panic(err) // a text always has a form in JSON
	}
	return string(b)
}

// lookAgain is between two looks at a page: it may have been exchanged for another one
// meanwhile, which nobody could wait for inside it.
const lookAgain = 50 * time.Millisecond

// await waits until an expression is true in the page, whichever that is by then.
func (t *tab) await(expression string, args ...any) {
	t.Helper()
	expression = script(expression, args)
	if !t.comes("Boolean("+expression+")", patience) {
		t.Fatalf("it never came true in the page: %s", expression)
	}
}

// awaitLong is await for what takes long on a busy machine.
func (t *tab) awaitLong(expression string, args ...any) {
	t.Helper()
	expression = script(expression, args)
	if !t.comes("Boolean("+expression+")", 3*patience) {
		t.Fatalf("it never came true in the page, however long it was waited for: %s", expression)
	}
}

// comes says whether an expression comes true in that time.
func (t *tab) comes(expression string, within time.Duration) bool {
	for late := time.After(within); ; {
		if is, err := tryEval[bool](t, expression); err == nil && is {
			return true
		}
		select {
		case <-late:
			return false
		case <-t.ctx.Done():
			return false
		case <-time.After(lookAgain):
		}
	}
}

// has says whether the page has something that a selector finds.
func (t *tab) has(selector string) bool {
	t.Helper()
	return eval[bool](t, `document.querySelector(%q) !== null`, selector)
}

// count says how much a selector finds.
func (t *tab) count(selector string) int {
	t.Helper()
	return eval[int](t, `document.querySelectorAll(%q).length`, selector)
}

// text is what a person reads in the first element that a selector finds, with spaces for
// any white space.
func (t *tab) text(selector string) string {
	t.Helper()
	return oneLine(eval[string](t, `document.querySelector(%q)?.innerText ?? "(there is no " + %q + ")"`, selector, selector))
}

// texts is text for each element that a selector finds.
func (t *tab) texts(selector string) []string {
	t.Helper()
	all := eval[[]string](t, `Array.from(document.querySelectorAll(%q), e => e.innerText)`, selector)
	for i, s := range all {
		all[i] = oneLine(s)
	}
	return all
}

// reads fails the test unless each of the texts can be read in what a selector finds.
func (t *tab) reads(selector string, texts ...string) {
	t.Helper()
	shown := t.text(selector)
	for _, text := range texts {
		if !strings.Contains(shown, oneLine(text)) {
			t.Errorf("%q cannot be read in %s: %s", text, selector, cut(shown, 2000))
		}
	}
}

// attribute is one of the first element that a selector finds; empty if it has none.
func (t *tab) attribute(selector, name string) string {
	t.Helper()
	return eval[string](t, `document.querySelector(%q)?.getAttribute(%q) ?? ""`, selector, name)
}

// click clicks with the mouse, where the first element is that a selector finds: a part of the
// page that is brought up to date has new elements at any moment.
func (t *tab) click(selector string) {
	t.Helper()
	var at []float64
	await(t.TB, "there is nothing to be clicked: "+selector, func() bool {
		var err error
		at, err = tryEval[[]float64](t, script(`(e => {
			if (!e || e.disabled || !e.checkVisibility({visibilityProperty: true})) return [];
			e.scrollIntoView({block: "center", behavior: "instant"});
			const r = e.getClientRects()[0], x = r.left + r.width / 2, y = r.top + r.height / 2;
			return e.contains(document.elementFromPoint(x, y)) ? [x, y] : [];
		})(document.querySelector(%q))`, []any{selector}))
		return err == nil && len(at) == 2
	})
	t.do("click "+selector, chromedp.MouseClickXY(at[0], at[1]))
}

// submit clicks what leads to another page, or to the same one anew, and waits for that.
func (t *tab) submit(selector string) {
	t.Helper()
	t.mark()
	t.click(selector)
	t.await(`document.readyState === "complete" && !window.markOfTheTest`)
}

// choose sets the value of a field as its user would.
func (t *tab) choose(selector, value string) {
	t.Helper()
	t.await(`document.querySelector(%q) !== null`, selector)
	eval[bool](t, `(() => {
		const field = document.querySelector(%q);
		field.value = %q;
		field.dispatchEvent(new Event("input", {bubbles: true}));
		field.dispatchEvent(new Event("change", {bubbles: true}));
		return true;
	})()`, selector, value)
	if got := eval[string](t, `document.querySelector(%q).value`, selector); got != value {
		t.Fatalf("%s takes no %q, but has %q", selector, value, got)
	}
}

// keys types on the keyboard alone, wherever the focus is.
func (t *tab) keys(keys string) {
	t.Helper()
	t.do("press a key", chromedp.KeyEvent(keys))
}

func (t *tab) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	t.must(what, chromedp.Do(ctx, actions...))
}

// tabKey moves the focus on.
const tabKey = kb.Tab

// cookies are those that the browser would send to an address.
func (t *tab) cookies(url string) []*network.Cookie {
	t.Helper()
	return call(t, network.GetCookies, network.GetCookiesParams{URLs: []string{url}}).Cookies
}

// oneLine has single spaces for any white space.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// back goes back as with the browser's button. It waits for nothing: a page that the browser has
// kept is not loaded, and chromedp.NavigateBack would wait for that.
func (t *tab) back() {
	t.Helper()
	history := call(t, page.GetNavigationHistory, cdp.Empty{})
	call(t, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: history.Entries[history.CurrentIndex-1].ID})
}

// trustAll has the tab take any certificate.
func (t *tab) trustAll() {
	t.Helper()
	call(t, security.SetIgnoreCertificateErrors, security.SetIgnoreCertificateErrorsParams{Ignore: true})
}

// selectAll marks all that is in the field with the focus.
func (t *tab) selectAll() {
	t.Helper()
	t.do("press Ctrl+A", chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
}
