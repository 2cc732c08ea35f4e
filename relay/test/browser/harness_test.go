package browser

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What the tests find trouble with is found: a page that does what the operator's page
// must not do is told from one that does nothing.
func TestTroubleIsSeen(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	serve := func(path, body string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; img-src https://*.apixo.ai")
			switch {
			case strings.HasSuffix(path, ".js"):
				w.Header().Set("Content-Type", "text/javascript")
			default:
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
			}
			_, _ = w.Write([]byte(body))
		})
	}
	serve("/good", `<!doctype html><title>good</title><body data-view="good"><p>é  <b>bold</b></p><img alt="" src="https://cdn.apixo.ai/harness.png">`)
	serve("/inline", `<!doctype html><title>inline</title><script>window.pwned = 1</script>`)
	serve("/throws", `<!doctype html><title>throws</title><script src="/throws.js"></script>`)
	serve("/throws.js", `setTimeout(() => { throw new Error("thrown") })`)
	serve("/dialog", `<!doctype html><title>dialog</title><script src="/dialog.js"></script>`)
	serve("/dialog.js", `setTimeout(() => alert("shown"))`)
	serve("/elsewhere", `<!doctype html><title>elsewhere</title><img alt="" src="https://other.example/a.png">`)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)

	good := newTab(t, desktop)
	good.view("good", server.URL+"/good")
	good.await(`document.images[0].naturalWidth === 320`)
	if got := good.text("p"); got != "é bold" {
		t.Errorf("the text is read as %q", got)
	}
	if asked := browser(t).cdn.of("/harness.png"); len(asked) != 1 || asked[0].host != cdnHost {
		t.Errorf("the picture was asked for as %+v", asked)
	}
	for path, trouble := range map[string]string{
		"/inline": "script-src", "/throws": "thrown", "/dialog": "a dialog: shown", "/elsewhere": "other.example", "/missing": "404",
	} {
		bad := newTab(t, desktop)
		bad.expect("")
		bad.open(server.URL + path)
		await(t, path+": there is no trouble with "+trouble, func() bool { return len(bad.had(trouble)) > 0 })
	}
	still := newTab(t, look{width: 800, height: 600, noScripts: true})
	still.open(server.URL + "/throws")
	if got := still.text("title"); got == "" {
		t.Error("nothing can be read without scripts")
	}
}

// What cannot be read for its colours is found, also where only one colour scheme has them.
func TestColorsAreSeen(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(`<!doctype html><html lang="en"><title>colors</title><style>
			body { background: #fff; color: #000 }
			@media (prefers-color-scheme: dark) { body { background: #111; color: #333 } }
		</style><body data-view="colors"><main><h1>Colors</h1><p>to be read</p></main>`))
	}))
	t.Cleanup(server.Close)
	source, err := axeSource()
	if err != nil {
		t.Skip(err) // which 'accessible' lets pass or not
	}
	tab := newTab(t, desktop)
	tab.view("colors", server.URL)
	axe := tab.inject(string(source))
	if found := tab.violations(axe); len(found) > 0 {
		t.Errorf("in the light there is %+v", found)
	}
	dark := desktop
	dark.dark = true
	tab.as(dark)
	if found := tab.violations(axe, colorRules()...); len(found) != 1 || found[0].ID != "color-contrast" {
		t.Errorf("in the dark there is %+v", found)
	}
}
