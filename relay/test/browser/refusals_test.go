package browser

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	cdppage "github.com/chromedp/cdproto/page"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// attack is a page of another site, which tries what a page can with the operator's. Its
// script tells in window.told what came of it.
const attack = `<!doctype html><title>attack</title>
<form id="form" method="post" action="%[1]s/quarantine/put-aside" target="_self"><input name="seq" value="%[2]d"><button>A kitten!</button></form>
<iframe id="frame" src="%[1]s/"></iframe>
<img id="picture" src="%[1]s/events/export" alt=""><img id="icon" src="%[1]s/static/icon.svg" alt="">
<script>
window.told = {};
const tell = (name, promise) => promise.then(v => { told[name] = "done: " + v; }, e => { told[name] = "refused"; });
const form = new URLSearchParams({seq: "%[2]d"});
tell("post", fetch("%[1]s/quarantine/put-aside", {method: "POST", body: form, credentials: "include"}).then(r => r.text()));
tell("blind post", fetch("%[1]s/quarantine/put-aside", {method: "POST", body: form, mode: "no-cors", credentials: "include"}).then(r => r.type));
tell("replay", fetch("%[1]s/replay", {method: "POST", body: new URLSearchParams({action: "start", "from-seq": "1", target: "named"}), mode: "no-cors", credentials: "include"}).then(r => r.type));
tell("read", fetch("%[1]s/events/export", {credentials: "include"}).then(r => r.text()));
tell("blind read", fetch("%[1]s/events/export", {mode: "no-cors", credentials: "include"}).then(r => r.type));
tell("delete", fetch("%[1]s/quarantine/%[2]d", {method: "DELETE"}).then(r => r.text()));
tell("live", new Promise((ok, no) => { const s = new EventSource("%[1]s/live?view=now", {withCredentials: true}); s.onmessage = e => ok(e.data); s.onerror = no; }));
tell("beacon", Promise.resolve(navigator.sendBeacon("%[1]s/quarantine/put-aside", form)));
</script>`

// A page of another site, or at another port of this machine, changes nothing and reads
// nothing, whether its visitor is signed in or not.
func TestForeignPages(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	js := natstest.JetStream(t, r.Broker)
	to := newReceiver(t)
	close(to.gate)
	settings := append(r.environ(), "RELAY_UI_TARGETS=named="+to.server.URL)
	open, guarded := startUI(t, settings), startUI(t, append(settings, "RELAY_UI_TOKENS="+token))
	r.deliver(t, picture1("foreign_1"))
	kept := r.reject(t, "kept")
	var own *ui
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := open
		if r.URL.Path == "/guarded" {
			target = guarded
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, attack, target.URL, kept) // to who reads it
	}))
	t.Cleanup(foreign.Close)
	_, port, err := net.SplitHostPort(host(foreign.URL))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/open", "/guarded"} {
		own = open
		tab := newTab(t, desktop)
		tab.expect("") // it is full of it
		if path == "/guarded" {
			own = guarded
			tab.view("sign-in", own.URL+"/")
			tab.choose("#token", token)
			tab.click("#sign-in button")
			tab.showing("now")
		}
		for _, site := range []string{"http://www." + attackerHost + ":" + port, foreign.URL, strings.Replace(foreign.URL, "127.0.0.1", "localhost", 1)} {
			tab.open(site + path)
			tab.await(`Object.keys(told).length === 8`)
			for name, told := range eval[map[string]string](tab, `told`) {
				switch {
				case name == "blind post" || name == "replay":
					if told != "refused" && told != "done: opaque" {
						t.Errorf("%s%s, %s: %s", site, path, name, told)
					}
				case name != "beacon" && told != "refused":
					t.Errorf("%s%s, %s: %s", site, path, name, cut(told, 200))
				}
			}
			if eval[bool](tab, `Array.from(document.images).some(i => i.naturalWidth > 0)`) {
				t.Errorf("%s%s shows a picture of the page", site, path)
			}
			if shown := tab.framed(); strings.Contains(shown, own.URL) {
				t.Errorf("%s%s shows the page in a frame: %s", site, path, shown)
			}
			tab.click("#form button")
			tab.await(`document.readyState === "complete" && location.href !== %q`, site+path)
			if view := eval[string](tab, `document.body.dataset.view ?? ""`); view != "error" && view != "sign-in" {
				t.Errorf("%s%s, the form: view %q", site, path, view)
			}
		}
	}
	if n := quarantined(t, js); n != 1 {
		t.Errorf("%d are left in the quarantine", n)
	}
	if n := to.count(); n > 0 {
		t.Errorf("%d events were replayed", n)
	}
	// The page's own form does what theirs did not.
	tab := newTab(t, desktop)
	tab.view("question", fmt.Sprintf("%s/quarantine/put-aside?seq=%d", open.URL, kept))
	tab.click("#confirm button")
	tab.leaves("question")
	if n := quarantined(t, js); n != 0 {
		t.Errorf("put aside on the page, %d are left", n)
	}
}

// framed is the address of what the frame on a page shows; chrome-error:// where it was
// blocked.
func (t *tab) framed() string {
	t.Helper()
	tree := call(t, cdppage.GetFrameTree, cdp.Empty{})
	var shown []string
	for _, child := range tree.FrameTree.ChildFrames {
		shown = append(shown, child.Frame.URL)
	}
	return strings.Join(shown, " ")
}

// A name that leads to this machine and is none of the page's shows nothing of it.
func TestRebinding(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	r.deliver(t, picture1("rebound"))
	page := startUI(t, append(r.environ(), "RELAY_UI_HOSTS=page."+attackerHost))
	tab := newTab(t, desktop)
	_, port, err := net.SplitHostPort(host(page.URL))
	if err != nil {
		t.Fatal(err)
	}
	tab.expect("") // nothing of the page is there
	for _, path := range []string{"/", "/events", "/tasks/rebound", "/static/live.js", "/live?view=now", "/sign-in"} {
		if status := tab.open("http://rebind." + attackerHost + ":" + port + path); status < 400 || status >= 500 {
			t.Errorf("under a foreign name, %s is answered %d", path, status)
		}
		if strings.Contains(eval[string](tab, `document.documentElement.outerHTML`), "rebound") {
			t.Errorf("under a foreign name, %s tells of a task", path)
		}
	}
	tab = newTab(t, desktop)
	tab.expect("Cross-Origin-Opener-Policy header has been ignored") // by plain http under a name
	for _, name := range []string{"page." + attackerHost, "localhost", "127.0.0.1"} {
		tab.view("now", "http://"+name+":"+port+"/")
		tab.await(`document.documentElement.dataset.live === "on"`)
	}
	for _, name := range []string{attackerHost, "localhost." + attackerHost, "127.0.0.1.nip.example", "0.0.0.0", "10.0.0.1", "[::]", "169.254.169.254"} {
		if status, _, body := get(t, page.URL+"/events", "Host: "+name+":"+port); status < 400 || status >= 500 || strings.Contains(body, "rebound") {
			t.Errorf("with Host %s it is answered %d", name, status)
		}
	}
}

// Nobody can be let in by mistake: on an address that others can reach, there is no page
// without tokens.
func TestOpenToOthers(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
		var out, log bytes.Buffer
		cmd := exec.CommandContext(t.Context(), built(t), "ui")
		cmd.Env = relaytest.Environ("RELAY_UI_ADDR=" + addr)
		cmd.Stdout, cmd.Stderr = &out, &log
		err := cmd.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 || !strings.Contains(log.String(), "RELAY_UI_TOKENS") || out.Len() > 0 {
			t.Errorf("at %s it ends with %v: %s%s", addr, err, out.String(), log.String())
		}
	}
}

// With --read-only nothing is there that changes anything, and nothing is changed by who
// asks for it all the same.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	js := natstest.JetStream(t, r.Broker)
	to := newReceiver(t)
	close(to.gate)
	page := startUI(t, append(r.environ(), "RELAY_UI_TARGETS=named="+to.server.URL), "--read-only")
	tab := newTab(t, desktop)
	r.deliver(t, picture1("read_only"))
	kept := r.reject(t, "kept")
	one := fmt.Sprintf("/quarantine/%d", kept)
	for view, path := range map[string]string{"now": "/", "task": "/tasks/read_only", "events": "/events", "quarantine": "/quarantine?reason=invalid-json", "quarantined": one, "replay": "/replay", "expected": "/expected", "checks": "/checks"} {
		tab.view(view, page.URL+path)
		if n := tab.count(`form[method="post" i], a[href*="put-aside"], button[formmethod]`); n > 0 {
			t.Errorf("%s has %d forms or ways to change something", path, n)
		}
		tab.reads("footer", "read only")
	}
	for path, form := range map[string]string{
		"/quarantine/put-aside": fmt.Sprintf("seq=%d", kept), "/quarantine/send": fmt.Sprintf("seq=%d", kept), "/replay": "action=start&from-seq=1&target=named",
		"/replay/stop": "", "/checks": "", "/events": "", "/anything": "",
	} {
		if status, _, _ := post(t, page.URL+path, form); status != http.StatusForbidden {
			t.Errorf("POST %s is answered %d", path, status)
		}
	}
	if n := quarantined(t, js); n != 1 || to.count() > 0 {
		t.Errorf("%d are left in the quarantine, %d were replayed", n, to.count())
	}
}

// What every answer says to browsers.
func TestHeaders(t *testing.T) {
	t.Parallel()
	r := startRelay(t)
	r.deliver(t, picture1("headers"))
	page := startUI(t, r.environ())
	for _, path := range []string{"/", "/tasks/headers", "/tasks/nobody", "/events", "/events/export", "/quarantine", "/quarantine/1", "/quarantine/1/body", "/replay", "/expected", "/checks", "/sign-in", "/static/live.js", "/static/none", "/nothing", "/%00", "/tasks/%3Cscript%3E"} {
		_, header, body := get(t, page.URL+path)
		policy := header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "img-src 'self' https://*.apixo.ai", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy does not say %s: %s", path, part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s: the policy is %s", path, policy)
		}
		for name, value := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if got := header.Get(name); got != value {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if !strings.HasPrefix(path, "/static/live") && header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept: %q", path, header.Get("Cache-Control"))
		}
		if strings.Contains(body, "<script>") || strings.Contains(body, "style=") {
			t.Errorf("%s has script or style in it", path)
		}
	}
}
