package browser

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/hostile"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// payloads are executed, loaded or rendered by who takes them for markup, in any of the
// places where a page has text: elements, attributes, scripts, styles and addresses.
var payloads = []string{
	`<script>window.pwned=1</script>`,
	`<img src="https://` + canaryHost + `/img" onerror="window.pwned=1" data-hostile>`,
	`"><svg onload=window.pwned=1 data-hostile>`,
	`' onmouseover='window.pwned=1' data-hostile='`,
	`</pre></title></textarea></script><iframe srcdoc="<script>parent.pwned=1</script>" data-hostile></iframe>`,
	`<meta http-equiv="refresh" content="0;url=https://` + canaryHost + `/meta"><base href="https://` + canaryHost + `/">`,
	`<link rel=stylesheet href="https://` + canaryHost + `/css"><style>@import "https://` + canaryHost + `/style"; body{display:none}</style>`,
	`<form action="https://` + canaryHost + `/form" data-hostile><button autofocus>Sign in</button></form>`,
	"{{.}}{{template \"layout\"}}${window.pwned=1}`${pwned}`<%= pwned %>",
	`<!--<!DOCTYPE><![CDATA[<i data-hostile>]]>--><i data-hostile>`,
	"&lt;i data-hostile&gt;&#60;script&#62;window.pwned=1&#60;/script&#62;",
	"\u202egpj.exe\u202c \u2066\u200f\u2028\u2029\ufeff\u0085\u009b31m",
}

// Whatever comes from outside is text, on every view: nothing of it is executed, loaded or
// rendered as markup. So it is where it comes while the page is open.
func TestHostile(t *testing.T) {
	t.Parallel()
	browser(t)
	corpus := hostile.New()
	fake := fakeapi.New(apiKey)
	api := httptest.NewServer(fake)
	t.Cleanup(api.Close)
	expecting := []string{"RELAY_EXPECT=true", "RELAY_EXPECT_AFTER=1s", "APIXO_API_KEY=" + apiKey, "APIXO_BASE_URL=" + api.URL}
	r := startRelay(t, append(hostile.Environ(), expecting...)...)
	base := "http://" + host(r.Webhooks)
	r.Webhooks = base + hostile.Path + "/" + hostile.Token
	settings := append(r.environ(), append(hostile.Environ(), expecting...)...)
	page := startUI(t, append(settings, "RELAY_UI_TARGETS=named=http://127.0.0.1:9/"+url.PathEscape(payloads[0])))
	live := newTab(t, desktop)
	js := natstest.JetStream(t, r.Broker)
	live.view("now", page.URL+"/")
	live.await(`document.documentElement.dataset.live === "on"`)

	paths := []string{"/", "/replay", "/checks"}
	for _, p := range corpus.Plain {
		if strings.ContainsAny(p.Target, " \"") || p.Want == "400" {
			continue // which a client cannot send
		}
		if target, err := url.Parse(base + p.Target); err == nil {
			status, _, _ := ask(t, "POST", target.String(), p.Body, "Content-Type: application/json")
			if want, _, _ := strings.Cut(p.Want, " "); fmt.Sprint(status) != want {
				t.Errorf("%s is answered %d, not %s", p.Name, status, p.Want)
			}
		}
	}
	for i, p := range payloads {
		id := fmt.Sprintf("hostile_%d", i)
		query := url.Values{"model": {p}, "tenant": {p}}
		w := failure(id, p, p)
		r.send(t, w.body(), query)
		w = webhook{id: id + "_ok", urls: []string{p, "https://" + canaryHost + "/" + p, "https://" + cdnHost + "/" + url.PathEscape(p) + ".jpg"}}
		r.send(t, w.body(), query)
		w = failure(id+"_ok", p, p)
		r.send(t, w.body(), query) // a conflict
		paths = append(paths, "/tasks/"+id, "/tasks/"+id+"_ok", "/tasks/"+url.PathEscape(p), "/events?"+url.Values{"model": {p}, "fail-code": {p}, "state": {p}}.Encode(), "/events?"+url.Values{"since": {p}}.Encode(),
			"/quarantine?"+url.Values{"reason": {p}}.Encode(), "/quarantine/put-aside?"+url.Values{"reason": {p}}.Encode(), "/"+url.PathEscape(p), "/sign-in?"+url.Values{"next": {p}}.Encode())
		// Bodies that are none.
		for _, body := range []string{p, `{"data":{"taskId":` + marshal(p) + `,"state":"success"}}`, `{"data":{"taskId":"` + id + `","state":` + marshal(p) + `}}`, p + "\xff\xfe\x00\x1b[31m"} {
			r.send(t, body, query)
		}
		// What others store by hand.
		for subject, kind := range map[string]string{"apixo.task.success": "ai.apixo.task.success", "apixo.task.failed": p, "apixo.quarantine.rejected": "ai.apixo.webhook.rejected", "apixo.quarantine.other": p} {
			event := map[string]any{"specversion": "1.0", "id": p, "source": p, "type": kind, "subject": p, "reason": p, "detail": p, "model": p, "datacontenttype": p, "data": map[string]any{"taskId": p, "state": "success", "resultUrls": []string{p}}}
			publish(t, js, subject, marshal(event), "application/cloudevents+json")
			publish(t, js, subject, p, p)
		}
		fake.Set(id+"_expected", fakeapi.Body(400, `{"code":400,"message":`+marshal(p)+`}`))
		r.announceAt(t, base, id+"_expected", p)
	}
	// Ids that mean something elsewhere.
	for _, id := range []string{"..", ".", "...", "__proto__", "constructor", "javascript:pwned", "data:text", "-", "_", "http:", "a:b", "nobody."} {
		if a := r.send(t, picture1(id).body(), nil); a.status != 200 {
			t.Errorf("the task %s is answered %d", id, a.status)
		}
		paths = append(paths, "/tasks/"+id, "/tasks?"+url.Values{"id": {id}}.Encode())
	}
	r.send(t, strings.Repeat("<b data-hostile>", 2000), nil)
	if _, err := js.CreateConsumer(t.Context(), "APIXO", jetstream.ConsumerConfig{Durable: `"onfocus="pwned=1"data-hostile="<i`, Description: payloads[0], AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	await(t, "the API was not asked for all", func() bool { return len(fake.Asked()) >= len(payloads) })

	t.Run("live", func(t *testing.T) {
		live.await(`document.querySelectorAll("#latest li").length > 20`)
		live.harmless(page)
		// Of what comes faster than it can be read, some are left out.
		shown := false
		for i := 0; i < 60 && !shown; i++ {
			sequence := r.deliver(t, picture1(fmt.Sprintf("hostile_last_%d", i)))[0]
			shown = live.comes(fmt.Sprintf(`document.querySelector('#latest li[data-seq="%d"]') !== null`, sequence), time.Second)
		}
		if !shown {
			t.Error("after all that, the page shows nothing new")
		}
		live.harmless(page)
	})
	listed := func(t *testing.T, tab *tab, first, rows string) (paths []string) {
		t.Helper()
		for next := first; next != ""; {
			tab.open(page.URL + next)
			tab.harmless(page)
			paths = append(paths, eval[[]string](tab, `Array.from(document.querySelectorAll(%q), a => a.getAttribute("href"))`, rows)...)
			next = tab.attribute(`a[rel="next"]`, "href")
		}
		return paths
	}
	visit := func(t *testing.T, tab *tab, paths []string) {
		t.Helper()
		seen := make(map[string]bool)
		for _, path := range paths {
			if seen[path] {
				continue
			}
			seen[path] = true
			if status := tab.open(page.URL + path); status >= 500 {
				t.Errorf("%s is answered %d", path, status)
			}
			tab.harmless(page)
		}
	}
	for name, at := range map[string]func(t *testing.T, tab *tab){
		"events": func(t *testing.T, tab *tab) {
			visit(t, tab, sample(listed(t, tab, "/events", "#events tbody th a"), 25))
		},
		"quarantine": func(t *testing.T, tab *tab) {
			visit(t, tab, sample(listed(t, tab, "/quarantine", "#quarantined tbody th a"), 50))
		},
		"reasons": func(t *testing.T, tab *tab) {
			tab.open(page.URL + "/quarantine")
			visit(t, tab, listed(t, tab, "/quarantine", "#reasons a"))
		},
		"paths": func(t *testing.T, tab *tab) { visit(t, tab, paths) },
		"expected": func(t *testing.T, tab *tab) {
			visit(t, tab, listed(t, tab, "/expected", "main a"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tab := newTab(t, desktop)
			tab.expect("status of 4")
			at(t, tab)
		})
	}
}

// harmless fails the test if anything hostile has an effect on what the tab shows: it was
// executed, is markup, or changes how what is around it is read.
func (t *tab) harmless(page *ui) {
	t.Helper()
	t.loadsOnlyFrom(page, cdnHost)
	for _, harm := range eval[[]string](t, `(() => {
		const harm = [], control = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/;
		if ("pwned" in window) harm.push("something was executed");
		for (const e of document.querySelectorAll("body *")) {
			for (const name of e.getAttributeNames()) if (/^on|^style$|^srcdoc$|hostile|["'<=]/.test(name)) harm.push("markup: " + e.outerHTML.slice(0, 200));
			for (const n of e.closest("pre") ? [] : e.childNodes) if (n.nodeType === 3 && control.test(n.data)) harm.push("control characters: " + encodeURI(n.data.slice(0, 100)));
		}
		for (const e of document.querySelectorAll("main script, main iframe, main object, main embed, main link, main base, main meta, main style, main i")) harm.push("markup: " + e.outerHTML.slice(0, 200));
		if (control.test(document.title)) harm.push("control characters in the title");
		for (const a of document.querySelectorAll("a")) if (!/^https?:$/.test(a.protocol)) harm.push("a link: " + a.href);
		return harm.slice(0, 5).map(h => location.pathname + location.search + ": " + h);
	})()`) {
		t.Errorf("%s", harm)
	}
}

// sample takes so many of what there is, all along it.
func sample(all []string, n int) (some []string) {
	step := max(1, len(all)/n)
	for i := 0; i < len(all); i += step {
		some = append(some, all[i])
	}
	return some
}

// publish stores a message as any client may.
func publish(t *testing.T, js jetstream.JetStream, subject, data, contentType string) {
	t.Helper()
	msg := &nats.Msg{Subject: subject, Data: []byte(data), Header: nats.Header{"Content-Type": {strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return ' '
		}
		return r
	}, contentType)}}}
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatalf("%s takes no message: %v", subject, err)
	}
}

// announceAt announces a task whose attributes have a text in them.
func (r relay) announceAt(t *testing.T, base, id, text string) {
	t.Helper()
	body := marshal(map[string]any{"taskId": id, "model": "nano-banana", "attributes": map[string]string{"tenant": text}})
	if status, _, answer := ask(t, "POST", base+"/expect/"+hostile.Token, body, "Content-Type: application/json"); status != 200 && status != 422 {
		t.Fatalf("the announcement of %s is answered %d: %s", id, status, answer)
	}
}
