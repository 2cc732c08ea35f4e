package browser

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Pictures, video and audio are shown where they may be, elsewhere on a click alone, and
// whoever keeps them learns nothing of the page. What is no address of a file is text.
func TestMedia(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	page := startUI(t, r.environ())
	tab := newTab(t, desktop)
	elsewhere := "pictures." + attackerHost + ":" + tab.b.cdn.port()
	r.deliver(t,
		webhook{id: "media_shown", urls: []string{"https://cdn.apixo.ai/media_shown.jpg", "https://other.apixo.ai/media_shown.png", "https://cdn.apixo.ai/media_shown.wav", "https://cdn.apixo.ai/media_shown.mp4"}},
		webhook{id: "media_elsewhere", urls: []string{"https://" + elsewhere + "/media_elsewhere.jpg", "https://cdn.apixo.ai/media_elsewhere_allowed.jpg"}},
	)
	tab.view("task", page.URL+"/tasks/media_shown")
	tab.await(`Array.from(document.querySelectorAll("#media img")).filter(i => i.naturalWidth > 0).length === 2`)
	if audio, video := tab.count("#media audio[controls]"), tab.count("#media video[controls]"); audio != 1 || video != 1 {
		t.Errorf("there are %d audios and %d videos", audio, video)
	}
	if n := tab.count("#media img:not([alt]), #media img[alt='']"); n > 0 {
		t.Errorf("%d pictures have nothing to be read instead", n)
	}
	if asked := len(tab.b.cdn.of("media_shown.mp4")) + len(tab.b.cdn.of("media_shown.wav")); asked > 0 {
		t.Errorf("video and audio were asked for %d times before anybody wanted to play them", asked)
	}
	played := eval[string](tab, `document.querySelector("audio").id = "played"`)
	tab.expect("The element has no supported sources", "play()")
	tab.do("play", play(played))
	await(t, "a click does not play the audio", func() bool { return len(tab.b.cdn.of("media_shown.wav")) > 0 })

	tab.view("task", page.URL+"/tasks/media_elsewhere")
	tab.await(`Array.from(document.querySelectorAll("#media img")).some(i => i.naturalWidth > 0)`)
	if asked := tab.b.cdn.of("media_elsewhere.jpg"); len(asked) > 0 || tab.count("#media img") != 1 {
		t.Errorf("unasked, the browser loads from elsewhere: %+v", asked)
	}
	tab.reads(".media-ask", elsewhere)
	tab.click(".media-ask a")
	tab.await(`document.readyState === "complete" && Array.from(document.querySelectorAll("#media img")).filter(i => i.naturalWidth > 0).length === 2`)
	// Who was shown it once, or follows a link from elsewhere, has not asked.
	link := page.URL + tab.path()
	before := len(tab.b.cdn.of("media_elsewhere.jpg"))
	other := newTab(t, desktop)
	other.view("task", link)
	other.await(`Array.from(document.querySelectorAll("#media img")).some(i => i.naturalWidth > 0)`)
	if after := len(tab.b.cdn.of("media_elsewhere.jpg")); after != before || other.count("#media img") != 1 {
		t.Errorf("the address of what was clicked shows it to others")
	}
	for _, asked := range tab.b.cdn.of("media_") {
		if asked.header.Get("Referer") != "" || asked.header.Get("Origin") != "" || asked.header.Get("Cookie") != "" {
			t.Errorf("asked for %s, the browser told of the page: %v", asked.path, asked.header)
		}
	}
}

// notFiles are addresses that must not be followed, nor loaded.
var notFiles = []string{
	"javascript:window.pwned=1", "JaVaScRiPt:window.pwned=1//.jpg", " javascript:window.pwned=1", "\tjava\nscript:window.pwned=1", "javascript://cdn.apixo.ai/%0awindow.pwned=1//.jpg", "vbscript:pwned", "data:text/html,<script>window.pwned=1</script>",
	"data:image/svg+xml,<svg onload='window.pwned=1'/>", "data:image/png;base64,iVBORw0KGgo=", "file:///etc/passwd", "file:///etc/passwd.jpg", "blob:https://cdn.apixo.ai/a", "view-source:https://cdn.apixo.ai/a.jpg", "about:blank", "filesystem:a", "ws://" + canaryHost + "/a.jpg", "ftp://" + canaryHost + "/a.jpg",
	"//" + canaryHost + "/a.jpg", "\\\\" + canaryHost + "\\a.jpg", "/static/live.js", "../quarantine/1/body", "?media=1", "", "https://", "https:///a.jpg", "https:a.jpg", "https://[::1", "https://%00/a.jpg", "https://" + canaryHost + "\u0000.jpg",
}

// elsewhereURLs are addresses of files at a host that is not allowed, however they look.
var elsewhereURLs = []string{
	"http://" + cdnHost + "/plain.jpg", "https://" + canaryHost + "/a.jpg", "https://" + canaryHost + "/#.apixo.ai", "https://" + canaryHost + "/?cdn.apixo.ai/a.jpg", "https://cdn.apixo.ai." + canaryHost + "/a.jpg", "https://cdn.apixo.ai@" + canaryHost + "/a.jpg", "https://user:secret@" + cdnHost + "/a.jpg",
	"https://" + canaryHost + "\\@cdn.apixo.ai/a.jpg", "https://" + canaryHost + "%2f.apixo.ai/a.jpg", "https://apixo.ai/a.jpg", "https://xapixo.ai/a.jpg", "https://cdn.apixo.ai:8443/a.jpg", "https://cdn.apixo.ai.:443/a.jpg", "https://127.0.0.1:1/a.jpg", "https://" + canaryHost + "/a.mp4", "https://" + canaryHost + "/a.mp3",
}

// Addresses in results are no way into the page, nor out of it.
func TestAddresses(t *testing.T) {
	t.Parallel()
	r := startRelay(t)
	page := startUI(t, r.environ())
	tab, live := newTab(t, desktop), newTab(t, desktop)
	live.view("now", page.URL+"/")
	live.await(`document.documentElement.dataset.live === "on"`)
	for i, u := range slices.Concat(notFiles, elsewhereURLs) {
		id := fmt.Sprintf("address_%02d", i)
		r.deliver(t, webhook{id: id, urls: []string{u}})
		tab.view("task", page.URL+"/tasks/"+id)
		links := eval[[]string](tab, `Array.from(document.querySelectorAll("main a"), a => a.href)`)
		for _, link := range links {
			if !strings.HasPrefix(link, "https://") && !strings.HasPrefix(link, "http://") {
				t.Errorf("%q has become the link %q", u, link)
			}
			if strings.Contains(link, "user:secret@") {
				t.Errorf("%q has become a link with a password", u)
			}
			if i < len(notFiles) && !strings.HasPrefix(link, page.URL+"/") {
				t.Errorf("%q has become the link %q", u, link)
			}
		}
		if n := tab.count("#media img, #media video, #media audio, main [src], main [style], main object, main embed, main iframe"); n > 0 {
			t.Errorf("%q has become something that is loaded", u)
		}
		if u != "" && !strings.Contains(oneLine(eval[string](tab, `document.querySelector("#json").textContent`)), "resultUrls") {
			t.Errorf("%q is not on its page", u)
		}
		if i == len(notFiles)-1 {
			live.await(`document.querySelector("#latest li")`)
		}

	}
	live.await(`document.querySelectorAll("#latest li").length > 5`)
	if n := live.count("#latest [src]"); n > 0 {
		t.Errorf("the live list loads %d of them", n)
	}
	tab.unharmed(page)
	live.unharmed(page)
}

// unharmed fails the test if anything from outside was executed, or loaded from anywhere but
// the page and these hosts, or is markup.
func (t *tab) unharmed(page *ui, hosts ...string) {
	t.Helper()
	if eval[bool](t, `"pwned" in window`) {
		t.Error("something from outside was executed")
	}
	if n := t.count("[data-hostile], [style], [onerror], [onload], main script, main iframe, main object, main embed, main link, main base, main meta, main style"); n > 0 {
		t.Errorf("something from outside is markup: %s", eval[string](t, `document.querySelector("[data-hostile], [style], [onerror], [onload], main script, main iframe, main object, main embed, main link, main base, main meta, main style").outerHTML`))
	}
	t.loadsOnlyFrom(page, hosts...)
}

// play presses the button of an audio or video, as its user would.
func play(id string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](`document.getElementById(`+quoted(id).String()+`).play().then(() => {}, () => {})`, chromedp.EvalAwaitPromise, func(p *runtime.EvaluateParams) {
		p.UserGesture = new(true)
	})
}
