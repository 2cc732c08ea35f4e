package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// A quarantine is put right: what the relay can take by now is sent to it again, one by one
// and all of a reason, and what is of no use is put aside after a question.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	browser(t)
	fake := fakeapi.New(apiKey)
	fake.Default(fakeapi.Failure) // so that no success is confirmed
	api := httptest.NewServer(fake)
	t.Cleanup(api.Close)
	verifying := []string{"RELAY_VERIFY=enforce", "APIXO_API_KEY=" + apiKey, "APIXO_BASE_URL=" + api.URL}
	r := startRelay(t, verifying...)
	// One that believes every webhook is there by the same name later.
	second := startRelay(t, "NATS_URL="+r.Broker)
	name := newProxy(t, r)
	page := startUI(t, append(r.environ(), "RELAY_UI_TARGETS=relay="+name.URL+"/webhook/apixo"))
	tab := newTab(t, desktop)
	js := natstest.JetStream(t, r.Broker)

	ids := []string{"mended_1", "mended_2", "mended_3"}
	kept := make(map[string]uint64)
	for _, id := range ids {
		kept[id] = r.rejectOf(t, "nano-banana", fakeapi.Result(id))
	}
	const broken = `{"code":200,"data":{"taskId":"mended_broken","state":}}`
	kept["broken"] = r.reject(t, broken)
	const html = `<script>window.pwned = 1</script><h2>A proxy's page</h2>`
	kept["html"] = r.reject(t, html)

	tab.view("quarantine", page.URL+"/quarantine")
	tab.reads("#reasons", "not-confirmed 3")
	tab.accessible("quarantine-to-be-put-right")
	if n := tab.count("#quarantined tbody tr"); n != 5 {
		t.Errorf("%d bodies are shown", n)
	}
	tab.reads("#quarantined", "mended_1", "mended_2", "mended_3", "mended_broken")

	// What is broken is shown where it is, and can be had byte for byte.
	tab.click(fmt.Sprintf(`#quarantined tr[data-seq="%d"] a`, kept["broken"]))
	tab.showing("quarantined")
	if got := tab.text("#body pre"); got != broken {
		t.Errorf("the body is shown as %s", got)
	}
	if marks := tab.texts("mark"); len(marks) == 0 || !strings.HasPrefix(marks[0], "}") {
		t.Errorf("the fault is marked as %q", marks)
	}
	status, header, body := get(t, page.URL+tab.attribute("#download", "href"))
	if status != 200 || body != broken || header.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(header.Get("Content-Disposition"), "attachment") || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the download is answered %d %v: %s", status, header, body)
	}
	tab.view("quarantined", fmt.Sprintf("%s/quarantine/%d", page.URL, kept["html"]))
	if got := tab.text("#body pre"); got != html {
		t.Errorf("the body is shown as %s", got)
	}
	if tab.has("main script") || tab.has("#body h2:not([id])") {
		t.Error("a body is markup on the page")
	}

	// One is sent again in vain, and then, confirmed, it is stored.
	tab.view("quarantined", fmt.Sprintf("%s/quarantine/%d", page.URL, kept["mended_1"]))
	tab.click("#send button")
	tab.awaitJob("failed", 1)
	name.to(second)
	tab.view("quarantined", fmt.Sprintf("%s/quarantine/%d", page.URL, kept["mended_1"]))
	tab.click("#send button")
	tab.awaitJob("delivered", 1)
	// All of a reason.
	tab.view("quarantine", page.URL+"/quarantine")
	tab.click(`#reasons a[href*="reason=not-confirmed"]`)
	tab.await(`document.readyState === "complete" && document.querySelectorAll("#quarantined tbody tr").length === 3`)
	tab.click("#send-all button")
	tab.awaitJob("delivered", 3)
	var stored []string
	for _, e := range natstest.Events(t, js, "APIXO") {
		stored = append(stored, e.ID)
	}
	if len(stored) != len(ids) {
		t.Errorf("after all were sent again, %q is stored", stored)
	}
	if tab.view("task", page.URL+"/tasks/mended_2"); tab.text("h1") != "mended_2" {
		t.Error("what was sent again is not shown as an event")
	}

	// What the relay has taken is put aside together.
	tab.view("replay", page.URL+"/replay")
	tab.click("#put-aside-delivered")
	tab.showing("question")
	tab.reads("main", "3")
	tab.click("#confirm button")
	tab.leaves("question")
	tab.accessible("put-aside")
	if n := quarantined(t, js); n != 2 {
		t.Errorf("after what was taken was put aside, %d are left", n)
	}

	// One is put aside, after a question that can be taken back.
	tab.view("quarantined", fmt.Sprintf("%s/quarantine/%d", page.URL, kept["html"]))
	tab.click("#put-aside")
	tab.showing("question")
	tab.back()
	tab.showing("quarantined")
	if n := quarantined(t, js); n != 2 {
		t.Errorf("after a question alone, %d are left", n)
	}
	tab.click("#put-aside")
	tab.showing("question")
	tab.click("#confirm button")
	tab.leaves("question")
	if n := quarantined(t, js); n != 1 {
		t.Errorf("after one was put aside, %d are left", n)
	}
	line := page.lineWith(t, fmt.Sprintf(`"sequence":%d`, kept["html"]))
	if !strings.Contains(line, `"reason":"invalid-json"`) || !strings.Contains(line, `"body":"<script>window.pwned = 1</script>`) {
		t.Errorf("the log says of what was deleted: %s", line)
	}
	// All of a reason, but not what comes while the question is asked.
	r.rejectOf(t, "nano-banana", fakeapi.Result("mended_4"))
	r.rejectOf(t, "nano-banana", fakeapi.Result("mended_5"))
	tab.view("quarantine", page.URL+"/quarantine?reason=not-confirmed")
	tab.click("#put-aside-all")
	tab.showing("question")
	tab.reads("main", "not-confirmed")
	later := r.rejectOf(t, "nano-banana", fakeapi.Result("mended_6"))
	tab.click("#confirm button")
	tab.leaves("question")
	if n := quarantined(t, js); n != 2 {
		t.Errorf("after a reason was put aside, %d are left", n)
	}
	tab.view("quarantine", page.URL+"/quarantine")
	if rows := eval[[]int](tab, `Array.from(document.querySelectorAll("#quarantined tbody tr"), r => Number(r.dataset.seq))`); len(rows) != 2 || rows[0] != int(later) || rows[1] != int(kept["broken"]) {
		t.Errorf("left are %v", rows)
	}
	tab.await(`document.querySelector('#reasons a[href*="reason=not-confirmed"]').innerText.includes("1")`)
	// What is gone is not there, and cannot be put aside.
	tab.expect("status of 404")
	if status := tab.open(fmt.Sprintf("%s/quarantine/%d", page.URL, kept["html"])); status != http.StatusNotFound {
		t.Errorf("what was put aside is answered %d", status)
	}
	tab.showing("error")
}

// proxy is an address behind which another relay can be put.
type proxy struct {
	*httptest.Server
	relay atomic.Value // of relay
}

func newProxy(t *testing.T, first relay) *proxy {
	t.Helper()
	p := &proxy{}
	p.to(first)
	p.Server = httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Host = host(p.relay.Load().(relay).Webhooks)
		r.Out.URL.Scheme = "http"
	}})
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) to(r relay) { p.relay.Store(r) }

// awaitJob waits until the page tells of a replay that has ended with so many deliveries, or
// failures.
func (t *tab) awaitJob(what string, n int) {
	t.Helper()
	t.await(`new RegExp("^" + %q + " +" + %d + "\\b", "m").test(document.querySelector("#summary")?.textContent ?? "")`, what, n)
}

// quarantined says how much is in the quarantine.
func quarantined(t *testing.T, js jetstream.JetStream) int {
	t.Helper()
	s, err := js.Stream(t.Context(), "APIXO_QUARANTINE")
	if err != nil {
		t.Fatal(err)
	}
	return int(s.CachedInfo().State.Msgs)
}

// lineWith waits for a line in the page's log.
func (p *ui) lineWith(t *testing.T, text string) (line string) {
	t.Helper()
	p.log.Await(t, text)
	for l := range strings.Lines(p.log.String()) {
		if strings.Contains(l, text) {
			line = l
		}
	}
	return line
}
