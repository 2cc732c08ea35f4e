package browser

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// receiver takes what is replayed, when it is let.
type receiver struct {
	server *httptest.Server

	mu     sync.Mutex
	bodies []string
	// gate lets one delivery through for each value in it; closed, all.
	gate chan struct{}
	fail string // what is answered 400 has this text in it
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{gate: make(chan struct{})}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	select {
	case <-r.gate:
	case <-req.Context().Done():
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bodies = append(r.bodies, string(body))
	if r.fail != "" && strings.Contains(string(body), r.fail) {
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.bodies)
}

// let lets so many deliveries through, and waits until they have come.
func (r *receiver) let(t *testing.T, n int) {
	t.Helper()
	before := r.count()
	for range n {
		select {
		case r.gate <- struct{}{}:
		case <-t.Context().Done():
			t.Fatal("nothing more is delivered")
		}
	}
	await(t, "deliveries are lost", func() bool { return r.count() >= before+n })
}

// A replay is looked at first, started, followed from page to page, and stopped.
func TestReplay(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	to := newReceiver(t)
	to.fail = "replay_07"
	page := startUI(t, append(r.environ(), "RELAY_UI_TARGETS=slow="+to.server.URL+"/hook?secret=hidden-4711,other="+to.server.URL+"/other"))
	tab := newTab(t, desktop)
	const events = 60
	for i := range events {
		r.deliver(t, picture1(fmt.Sprintf("replay_%02d", i)))
	}
	r.deliver(t, failure("replay_failed", "TIMEOUT", "Took too long"))

	tab.view("replay", page.URL+"/replay")
	if targets := tab.texts("#target option"); strings.Join(targets, " ") != "slow other" {
		t.Errorf("the targets are %q", targets)
	}
	tab.choose("#from-seq", "1")
	tab.choose("#state", "success")
	tab.click(`#replay button[value="preview"]`)
	tab.await(`document.querySelector("#summary")?.innerText.includes("%d")`, events)
	t.Logf("what would be delivered: %s", tab.text("#job"))
	if to.count() > 0 {
		t.Error("a look at what would be delivered has delivered it")
	}
	if got := eval[string](tab, `document.querySelector("#state").value + document.querySelector("#from-seq").value`); got != "success1" {
		t.Errorf("the form has forgotten what was in it: %q", got)
	}

	tab.click(`#replay button[value="start"]`)
	tab.await(`document.querySelector("#stop button") && document.querySelector("#job progress")`)
	to.let(t, 20)
	tab.await(`document.querySelector("#failures")?.innerText.includes("replay_07")`)
	tab.await(`document.querySelector("#job progress").value > 0`)
	tab.reads("#command", "apixo-relay replay", "--from-seq 1", "--state success")
	if html := eval[string](tab, `document.documentElement.outerHTML`); strings.Contains(html, "hidden-4711") {
		t.Error("the secret in a target's URL is on the page")
	}
	tab.accessible("replay-running")
	// Only one at a time.
	if status, _, body := post(t, page.URL+"/replay", "action=start&from-seq=1&target=other"); status < 400 && !strings.Contains(body, "under way") {
		t.Errorf("a second replay is answered %d", status)
	}

	// It goes on while the page is closed, without scripts can be followed as well.
	tab.open("about:blank#closed")
	to.let(t, 10)
	again := newTab(t, look{width: 1280, height: 900, noScripts: true})
	again.view("replay", page.URL+"/replay")
	again.reads("#failures", "replay_07")
	// The page that answers is another one: by then it is stopped.
	before := eval[float64](again, `performance.timeOrigin`)
	again.click("#stop button")
	again.await(`performance.timeOrigin > %f + 1 && document.readyState === "complete" && document.body.dataset.view === "replay"`, before)
	close(to.gate)
	tab.view("replay", page.URL+"/replay")
	tab.await(`document.querySelector("#summary") && !document.querySelector("#stop")`)
	tab.reads("#summary", "--from-seq")
	if n := to.count(); n >= events {
		t.Errorf("though stopped, it has delivered %d of %d", n, events)
	}
	// The log tells what was done, and never the secret.
	page.lineWith(t, "slow")
	if strings.Contains(page.log.String(), "hidden-4711") {
		t.Error("the secret in a target's URL is in the log")
	}

	// To its end.
	tab.choose("#task", "replay_33")
	tab.choose("#from-seq", "1")
	tab.choose("#target", "other")
	tab.click(`#replay button[value="start"]`)
	tab.awaitJob("delivered", 1)
}

// Nothing but the named targets is ever posted to, whatever is asked for.
func TestReplayTargets(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	named, foreign := newReceiver(t), newReceiver(t)
	close(named.gate)
	close(foreign.gate)
	page := startUI(t, append(r.environ(), "RELAY_UI_TARGETS=named="+named.server.URL))
	bare := startUI(t, r.environ())
	r.deliver(t, picture1("target_1"))
	for _, target := range []string{"", "foreign", foreign.server.URL, "named=" + foreign.server.URL, "nats:apixo.task.success", "nats:other", "-", "env:PATH", "@/etc/passwd", "named\n", "NAMED", "relay"} {
		for _, p := range []*ui{page, bare} {
			form := url.Values{"action": {"start"}, "from-seq": {"1"}, "target": {target}}.Encode()
			if status, _, _ := post(t, p.URL+"/replay", form); status < 400 || status >= 500 {
				t.Errorf("a replay to %q is answered %d", target, status)
			}
		}
	}
	for _, more := range []string{"&target=" + url.QueryEscape(foreign.server.URL), "&to=" + url.QueryEscape(foreign.server.URL), "&url=" + url.QueryEscape(foreign.server.URL), "&header=X-A:%20b"} {
		post(t, page.URL+"/replay", "action=start&from-seq=1&target=named"+more)
	}
	await(t, "nothing is delivered to the named target", func() bool { return named.count() > 0 })
	if n := foreign.count(); n > 0 {
		t.Errorf("%d events were posted elsewhere", n)
	}
	if status, _, _ := get(t, page.URL+"/replay?action=start&from-seq=1&target=named"); status >= 500 {
		t.Errorf("a GET is answered %d", status)
	}
}
