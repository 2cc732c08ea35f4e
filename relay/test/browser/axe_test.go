package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// axeSource is axe-core.
var axeSource = sync.OnceValues(func() ([]byte, error) {
	return os.ReadFile(filepath.Join(relaytest.Root, "relay/test/browser/node_modules/axe-core/axe.min.js"))
})

// violation is a rule of axe-core that a page does not keep.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		Target         []any
		FailureSummary string
	}
}

// accessible holds a view against axe-core, on a large screen and on a phone, its colours light
// and dark, on which nothing of it has to be searched for beyond the edge.
func (t *tab) accessible(name string) {
	t.Helper()
	source, err := axeSource()
	switch {
	case err == nil:
	case os.Getenv("CI_TOOLS") != "":
		t.Fatalf("axe-core is missing: npm ci --ignore-scripts in relay/test/browser: %v", err)
	default:
		t.Logf("not held against axe-core, which is missing: npm ci --ignore-scripts in relay/test/browser: %v", err)
		return
	}
	axe := t.inject(string(source))
	for _, screen := range []look{desktop, phone} {
		for _, dark := range []bool{false, true} {
			screen.dark = dark
			t.as(screen)
			t.await(`innerWidth === %d && matchMedia("(prefers-color-scheme: dark)").matches === %v`, screen.width, dark)
			where := fmt.Sprintf("%d px wide, dark %v", screen.width, dark)
			var rules []string
			if dark {
				rules = colorRules() // all else is as it was in the light
			}
			for _, v := range t.violations(axe, rules...) {
				if v.Impact != "serious" && v.Impact != "critical" {
					continue
				}
				t.Errorf("%s: %s (%s), %d times: %v: %s", where, v.ID, v.Impact, len(v.Nodes), v.Nodes[0].Target, oneLine(v.Nodes[0].FailureSummary))
			}
			if wide := eval[int](t, `document.documentElement.scrollWidth`); wide > screen.width {
				t.Errorf("%s: it is %d px wide: %s", where, wide, strings.Join(t.beyond(screen.width), ", "))
			}
			t.picture(name + "-" + screen.name())
		}
	}
	t.as(desktop)
}

// inject loads a script into a world of its own, in which the page's policies do not hold
// and nothing of the page can be changed by accident.
func (t *tab) inject(source string) runtime.ExecutionContextID {
	t.Helper()
	tree := call(t, page.GetFrameTree, struct{}{})
	world := call(t, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: tree.FrameTree.Frame.ID, WorldName: "axe"}).ExecutionContextID
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	t.must("load axe-core", chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](source, in(world))))
	return world
}

func in(world runtime.ExecutionContextID) chromedp.EvaluateOption {
	return func(p *runtime.EvaluateParams) { p.ContextID = world }
}

// colorRules are the rules of axe-core that ask which colours a page has. A colour scheme changes
// nothing else, and the other rules take most of the time.
func colorRules() []string { return []string{"color-contrast", "link-in-text-block"} }

// violations has axe-core hold the page against some of its rules, or against all.
func (t *tab) violations(axe runtime.ExecutionContextID, rules ...string) []violation {
	t.Helper()
	options := map[string]any{"resultTypes": []string{"violations"}}
	if len(rules) > 0 {
		options["runOnly"] = rules
	}
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	all, err := chromedp.Run(ctx, chromedp.Evaluate[[]violation](fmt.Sprintf(`axe.run(document, %s).then(r => r.violations)`, marshal(options)), in(axe), chromedp.EvalAwaitPromise))
	t.must("run axe-core", err)
	return all
}

// beyond are the elements that reach beyond a width.
func (t *tab) beyond(width int) []string {
	t.Helper()
	return eval[[]string](t, `Array.from(document.querySelectorAll("body *")).filter(e => e.getBoundingClientRect().right > %d)
		.map(e => e.tagName.toLowerCase() + (e.id ? "#" + e.id : "") + "." + e.className).slice(0, 8)`, width)
}
