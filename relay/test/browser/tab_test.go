package browser

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// look is how a page is looked at.
type look struct {
	width, height int
	dark          bool
	noScripts     bool
	// coverable: other tabs of its window hide it.
	coverable bool
}

// The screens of those who look at the page.
var (
	desktop = look{width: 1280, height: 900}
	phone   = look{width: 360, height: 740}
)

// tab is a window of a person of its own, with cookies of its own. What goes wrong in it
// fails the test when that ends, unless it was to be expected.
type tab struct {
	testing.TB
	ctx context.Context
	b   *chromium

	mu       sync.Mutex
	trouble  []string
	expected []string
	requests []request
}

// request is one that the page in a tab has made.
type request struct {
	url      *url.URL
	document bool
	header   network.Headers
}

// newTab opens a tab until the test ends.
func newTab(t testing.TB, l look) *tab {
	t.Helper()
	b := browser(t)
	if l.coverable {
		b = browserWithTabs(t)
	}
	return openTab(t, l, b, b.ctx, chromedp.WithNewBrowserContext())
}

// beside opens another tab in the same window, with the same cookies.
func (t *tab) beside(l look) *tab {
	t.Helper()
	return openTab(t.TB, l, t.b, t.ctx, chromedp.WithNewWindow(false))
}

func openTab(t testing.TB, l look, b *chromium, parent context.Context, options ...chromedp.ContextOption) *tab {
	t.Helper()
	tab := &tab{TB: t, b: b}
	var cancel context.CancelFunc
	tab.ctx, cancel = chromedp.NewContext(parent, append(options, chromedp.WithListener(tab.note))...)
	t.Cleanup(func() {
		if t.Failed() {
			tab.explain()
		}
		cancel()
		for _, trouble := range tab.unexpected() {
			t.Errorf("in the browser: %s", trouble)
		}
	})
	tab.must("open a tab", chromedp.Do(tab.ctx))
	call(tab, audits.Enable, cdp.Empty{})
	call(tab, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: !l.coverable})
	if l.noScripts {
		call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	}
	tab.as(l)
	return tab
}

// of lets another test have the tab until that test ends, for which it waits.
func (t *tab) of(inner testing.TB) {
	outer := t.TB
	t.TB = inner
	inner.Cleanup(func() { t.TB = outer })
}

// as changes how the page is looked at.
func (t *tab) as(l look) {
	t.Helper()
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	call(t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	call(t, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(l.width), Height: int64(l.height), DeviceScaleFactor: 1, Mobile: l.width == phone.width,
	})
}

// call gives the tab's page a command of the protocol.
func call[P, R any](t *tab, c cdp.Command[P, R], params P) R {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	result, err := chromedp.Call(ctx, c, params)
	t.must(c.Method, err)
	return result
}

func (t *tab) must(what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("the browser cannot %s: %v", what, err)
	}
}

// hints are issues that are none here: nobody knows the size of a result's picture before it
// is there, and a busy machine takes its time.
func hints() []audits.InspectorIssueCode {
	return []audits.InspectorIssueCode{"LazyLoadImageIssue", "PerformanceIssue"}
}

// note hears of everything that happens in the tab.
func (t *tab) note(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	add := func(format string, args ...any) { t.trouble = append(t.trouble, fmt.Sprintf(format, args...)) }
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		add("an exception that nobody caught: %s %v", e.ExceptionDetails.Text, description(e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		if e.Type != "debug" && e.Type != "info" && e.Type != "log" {
			var args []string
			for _, a := range e.Args {
				args = append(args, string(a.Value)+a.Description)
			}
			add("the console has an %s: %s", e.Type, strings.Join(args, " "))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Source == log.EntrySourceSecurity || e.Entry.Source == log.EntrySourceViolation {
			add("the console has an %s (%s): %s %s", e.Entry.Level, e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *audits.EventIssueAdded:
		switch d := e.Issue.Details.ContentSecurityPolicyIssueDetails; {
		case d != nil:
			add("the content security policy was violated: %s %s", d.ViolatedDirective, d.BlockedURL)
		case !slices.Contains(hints(), e.Issue.Code):
			add("an issue: %s", e.Issue.Code)
		}
	case *page.EventJavascriptDialogOpening:
		add("a dialog: %s", e.Message)
		go func() { // the page waits for it, and no command may be given from here
			_, _ = chromedp.Call(t.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{}) // it is told anyway
		}()
	case *page.EventWindowOpen:
		add("a window: %s", e.URL)
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil {
			u = &url.URL{Opaque: e.Request.URL}
		}
		t.requests = append(t.requests, request{u, e.Type == network.ResourceTypeDocument, e.Request.Headers})
	}
}

func description(o *runtime.RemoteObject) string {
	if o == nil {
		return ""
	}
	return o.Description
}

// expect says that trouble with this text in it is what the test wants to see.
func (t *tab) expect(texts ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expected = append(t.expected, texts...)
}

// unexpected is the trouble that was not to be expected.
func (t *tab) unexpected() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(t.trouble), func(s string) bool {
		return slices.ContainsFunc(t.expected, func(e string) bool { return strings.Contains(s, e) })
	})
}

// had returns the trouble with this text in it.
func (t *tab) had(text string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(t.trouble), func(s string) bool { return !strings.Contains(s, text) })
}

// requested are the requests of the tab so far.
func (t *tab) requested() []request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.requests)
}

// explain logs what the tab shows.
func (t *tab) explain() {
	ctx, cancel := context.WithTimeout(t.ctx, 5*time.Second)
	defer cancel()
	shown, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.documentElement.outerHTML`))
	if err != nil {
		t.Logf("what the tab shows is not known: %v", err)
		return
	}
	t.Logf("the tab shows %s", cut(shown, 20_000))
}

// cut shortens a text.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
