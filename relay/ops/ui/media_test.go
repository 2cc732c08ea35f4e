package ui

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Whatever stands in a result, nothing is loaded but what may be, and only by http and https.
func TestMedia(t *testing.T) {
	t.Parallel()
	const none, shown, ask = "none", "shown", "ask"
	for _, test := range []struct{ url, kind, how string }{
		{"https://cdn.apixo.ai/a.png", "img", shown},
		{"https://cdn.apixo.ai/a.PNG?x=1#y", "img", shown},
		{"https://CDN.Apixo.AI/a.webp", "img", shown},
		{"HTTPS://cdn.apixo.ai/a.gif", "img", shown},
		{"https://cdn.apixo.ai:443/a.jpeg", "img", shown},
		{"https://a.b.apixo.ai/no-ending", "img", shown},
		{"https://cdn.apixo.ai/a.mp4", "video", shown},
		{"https://cdn.apixo.ai/a.webm", "video", shown},
		{"https://cdn.apixo.ai/a.mp3", "audio", shown},
		{"https://cdn.apixo.ai/a.flac?sig=mp4", "audio", shown},
		{"https://apixo.ai/a.png", "img", ask}, // *.apixo.ai is what is below it
		{"http://cdn.apixo.ai/a.png", "img", ask},
		{"https://cdn.apixo.ai:8443/a.png", "img", ask},
		{"https://cdn.apixo.ai.example.com/a.png", "img", ask},
		{"https://notapixo.ai/a.mp4", "video", ask},
		{"https://cdn.example.com/a.ogg", "audio", ask},
		{"https://user@cdn.apixo.ai/a.png", "", none},
		{"https://cdn.apixo.ai@evil.example/a.png", "", none},
		{"https://user:pass@cdn.example.com/a.png", "", none},
		{"https://bücher.example/a.png", "", none}, // the policy cannot have it
		{"https://xn--bcher-kva.example/a.png", "img", ask},
		{"https://[2001:db8::1]/a.png", "", none},
		{"http://[::1]:9000/a.png", "", none},
		{"http://127.0.0.1:9000/a.png", "img", ask},
		{"javascript:alert(1)", "", none},
		{"JavaScript:alert(1)//https://cdn.apixo.ai/a.png", "", none},
		{"data:image/png;base64,AAAA", "", none},
		{"data:text/html,<script>alert(1)</script>", "", none},
		{"ftp://cdn.apixo.ai/a.png", "", none},
		{"file:///etc/passwd", "", none},
		{"blob:https://cdn.apixo.ai/1", "", none},
		{"//cdn.apixo.ai/a.png", "", none},
		{"/a.png", "", none},
		{"a.png", "", none},
		{"", "", none},
		{"https://", "", none},
		{"https:///a.png", "", none},
		{"https:cdn.apixo.ai/a.png", "", none},
		{"https://cdn.apixo.ai\\@evil.example/a.png", "", none},
		{"https://cdn.apixo.ai\n/a.png", "", none},
		{" https://cdn.apixo.ai/a.png", "", none},
		{"https://a;img-src *.example/a.png", "", none},
		{"https://a'self'.example/a.png", "", none},
		{"https://*.example.com/a.png", "", none},
		{"https://exa\"><script>alert(1)</script>", "", none},
	} {
		for _, where := range []string{"resultUrls", "elsewhere"} {
			s := &Server{cfg: load(t)}
			task := schema.Task{ID: "task_1", State: schema.StateSuccess, ResultURLs: []string{test.url}}
			if where == "elsewhere" {
				task.ResultURLs, task.ResultJSON = nil, fmt.Appendf(nil, `{"tracks":[{"https://cdn.apixo.ai/name.png":%q}]}`, test.url)
				if !strings.HasPrefix(strings.ToLower(test.url), "http") || strings.HasSuffix(test.url, "no-ending") || strings.HasPrefix(test.url, "https:cdn") {
					continue
				}
			}
			all, more := s.media(task, "/tasks/task_1", nil)
			if len(all) != 1 || more != 0 {
				t.Errorf("%q in %s is %d files", test.url, where, len(all))
				continue
			}
			m := all[0]
			how, kind := none, ""
			switch {
			case m.Shown:
				how = shown
			case m.Ask != "":
				how = ask
			}
			if how != none {
				kind = map[string]string{kindImage: "img", kindVideo: "video", kindAudio: "audio"}[m.Kind]
			}
			if how != test.how || kind != test.kind || how == none && m.Why == "" {
				t.Errorf("%q in %s: %s %s (%s), want %s %s", test.url, where, how, kind, m.Why, test.how, test.kind)
			}
		}
	}
}

// What is shown is what the policy of the page lets the browser load.
func FuzzAddresses(f *testing.F) {
	for _, seed := range []string{"https://cdn.apixo.ai/a.png", "https://bücher.example/a", "http://[::1]/a.mp3", "https://u@h/a", "javascript:alert(1)", "https://a b/", "https://a.example;x/"} {
		f.Add(seed, "https://cdn.example.com")
		f.Add(seed, seed)
	}
	f.Add("https://user@cdn.example.com/a.png", "https://cdn.example.com")
	f.Add("ftp://cdn.apixo.ai/a.png", "ftp://cdn.apixo.ai")
	var origins config.Origins
	if err := origins.UnmarshalText([]byte("*.apixo.ai,http://127.0.0.1:9000")); err != nil {
		f.Fatal(err)
	}
	s := &Server{cfg: config.Config{UI: config.UI{MediaHosts: origins}}}
	f.Fuzz(func(t *testing.T, address, clicked string) {
		task := schema.Task{ID: "task_1", ResultURLs: []string{address}}
		all, _ := s.media(task, "/tasks/task_1", []string{clicked})
		for _, m := range all {
			u, err := url.Parse(m.URL)
			if m.Shown || m.Ask != "" || m.Link {
				if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
					t.Errorf("%q: %+v", address, m)
				}
			}
			if m.Shown && !origins.Allow(u) && u.Scheme+"://"+u.Host != clicked {
				t.Errorf("%q is shown though nobody has asked for it", address)
			}
			if strings.ContainsAny(m.Text, "\n\r\x00\x1b") {
				t.Errorf("%q is written as %q", address, m.Text)
			}
			if m.Ask != "" {
				ask, err := url.Parse(m.Ask)
				if err != nil || ask.Path != "/tasks/task_1" || ask.Query().Get("media") != u.Scheme+"://"+u.Host {
					t.Errorf("%q is asked for at %q", address, m.Ask)
				}
			}
		}
	})
}

// sources are those of a directive of an answer's policy.
func sources(a answer, directive string) []string {
	for part := range strings.SplitSeq(a.Header.Get("Content-Security-Policy"), "; ") {
		if fields := strings.Fields(part); len(fields) > 0 && fields[0] == directive {
			return fields[1:]
		}
	}
	return nil
}

// A picture from elsewhere is shown on a click: on the page itself, and only if it is one of the
// task's.
func TestMediaOnClick(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.webhook(t, success("task_1", "https://cdn.apixo.ai/a.png", "https://cdn.example.com/b.png", "https://other.example.com/c.mp4", "https://user@with.example.com/d.png", "https://UPPER.example.com/e.png"))
	p := s.site(t)
	p.known(s)
	plain := p.get("/tasks/task_1")
	d := plain.view(t, http.StatusOK, "task")
	if got := d.attrs("div#media img", "src"); !slices.Equal(got, []string{"https://cdn.apixo.ai/a.png"}) {
		t.Errorf("shown without a click: %q", got)
	}
	for _, directive := range []string{"img-src", "media-src"} {
		if got := sources(plain, directive); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "example.com") }) {
			t.Errorf("%s is %q without a click", directive, got)
		}
	}
	asks := d.attrs("[class=media-ask] a", "href")
	if len(asks) != 3 {
		t.Fatalf("one can ask for %q", asks)
	}
	for _, img := range d.all("div#media img") {
		if img.attr("referrerpolicy") != "no-referrer" || img.attr("loading") != "lazy" {
			t.Error("a picture is loaded with a referrer, or at once")
		}
	}
	sameOrigin := []string{"Sec-Fetch-Site", "same-origin"}
	for _, test := range []struct {
		name    string
		path    string
		headers []string
		want    []string
	}{
		{"a click", asks[0], sameOrigin, []string{"https://cdn.example.com"}},
		{"a click, by Referer", asks[0], []string{"Referer", p.url + "/tasks/task_1"}, []string{"https://cdn.example.com"}},
		{"upper case", asks[2], sameOrigin, []string{"https://upper.example.com"}},
		{"no browser", asks[0], nil, nil},
		{"typed", asks[0], []string{"Sec-Fetch-Site", "none"}, nil},
		{"from another site", asks[0], []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Referer", p.url + "/"}, nil},
		{"from the same site", asks[0], []string{"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, nil},
		{"another Referer", asks[0], []string{"Referer", "http://evil.example/"}, nil},
		{"another port", asks[0], []string{"Referer", "http://127.0.0.1:1/tasks/task_1"}, nil},
		{"not of the task", "/tasks/task_1?media=https://evil.example", sameOrigin, nil},
		{"another scheme", "/tasks/task_1?media=http://cdn.example.com", sameOrigin, nil},
		{"with a path", "/tasks/task_1?media=https://cdn.example.com/", sameOrigin, nil},
		{"everything", "/tasks/task_1?media=*", sameOrigin, nil},
		{"a scheme", "/tasks/task_1?media=https:", sameOrigin, nil},
		{"a policy", "/tasks/task_1?media=" + url.QueryEscape("https://cdn.example.com; script-src *"), sameOrigin, nil},
		{"with a user", "/tasks/task_1?media=https://user@with.example.com", sameOrigin, nil},
		{"of an address with a user", "/tasks/task_1?media=https://with.example.com", sameOrigin, nil},
	} {
		got := p.get(test.path, test.headers...)
		d := got.view(t, http.StatusOK, "task")
		var more []string
		for _, src := range append(d.attrs("div#media img", "src"), d.attrs("div#media video", "src")...) {
			if u, err := url.Parse(src); err == nil && u.Host != "cdn.apixo.ai" {
				more = append(more, u.Scheme+"://"+strings.ToLower(u.Host))
			}
		}
		if !slices.Equal(more, test.want) {
			t.Errorf("%s: %q are shown, want %q", test.name, more, test.want)
		}
		for _, directive := range []string{"img-src", "media-src"} {
			var added []string
			for _, source := range sources(got, directive) {
				if !slices.Contains(sources(plain, directive), source) {
					added = append(added, source)
				}
			}
			if !slices.Equal(added, test.want) {
				t.Errorf("%s: %s has %q besides, want %q", test.name, directive, added, test.want)
			}
		}
		if got := sources(got, "script-src"); !slices.Equal(got, []string{"'self'"}) {
			t.Errorf("%s: script-src is %q", test.name, got)
		}
	}
}

// Other hosts are allowed by the setting, in lists too.
func TestMediaHosts(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.webhook(t, success("task_1", "https://cdn.apixo.ai/a.png", "http://127.0.0.1:9000/b.png", "https://cdn.example.com/c.png", "https://cdn.example.com/d.mp4", "https://user@cdn.example.com/e.png"))
	for _, test := range []struct {
		hosts  string
		images []string
	}{
		{"cdn.example.com", []string{"https://cdn.example.com/c.png"}},
		{"http://127.0.0.1:9000", []string{"http://127.0.0.1:9000/b.png"}},
		{"*", []string{"https://cdn.apixo.ai/a.png", "https://cdn.example.com/c.png"}},
		{"", []string{"https://cdn.apixo.ai/a.png"}},
	} {
		p := s.site(t, "RELAY_UI_MEDIA_HOSTS="+test.hosts)
		p.known(s)
		if got := p.view("task", "/tasks/task_1").attrs("div#media img", "src"); !slices.Equal(got, test.images) {
			t.Errorf("%s: %q, want %q", test.hosts, got, test.images)
		}
		p.eventually("it is in the list", func() bool { return strings.Contains(p.get("/").body, "/tasks/task_1") })
		if got := p.view("now", "/").attrs("ol#latest img", "src"); !slices.Equal(got, test.images) {
			t.Errorf("%s: in the list %q, want %q", test.hosts, got, test.images)
		}
	}
}

// There is a bound, and what is behind it is counted.
func TestMediaIsBounded(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var urls []string
	for i := range maxMedia + 50 {
		urls = append(urls, fmt.Sprintf("https://cdn.apixo.ai/%d.png", i))
	}
	sequence := s.webhook(t, success("task_1", urls...))
	p := s.site(t)
	p.known(s)
	d := p.view("task", "/tasks/task_1")
	if n := len(d.all("div#media figure")); n != maxMedia {
		t.Errorf("%d files are shown", n)
	}
	d.says("50 more addresses are in the event below")
	p.view("events", "/events").one(fmt.Sprintf("tr[data-seq=%d]", sequence)).says("150 files")
	p.eventually("it is in the list", func() bool { return strings.Contains(p.get("/").body, "/tasks/task_1") })
	if n := len(p.view("now", "/").all("ol#latest img")); n != maxThumbs {
		t.Errorf("%d pictures are in the list", n)
	}
}
