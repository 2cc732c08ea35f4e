package browser

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// A broker goes away and comes back while pages are open: they say so, go on by themselves,
// and show what came since, without being loaded anew.
func TestBrokerGoesAway(t *testing.T) {
	t.Parallel()
	browser(t)
	options := natstest.Options(t)
	options.Port = keepPort(t)
	nats := natstest.Start(t, options)
	r := startRelay(t, "NATS_URL="+nats.ClientURL())
	page := startUI(t, append(r.environ(), "NATS_URL="+nats.ClientURL()))
	tab, other := newTab(t, desktop), newTab(t, desktop)
	r.deliver(t, picture1("away_before"))
	tab.view("now", page.URL+"/")
	other.view("task", page.URL+"/tasks/away_before")
	for _, open := range []interface{ liveAndMarked() }{tab, other} {
		open.liveAndMarked()
	}

	natstest.Stop(nats)
	for _, open := range []interface{ await(string, ...any) }{tab, other} {
		open.await(`document.querySelector("#connection").innerText.trim() !== ""`)
	}
	t.Logf("it says: %s", tab.text("#connection"))
	tab.reads("#latest", "away_before")
	// A view that is opened now says so in time, and what is known is still shown.
	late := newTab(t, desktop)
	late.expect("status of 503")
	for _, path := range []string{"/", "/events", "/tasks/away_before", "/quarantine", "/expected"} {
		if status := late.open(page.URL + path); status != 200 && status != 503 {
			t.Errorf("without a broker, %s is answered %d", path, status)
		}
		late.reads("body", late.text("#connection"))
		if late.text("#connection") == "" {
			t.Errorf("without a broker, %s does not say so", path)
		}
	}

	natstest.Start(t, options)
	for _, open := range []interface{ await(string, ...any) }{tab, other} {
		open.await(`document.querySelector("#connection").innerText.trim() === ""`)
	}
	w := picture1("away_after")
	await(t, "the relay does not come back", func() bool { return r.send(t, w.body(), nil).status == 200 })
	tab.await(`document.querySelector("#latest").innerText.includes("away_after")`)
	for _, open := range []interface{ isMarked() bool }{tab, other} {
		if !open.isMarked() {
			t.Error("a page was loaded anew")
		}
	}
	other.view("task", page.URL+"/tasks/away_after")
}

func (t *tab) liveAndMarked() {
	t.Helper()
	t.await(`document.documentElement.dataset.live === "on"`)
	t.mark()
}

// A relay with an embedded broker is restarted under the page.
func TestRelayIsRestarted(t *testing.T) {
	t.Parallel()
	browser(t)
	data := t.TempDir()
	settings := []string{fmt.Sprintf("RELAY_EMBEDDED_ADDR=127.0.0.1:%d", keepPort(t)), fmt.Sprintf("RELAY_ADMIN_ADDR=127.0.0.1:%d", keepPort(t)), "RELAY_DATA_DIR=" + data}
	r := startRelay(t, settings...)
	page := startUI(t, append(r.environ(), "NATS_URL=", settings[0], settings[1]))
	tab := newTab(t, desktop)
	r.deliver(t, picture1("restart_before"))
	tab.view("now", page.URL+"/")
	tab.await(`document.querySelector("#latest").innerText.includes("restart_before")`)
	tab.liveAndMarked()
	r.stop(t)
	tab.await(`document.querySelector("#connection").innerText.trim() !== ""`)
	tab.await(`document.querySelector("#relay .dot.bad")`)
	r = startRelay(t, settings...)
	tab.await(`document.querySelector("#connection").innerText.trim() === ""`)
	tab.await(`document.querySelector("#relay .dot.good")`)
	r.deliver(t, picture1("restart_after"))
	tab.await(`document.querySelector("#latest").innerText.includes("restart_after")`)
	if !tab.isMarked() {
		t.Error("the page was loaded anew")
	}
}

// The page's own process is restarted: what is open says that it is cut off, and is there
// again by itself.
func TestPageIsRestarted(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	settings := append(r.environ(), fmt.Sprintf("RELAY_UI_ADDR=127.0.0.1:%d", keepPort(t)))
	page := startUI(t, settings)
	tab := newTab(t, desktop)
	tab.view("now", page.URL+"/")
	tab.await(`document.documentElement.dataset.live === "on"`)
	tab.expect("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET")
	if err := page.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	tab.await(`document.documentElement.dataset.live === "lost" && document.querySelector("#connection").innerText.trim() !== ""`)
	r.deliver(t, picture1("page_restarted"))
	startUI(t, settings)
	tab.await(`document.documentElement.dataset.live === "on" && document.querySelector("#connection").innerText.trim() === "" && document.querySelector("#latest").innerText.includes("page_restarted")`)
}
