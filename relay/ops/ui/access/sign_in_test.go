package access_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/ui/access"
)

// Signing in leads to a page of ours, whatever the link that brought somebody here says.
func TestNext(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken)
	for next, want := range map[string]string{
		"/":                               "/",
		"/tasks/t1":                       "/tasks/t1",
		"/tasks/a%3Ab?x=y":                "/tasks/a%3Ab?x=y",
		"/events?since=1h&model=a+b&u=//": "/events?since=1h&model=a+b&u=//",
		"/events?u=https://evil.example":  "/events?u=https://evil.example",
		"/tasks/t1@evil.example":          "/tasks/t1@evil.example",
		"/tasks/t1:80":                    "/tasks/t1:80",

		"":                                   "/",
		"tasks/t1":                           "/",
		"evil.example":                       "/",
		"//evil.example":                     "/",
		"//evil.example/":                    "/",
		"///evil.example":                    "/",
		"////evil.example":                   "/",
		"//":                                 "/",
		"//localhost@evil.example":           "/",
		"//evil.example\\@localhost":         "/",
		"/\\evil.example":                    "/",
		"/\\/evil.example":                   "/",
		"\\\\evil.example":                   "/",
		"\\/evil.example":                    "/",
		"/x\\..\\..\\\\evil.example":         "/",
		"/\t/evil.example":                   "/",
		"/\n/evil.example":                   "/",
		"/\r\n/evil.example":                 "/",
		"/x\r\nSet-Cookie: a=b":              "/",
		"\t//evil.example":                   "/",
		" //evil.example":                    "/",
		" /tasks/t1":                         "/",
		"/ /evil.example":                    "/",
		"/\x00/evil.example":                 "/",
		"/\x7f/evil.example":                 "/",
		"/\u2028/evil.example":               "/",
		"/\uff0fevil.example":                "/",
		"\uff0f\uff0fevil.example":           "/",
		"https://evil.example":               "/",
		"https:evil.example":                 "/",
		"https:/evil.example":                "/",
		"HTTPS://evil.example":               "/",
		"http:///evil.example":               "/",
		"javascript:alert(1)":                "/",
		"JaVaScRiPt:alert(1)":                "/",
		"java\nscript:alert(1)":              "/",
		"data:text/html,x":                   "/",
		"?next=//evil.example":               "/",
		"#//evil.example":                    "/",
		".//evil.example":                    "/",
		"@evil.example":                      "/",
		":80/":                               "/",
		"/%zz":                               "/",
		"/" + strings.Repeat("x", 2000):      "/",
		"/" + strings.Repeat("x", 1999):      "/" + strings.Repeat("x", 1999),
		"/.//evil.example":                   "/evil.example", // of this page, as the redirect cleans it
		"/x/..//evil.example":                "/evil.example",
		"/%2F/evil.example":                  "/%2F/evil.example",
		"/%5Cevil.example":                   "/%5Cevil.example",
		"/%09/evil.example":                  "/%09/evil.example",
		"/;@evil.example":                    "/;@evil.example",
		"/tasks/t1?next=\\\\evil.example":    "/",
		"/tasks/t1#//evil.example":           "/tasks/t1#/evil.example",
		"/?/../../evil.example":              "/?/../../evil.example",
		"/sign-in?next=https://evil.example": "/sign-in?next=https://evil.example",
	} {
		got := p.do(t, "POST", "/sign-in", form("token", goodToken, "next", next))
		if location := got.header.Get("Location"); got.status != 303 || location != want {
			t.Errorf("%q: %d to %q, want %q", next, got.status, location, want)
		}
		// The form is told nothing else, and a browser that is signed in is sent nowhere else.
		path, told := "/sign-in?next="+url.QueryEscape(next), next
		if want == "/" {
			told = "/"
		}
		if shown := p.do(t, "GET", path); shown.status != 200 || shown.body != "sign in, next "+told {
			t.Errorf("%q: the form: %d %q", next, shown.status, shown.body)
		}
		if sent := p.do(t, "GET", path, with(got.cookie(t))); sent.status != 303 || sent.header.Get("Location") != want {
			t.Errorf("%q, signed in: %d to %q, want %q", next, sent.status, sent.header.Get("Location"), want)
		}
	}
}

// What no link can be is not carried over.
func TestWhereSomebodyComesFrom(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken)
	for path, want := range map[string]string{
		"/":                             "/sign-in",
		"/?":                            "/sign-in?next=%2F%3F",
		"/events?model=a%20b":           "/sign-in?next=%2Fevents%3Fmodel%3Da%2520b",
		"//evil.example/x":              "/sign-in",
		"/\\evil.example":               "/sign-in?next=%2F%255Cevil.example",
		"/" + strings.Repeat("x", 2000): "/sign-in",
		"/%0d%0aSet-Cookie:%20a=b":      "/sign-in?next=%2F%250d%250aSet-Cookie%3A%2520a%3Db",
		"/tasks/t1?a=\"><script>&b='":   "/sign-in?next=%2Ftasks%2Ft1%3Fa%3D%22%3E%3Cscript%3E%26b%3D%27",
	} {
		if got := p.do(t, "GET", path); got.status != 303 || got.header.Get("Location") != want {
			t.Errorf("%q: %d to %q, want %q", path, got.status, got.header.Get("Location"), want)
		}
		// A link of another site leads there from a page of ours, in which nothing of it is markup.
		got := p.do(t, "GET", path, header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Mode", "navigate"), header("Sec-Fetch-Dest", "document"))
		if got.status != 401 || strings.Count(got.body, want+`"`) != 2 || strings.Contains(got.body, "<script") || got.header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%q by a link: %d %s", path, got.status, got.body)
		}
	}
}

func FuzzNext(f *testing.F) {
	for _, seed := range []string{"/", "/tasks/t1?a=b", "//evil.example", "/\\evil.example", "/\t/evil.example", "/.//evil.example", "/x/..//e", "https://e", "/%2f%2fe", "/?//e", "/#//e", "/..//\\e", "/;//e", "/a\u00a0//e"} {
		f.Add(seed)
	}
	p := newPage(access.Options{}, goodToken)
	f.Fuzz(func(t *testing.T, next string) {
		location := p.ask("POST", "/sign-in", form("token", goodToken, "next", next)).Header.Get("Location")
		// As browsers read it: without tabs and line breaks, a backslash being a slash, no
		// white space around it.
		seen := strings.NewReplacer("\t", "", "\n", "", "\r", "", "\\", "/").Replace(strings.TrimFunc(location, func(c rune) bool { return c <= ' ' }))
		base, _ := url.Parse("http://localhost:8722/sign-in")
		to, err := base.Parse(seen)
		if err != nil || to.Scheme != "http" || to.Host != "localhost:8722" || to.User != nil || !strings.HasPrefix(seen, "/") || strings.HasPrefix(seen, "//") {
			t.Errorf("%q leads to %q: %v, %v", next, location, to, err)
		}
	})
}

// A token is taken as a field of a form, and as nothing else.
func TestTokenIsInTheForm(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken, otherToken, strings.Repeat("long", 1024), strings.Repeat("long", 1024)+"x")
	const urlencoded = "application/x-www-form-urlencoded"
	multipart := "--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n" + goodToken + "\r\n--b--\r\n"
	for _, test := range []struct {
		name, query string
		change      change
		status      int
	}{
		{"good", "", form("token", goodToken), 303},
		{"the other", "", form("token", otherToken), 303},
		{"with white space", "", form("token", "\t"+goodToken+" \r\n"), 303},
		{"as a charset has it", "", body(urlencoded+"; charset=utf-8", "token="+goodToken), 303},
		{"of 4 KiB", "", form("token", strings.Repeat("long", 1024)), 303},

		{"larger", "", form("token", strings.Repeat("long", 1024)+"x"), 401},
		{"wrong", "", form("token", wrongToken), 401},
		{"empty", "", form("token", ""), 401},
		{"no field", "", form("next", "/"), 401},
		{"nothing", "", nil, 401},
		{"prefix", "", form("token", goodToken[:len(goodToken)-1]), 401},
		{"all of them", "", form("token", goodToken+","+otherToken), 401},
		{"another field", "", form("Token", goodToken), 401},
		{"in the query", "?token=" + goodToken, form("next", "/"), 401},
		{"in the query, wrong in the form", "?token=" + goodToken, form("token", wrongToken), 401},
		{"the second of two", "", body(urlencoded, "token="+wrongToken+"&token="+goodToken), 401},
		{"as text", "", body("text/plain", "token="+goodToken), 401},
		{"as JSON", "", body("application/json", `{"token":"`+goodToken+`"}`), 401},
		{"in parts", "", body("multipart/form-data; boundary=b", multipart), 401},
		{"as a Bearer token", "", bearer(goodToken), 401},
		{"as a cookie", "", with(&http.Cookie{Name: "token", Value: goodToken}), 401},
		{"no form", "", body(urlencoded, "token=%zz"), 400},
		{"no media type", "", body("a/b/c;", "token="+goodToken), 400},
		{"too large", "", body(urlencoded, "token="+goodToken+"&x="+strings.Repeat("x", 64<<10)), 413},
		{"too large, without saying so", "", func(r *http.Request) {
			body(urlencoded, "token="+goodToken+"&x="+strings.Repeat("x", 64<<10))(r)
			r.ContentLength = -1
		}, 413},
	} {
		var changes []change
		if test.change != nil {
			changes = append(changes, test.change)
		}
		got := p.do(t, "POST", "/sign-in"+test.query, changes...)
		if got.status != test.status || (got.header.Get("Set-Cookie") != "") != (test.status == 303) {
			t.Errorf("%s: %d %s, cookie %q; want %d", test.name, got.status, got.body, got.header.Get("Set-Cookie"), test.status)
		}
	}
	if p.reached.Load() > 0 {
		t.Error("the page was reached")
	}
}

// The log says who tried, a few times a minute, and never what they brought.
func TestLog(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken)
	session := p.signIn(t, goodToken)
	p.do(t, "POST", "/sign-out", with(session))
	p.do(t, "POST", "/sign-out", with(session))
	p.do(t, "GET", "/"+goodToken+"?token="+goodToken)
	p.do(t, "POST", "/"+goodToken, host(goodToken))
	p.do(t, "POST", "/replay", bearer(goodToken))
	for range 10 {
		p.do(t, "POST", "/sign-in", form("token", wrongToken))
		p.do(t, "GET", "/", bearer(wrongToken))
	}
	const tried = "a token that is not valid was given to the operator's page\" peer=127.0.0.1"
	lines := func(what string) int { return strings.Count(p.log.String(), what) }
	if lines("signed in to") != 1 || lines("signed out of") != 1 || lines(tried) != 5 || strings.Count(p.log.String(), "\n") != 7 {
		t.Errorf("logged\n%s", p.log)
	}
	p.clock.pass(20 * time.Second)
	p.do(t, "POST", "/sign-in", form("token", wrongToken))
	p.do(t, "POST", "/sign-in", form("token", wrongToken))
	if lines(tried) != 6 || lines(tried+" omitted=15") != 1 {
		t.Errorf("after a while logged\n%s", p.log)
	}
	p.clock.pass(time.Hour)
	for range 10 {
		p.do(t, "POST", "/sign-in", form("token", wrongToken))
	}
	if lines(tried) != 11 || lines(tried+" omitted=1\n") != 1 {
		t.Errorf("after an hour logged\n%s", p.log)
	}
	for _, secret := range []string{goodToken, wrongToken, session.Value, "tok-"} {
		if strings.Contains(p.log.String(), secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}

// No answer holds what it was asked with.
func TestNoAnswerHoldsASecret(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken)
	session := p.signIn(t, goodToken)
	for name, got := range map[string]answer{
		"signed in":               p.do(t, "POST", "/sign-in", form("token", goodToken)),
		"wrong":                   p.do(t, "POST", "/sign-in", form("token", wrongToken, "next", "/events")),
		"Bearer, to read":         p.do(t, "GET", "/", bearer(goodToken)),
		"Bearer, wrong":           p.do(t, "GET", "/", bearer(wrongToken)),
		"Bearer, to change":       p.do(t, "POST", "/", bearer(goodToken)),
		"a view":                  p.do(t, "GET", "/", with(session)),
		"the form of one who has": p.do(t, "GET", "/sign-in", with(session)),
		"signed out":              p.do(t, "POST", "/sign-out", with(session)),
		"not a form":              p.do(t, "POST", "/sign-in", body("application/x-www-form-urlencoded", goodToken+"=%zz")),
	} {
		got.header.Del("Set-Cookie")
		for _, secret := range []string{goodToken, wrongToken, session.Value} {
			var all strings.Builder
			_ = got.header.Write(&all)
			if strings.Contains(all.String()+got.body, secret) {
				t.Errorf("%s: %s is in the answer", name, secret)
			}
		}
	}
}
