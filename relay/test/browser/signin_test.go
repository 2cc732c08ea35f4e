package browser

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"github.com/apixo-relay/apixo-relay/relay/test/testcert"
)

// Who has a token signs in with it, comes to where the way led, and is out again after
// signing out, or when the token is one no more.
func TestSignIn(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	r.deliver(t, picture1("sign_in"))
	const second = "another-token-1b2c3d4e5f"
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(tokens string) {
		if err := os.WriteFile(file, []byte(tokens+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(token + "," + second)
	page := startUI(t, append(r.environ(), "RELAY_UI_TOKENS_FILE="+file))
	tab := newTab(t, desktop)

	const way = "/events?state=success&model=nano-banana"
	tab.view("sign-in", page.URL+way)
	if strings.Contains(tab.text("body"), "sign_in") {
		t.Error("who is not signed in can read")
	}
	tab.expect("status of 401")
	tab.choose("#token", "not-the-token-0123456789")
	tab.click("#sign-in button")
	tab.await(`document.readyState === "complete" && document.querySelector("#sign-in-error")`)
	tab.accessible("sign-in-failed")
	if len(tab.cookies(page.URL)) > 0 {
		t.Error("a wrong token gives a session")
	}
	tab.choose("#token", token)
	tab.click("#sign-in button")
	tab.showing("events")
	if got := tab.path(); got != way {
		t.Errorf("after signing in the way leads to %s", got)
	}
	tab.reads("#events", "sign_in")
	tab.session(page, false)
	// Scripts do not see it, and live updates come with it.
	if cookie := eval[string](tab, `document.cookie`); cookie != "" {
		t.Errorf("scripts see %q", cookie)
	}
	tab.view("now", page.URL+"/")
	tab.await(`document.documentElement.dataset.live === "on"`)
	tab.click("#sign-out button")
	tab.showing("sign-in")
	if left := tab.cookies(page.URL); len(left) > 0 {
		t.Errorf("after signing out the browser has %+v", left)
	}
	tab.view("sign-in", page.URL+"/")
	tab.back()
	tab.showing("sign-in")

	// The token is exchanged: whoever came in with it is out.
	tab.choose("#token", token)
	tab.click("#sign-in button")
	tab.await(`document.readyState === "complete" && document.body.dataset.view !== "sign-in"`)
	other := newTab(t, desktop)
	other.view("sign-in", page.URL+"/")
	other.choose("#token", second)
	other.click("#sign-in button")
	other.showing("now")
	tab.view("now", page.URL+"/")
	tab.expect("status of 401", "status of 503", "net::ERR_ABORTED", "ERR_INCOMPLETE_CHUNKED_ENCODING") // of what is under way at that moment
	write(second)
	if err := page.process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	// What it shows it shows no longer.
	tab.showing("sign-in")
	if status := tab.open(page.URL + "/events"); status != 200 || tab.attribute("body", "data-view") != "sign-in" {
		t.Errorf("with a session of a token that is gone, a view is answered %d", status)
	}
	other.view("events", page.URL+"/events")
	for _, secret := range []string{token, second, "not-the-token"} {
		if strings.Contains(page.log.String(), secret) {
			t.Error("a token is in the log")
		}
	}
}

// With TLS the cookie never leaves it.
func TestSignInByTLS(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	cert, key := testcert.Files(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	page := startUI(t, append(r.environ(), "RELAY_UI_TOKENS="+token, "RELAY_UI_TLS_CERT_FILE="+cert, "RELAY_UI_TLS_KEY_FILE="+key))
	tab := newTab(t, desktop)
	if !strings.HasPrefix(page.URL, "https://") {
		t.Fatalf("the page is at %s", page.URL)
	}
	tab.trustAll()
	tab.view("sign-in", page.URL+"/")
	tab.choose("#token", token)
	tab.click("#sign-in button")
	tab.showing("now")
	tab.session(page, true)
	tab.await(`document.documentElement.dataset.live === "on"`)
}

// session holds the cookie against what it has to be.
func (t *tab) session(page *ui, secure bool) {
	t.Helper()
	cookies := t.cookies(page.URL)
	if len(cookies) != 1 {
		t.Fatalf("the browser has %d cookies", len(cookies))
	}
	c := cookies[0]
	if !c.HTTPOnly || c.SameSite != network.CookieSameSiteStrict || c.Secure != secure || c.Path != "/" || strings.HasPrefix(c.Domain, ".") || strings.HasPrefix(c.Name, "__Host-") != secure {
		t.Errorf("the session's cookie is %+v", c)
	}
	if strings.Contains(c.Value, token) {
		t.Error("the token is in the cookie")
	}
}
