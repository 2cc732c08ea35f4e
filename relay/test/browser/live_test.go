package browser

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// A webhook that is delivered while the page is open is there without anybody's doing,
// with its picture, which no other host than the allowed one is asked for.
func TestLive(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	page := startUI(t, r.environ())
	tab := newTab(t, desktop)
	r.deliver(t, picture1("live_first"))
	tab.view("now", page.URL+"/")
	tab.await(`document.documentElement.dataset.live === "on"`)
	tab.mark()

	elsewhere := webhook{id: "live_elsewhere", model: "m", urls: []string{"https://" + canaryHost + "/live_elsewhere.jpg", "http://" + cdnHost + "/live_elsewhere.jpg"}}
	sequences := r.deliver(t, picture1("live_second"), elsewhere, failure("live_failed", "CONTENT_VIOLATION", "Blocked"))
	broken := r.reject(t, `{"data":{"taskId":"live_broken",`)
	for _, sequence := range sequences {
		tab.await(`document.querySelector('#latest li[data-seq="%d"]')`, sequence)
	}
	tab.await(`document.querySelector('#latest li.rejected a[href="/quarantine/%d"]')`, broken)
	tab.reads("#latest", "live_first", "live_second", "live_elsewhere", "live_failed", "CONTENT_VIOLATION Blocked")
	tab.await(`Array.from(document.querySelectorAll("#latest img")).filter(i => i.naturalWidth > 0).length === 2`)
	for _, id := range []string{"live_first", "live_second"} {
		asked := tab.b.cdn.of(id)
		if len(asked) != 1 {
			t.Errorf("the picture of %s was asked for %d times", id, len(asked))
		}
		for _, r := range asked {
			if r.header.Get("Referer") != "" || r.header.Get("Origin") != "" || r.header.Get("Cookie") != "" {
				t.Errorf("asked for a picture, the browser told of the page: %v", r.header)
			}
		}
	}
	tab.await(`document.querySelector("#chart-events .legend").innerText.replace(/\s+/g, " ").includes("success 3 failed 1 quarantined 1")`)
	// Who is in the list with the keyboard stays where they are.
	eval[int](tab, `(document.querySelector("#latest .what a").focus(), 1)`)
	focused := tab.focused()
	sequence := r.deliver(t, failure("live_later", "TIMEOUT", "Took too long"))[0]
	tab.await(`document.querySelector('#latest li[data-seq="%d"]')`, sequence)
	if now := tab.focused(); now != focused {
		t.Errorf("the focus was on %s, and is on %s", focused, now)
	}
	if !tab.isMarked() {
		t.Error("the page was loaded anew")
	}
	tab.loadsOnlyFrom(page, cdnHost)
}

// At 200 events a second the page stays readable, answers, and says what it left out.
func TestStorm(t *testing.T) {
	t.Parallel()
	const before, count, rate = 60, 2000, 200
	browser(t)
	r := startRelay(t)
	for i := range before {
		r.deliver(t, picture1(fmt.Sprintf("calm_%d", i)))
	}
	page := startUI(t, r.environ())
	tab := newTab(t, desktop)
	tab.view("now", page.URL+"/")
	tab.await(`document.documentElement.dataset.live === "on"`)
	tab.mark()
	// The longest time in which the page draws nothing, and the longest list.
	eval[bool](tab, `(() => {
		window.gap = 0; window.longest = 0; let last = performance.now();
		const tick = now => { gap = Math.max(gap, now - last); last = now; longest = Math.max(longest, document.querySelectorAll("#latest li").length); requestAnimationFrame(tick); };
		requestAnimationFrame(now => { last = now; tick(now); });
		return true;
	})()`)
	cmd := exec.CommandContext(t.Context(), built(t), "send", "success", "--count", strconv.Itoa(count), "--rate", fmt.Sprintf("%d/s", rate), "--url", r.Webhooks+"?model=nano-banana")
	cmd.Env = relaytest.Environ()
	out := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tab.await(`document.querySelectorAll("#latest li").length > 5 && document.querySelector("#left-out").innerText !== ""`)
	tab.picture("now-storm")
	// A person can still use it.
	tab.click("#pause")
	tab.await(`document.querySelector("#pause").getAttribute("aria-pressed") === "true"`)
	tab.click("#pause")
	tab.await(`document.querySelector("#pause").getAttribute("aria-pressed") === "false"`)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("send: %v\n%s", err, out)
	}
	tab.await(`document.querySelector("#chart-events .legend").innerText.replace(/\D/g, "").includes("%d")`, before+count)
	// What was shown for a moment is not left out.
	told := 0
	await(t, "it does not tell what it left out", func() bool {
		told, _ = strconv.Atoi(regexp.MustCompile(`\D`).ReplaceAllString(regexp.MustCompile(`[\d,]+`).FindString(tab.text("#left-out")), ""))
		return told > count/2
	})
	if shown := tab.count("#latest li"); told > count || shown > before {
		t.Errorf("it says that it left out %d of %d, and shows %d", told, count, shown)
	}
	if longest := eval[int](tab, `longest`); longest > before {
		t.Errorf("the list had %d events", longest)
	}
	if gap := eval[float64](tab, `gap`); gap > 2000 {
		t.Errorf("the page drew nothing for %.0f ms", gap)
	}
	if !tab.isMarked() {
		t.Error("the page was loaded anew")
	}
}

// A page that is paused stays as it is, and has what came meanwhile when it goes on.
func TestPause(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	page := startUI(t, r.environ())
	paused, witness := newTab(t, desktop), newTab(t, desktop)
	for _, p := range []*tab{paused, witness} {
		p.view("now", page.URL+"/")
		p.await(`document.documentElement.dataset.live === "on"`)
	}
	paused.click("#pause")
	paused.await(`document.querySelector("#pause").getAttribute("aria-pressed") === "true"`)
	before := paused.text("#latest")
	sequence := r.deliver(t, picture1("paused_1"), picture1("paused_2"))[1]
	there := fmt.Sprintf(`document.querySelector('#latest li[data-seq="%d"]')`, sequence)
	witness.await(there)
	if now := paused.text("#latest"); now != before {
		t.Errorf("though paused, the list has become %s", now)
	}
	paused.click("#pause")
	paused.await(there)
	paused.reads("#latest", "paused_1", "paused_2")
}

// A browser has six connections to a server that has no TLS. However many tabs show the page,
// another one opens, is live, and those that were hidden are up to date when they are seen again.
func TestManyTabs(t *testing.T) {
	t.Parallel()
	browserWithTabs(t)
	r := startRelay(t)
	page := startUI(t, r.environ())
	l := desktop
	l.coverable = true
	first := newTab(t, l)
	first.view("now", page.URL+"/")
	first.liveAndMarked()
	for range 8 {
		tab := first.beside(l)
		tab.view("now", page.URL+"/")
		tab.await(`document.documentElement.dataset.live === "on"`)
	}
	sequence := r.deliver(t, picture1("many_tabs"))[0]
	first.do("show the first tab", chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, cdppage.BringToFront, cdp.Empty{})
		return err
	}))
	first.await(`document.querySelector('#latest li[data-seq="%d"]')`, sequence)
	if !first.isMarked() {
		t.Error("the page was loaded anew")
	}
}

// mark makes a page known that must not be loaded anew.
func (t *tab) mark() {
	t.Helper()
	eval[int](t, `window.markOfTheTest = 1`)
}

func (t *tab) isMarked() bool {
	t.Helper()
	return eval[bool](t, `window.markOfTheTest === 1`)
}

// loadsOnlyFrom fails the test if the tab has asked anybody else than a page and these hosts.
func (t *tab) loadsOnlyFrom(page *ui, hosts ...string) {
	t.Helper()
	allowed := map[string]bool{host(page.URL): true}
	for _, h := range hosts {
		allowed[h] = true
	}
	for _, r := range t.requested() {
		if !allowed[r.url.Host] && r.url.Scheme != "about" {
			t.Errorf("the browser asked for %s", cut(r.url.String(), 300))
		}
	}
}

// path is where a tab is.
func (t *tab) path() string {
	t.Helper()
	u, err := url.Parse(eval[string](t, `location.href`))
	if err != nil {
		t.Fatal(err)
	}
	return u.RequestURI()
}
