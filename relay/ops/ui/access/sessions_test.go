package access_test

import (
	"encoding/base64"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/ui/access"
)

// The cookie is one that scripts do not see, that other sites do not send, and that lasts no
// longer than the browser is open.
func TestCookie(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		tls              bool
		set, unset, name string
	}{
		{false, "; Path=/; HttpOnly; SameSite=Strict", "; Path=/; Max-Age=0; HttpOnly; SameSite=Strict", "apixo-relay-session"},
		{true, "; Path=/; HttpOnly; Secure; SameSite=Strict", "; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict", "__Host-apixo-relay-session"},
	} {
		p := serve(t, access.Options{TLS: test.tls}, goodToken)
		in := p.do(t, "POST", "/sign-in", form("token", goodToken))
		c := in.cookie(t)
		if id, err := base64.RawURLEncoding.DecodeString(c.Value); err != nil || len(id) != 32 {
			t.Errorf("the session's id is %d bytes, %v", len(id), err)
		}
		if got := in.header["Set-Cookie"]; len(got) != 1 || got[0] != test.name+"="+c.Value+test.set {
			t.Errorf("TLS %t: the cookie is %q", test.tls, got)
		}
		p.wantLetIn(t, "with the cookie", true, c)
		other := map[bool]string{true: "apixo-relay-session", false: "__Host-apixo-relay-session"}[test.tls]
		p.wantLetIn(t, "with a cookie that any service of this machine can set", false, &http.Cookie{Name: other, Value: c.Value})
		out := p.do(t, "POST", "/sign-out", with(c))
		if got := out.header["Set-Cookie"]; len(got) != 1 || got[0] != test.name+"="+test.unset {
			t.Errorf("TLS %t: signing out sets %q", test.tls, got)
		}
		if got := out.header.Get("Clear-Site-Data"); out.status != 303 || out.header.Get("Location") != "/sign-in" || got != `"cache"` {
			t.Errorf("TLS %t: signing out: %d to %s, Clear-Site-Data %s", test.tls, out.status, out.header.Get("Location"), got)
		}
	}
	p := serve(t, access.Options{Hosts: []string{"relay.example.com"}}, goodToken)
	if got := p.do(t, "POST", "/sign-out", host("relay.example.com")); got.header.Get("Clear-Site-Data") != "" || got.status != 303 {
		t.Errorf("Clear-Site-Data where no browser takes it: %d %v", got.status, got.header)
	}
}

// A browser signs in on its way to a view, uses the page, and signs out.
func TestSignInAndOut(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{false, true} {
		p := serve(t, access.Options{TLS: tls}, goodToken, otherToken)
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		p.Client().Jar = jar
		step := func(method, path string, status int, location, body string, changes ...change) {
			t.Helper()
			got := p.do(t, method, path, changes...)
			if got.status != status || got.header.Get("Location") != location || !strings.Contains(got.body, body) {
				t.Errorf("%s %s: %d to %q: %s; want %d to %q: %s", method, path, got.status, got.header.Get("Location"), got.body, status, location, body)
			}
		}
		step("GET", "/tasks/t1?a=b&c=d", 303, "/sign-in?next=%2Ftasks%2Ft1%3Fa%3Db%26c%3Dd", "")
		step("GET", "/sign-in?next=%2Ftasks%2Ft1%3Fa%3Db%26c%3Dd", 200, "", "sign in, next /tasks/t1?a=b&c=d")
		step("POST", "/sign-in", 401, "", "sign in, next /tasks/t1", form("token", wrongToken, "next", "/tasks/t1?a=b&c=d"))
		step("GET", "/", 303, "/sign-in", "")
		step("POST", "/sign-in", 303, "/tasks/t1?a=b&c=d", "", form("token", " "+otherToken+"\r\n", "next", "/tasks/t1?a=b&c=d"))
		step("GET", "/tasks/t1?a=b&c=d", 200, "", "/tasks/t1, signed in: true, admitted: true, context: <nil>")
		step("POST", "/replay", 200, "", "/replay, signed in: true, admitted: true, context: <nil>")
		step("GET", "/sign-in?next=/events", 303, "/events", "")
		step("GET", "/sign-in?next=//evil.example.com", 303, "/", "")
		step("GET", "/sign-out", 405, "", "POST")
		step("GET", "/", 200, "", "signed in: true")
		step("POST", "/sign-out", 303, "/sign-in", "")
		step("GET", "/", 303, "/sign-in", "")
		step("POST", "/sign-out", 303, "/sign-in", "")
	}
	// Where nobody is asked for a token there is nothing to sign in to.
	p := serve(t, access.Options{})
	for _, path := range []string{"/sign-in", "/sign-in?next=/events"} {
		if got := p.do(t, "GET", path); got.status != 303 || got.header.Get("Location") != "/" {
			t.Errorf("%s without tokens: %d", path, got.status)
		}
	}
	if got := p.do(t, "POST", "/sign-in", form("token", goodToken)); got.status != 303 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("signing in without tokens: %d %v", got.status, got.header)
	}
	if got := p.do(t, "GET", "/"); !strings.Contains(got.body, "signed in: false") {
		t.Errorf("without tokens: %s", got.body)
	}
}

// A session ends after 12 hours by the clock on the wall, used or not, and each of several by
// its own time.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken)
	first := p.signIn(t, goodToken)
	for range 11 {
		p.clock.pass(time.Hour)
		p.wantLetIn(t, "in use", true, first)
	}
	second := p.signIn(t, goodToken)
	p.clock.pass(time.Hour - time.Nanosecond)
	p.wantLetIn(t, "just before the end", true, first)
	p.clock.pass(time.Nanosecond)
	p.wantLetIn(t, "at the end", false, first)
	p.wantLetIn(t, "the second", true, second)
	p.clock.pass(-time.Hour)
	p.wantLetIn(t, "ended, and the clock is set back", false, first)
	p.clock.pass(12 * time.Hour)
	p.wantLetIn(t, "the second, at its end", false, second)
	if got := p.do(t, "POST", "/replay", with(second)); got.status != http.StatusUnauthorized {
		t.Errorf("a POST of a session that has ended: %d", got.status)
	}
}

// A session is worth as much as the token that it was opened with.
func TestTokensAreRotated(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken, otherToken)
	first, second := p.signIn(t, goodToken), p.signIn(t, otherToken)
	p.tokens.Replace([]string{otherToken, "tok-next-5f4e3d2c1b0a"})
	p.wantLetIn(t, "whose token is gone", false, first)
	p.wantLetIn(t, "whose token stays", true, second)
	p.tokens.Replace([]string{goodToken, otherToken})
	p.wantLetIn(t, "whose token was gone and is back", false, first)
	p.wantLetIn(t, "whose token stays still", true, second)
	p.wantLetIn(t, "a new session of the token that is back", true, p.signIn(t, goodToken))
	// The same without a request in between.
	p.tokens.Replace(nil)
	p.tokens.Replace([]string{goodToken, otherToken})
	p.wantLetIn(t, "whose token was gone for a moment", false, second)
	if got := p.do(t, "POST", "/sign-in", form("token", "tok-next-5f4e3d2c1b0a")); got.status != http.StatusUnauthorized {
		t.Errorf("signing in with a token that is gone: %d", got.status)
	}
}

// Somebody who knows an id beforehand gains nothing by it: each signing in opens a new session
// and ends the one before.
func TestSessionIsNew(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken)
	planted := &http.Cookie{Name: "apixo-relay-session", Value: "cGxhbnRlZA"}
	first := p.signIn(t, goodToken, with(planted))
	if first.Value == planted.Value {
		t.Error("a planted id becomes a session")
	}
	p.wantLetIn(t, "with the planted id", false, planted)
	p.wantLetIn(t, "hidden behind a planted cookie", true, planted, first)
	second := p.signIn(t, goodToken, with(planted, first))
	if second.Value == first.Value {
		t.Error("signing in again keeps the id")
	}
	p.wantLetIn(t, "the first, after signing in again", false, first)
	p.wantLetIn(t, "the second", true, second)
	other := p.signIn(t, goodToken)
	p.do(t, "POST", "/sign-out", with(planted, second))
	p.wantLetIn(t, "signed out", false, second)
	p.wantLetIn(t, "another browser", true, other)
	for _, value := range []string{"", first.Value, second.Value[1:], other.Value + "x", other.Value[:42], strings.ToUpper(other.Value), url.QueryEscape(other.Value) + "%00"} {
		p.wantLetIn(t, "with "+value, false, &http.Cookie{Name: "apixo-relay-session", Value: value})
	}
}

// Browsers sign in and out and read while tokens change.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 20 {
				c := p.signIn(t, goodToken)
				p.wantLetIn(t, "signed in", true, c)
				switch i % 4 {
				case 0:
					p.tokens.Replace([]string{goodToken, otherToken})
				case 1:
					p.do(t, "POST", "/sign-in", form("token", otherToken))
				case 2:
					p.do(t, "GET", "/", bearer(goodToken))
				}
				p.do(t, "POST", "/sign-out", with(c))
				p.wantLetIn(t, "signed out", false, c)
			}
		})
	}
	all.Wait()
}
