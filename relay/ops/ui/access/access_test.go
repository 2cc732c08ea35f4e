package access_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/ui/access"
)

// What nobody may do is refused whether there are tokens or not, and before anything is done.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const evil = "evil.example.com"
	crossSite := header("Sec-Fetch-Site", "cross-site")
	for _, test := range []struct {
		name, method, path string
		changes            []change
		status             int // 0: it comes through
		says               string
	}{
		{"a view", "GET", "/", nil, 0, ""},
		{"its head", "HEAD", "/tasks/t1", nil, 0, ""},
		{"a form", "POST", "/replay", []change{form("a", "b")}, 0, "body: 3 bytes, <nil>"},

		{"another host", "GET", "/", []change{host(evil)}, 421, evil},
		{"another host, static", "GET", "/static/page.js", []change{host(evil)}, 421, evil},
		{"another host, signing in", "POST", "/sign-in", []change{host(evil), form("token", goodToken)}, 421, "RELAY_UI_HOSTS"},
		{"another host, signing out", "POST", "/sign-out", []change{host(evil)}, 421, evil},
		{"another host, from its own page", "POST", "/replay", []change{host(evil), header("Origin", "http://"+evil), header("Sec-Fetch-Site", "same-origin")}, 421, evil},
		{"another host, another method", "PUT", "/", []change{host(evil)}, 421, evil},
		{"another host in X-Forwarded-Host", "GET", "/", []change{header("X-Forwarded-Host", evil)}, 0, ""},
		{"a good host in X-Forwarded-Host", "GET", "/", []change{host(evil), header("X-Forwarded-Host", "localhost"), header("Forwarded", "host=localhost")}, 421, evil},

		{"PUT", "PUT", "/", nil, 405, "GET, HEAD and POST"},
		{"DELETE", "DELETE", "/quarantine/1", nil, 405, "GET, HEAD and POST"},
		{"OPTIONS", "OPTIONS", "/", nil, 405, "GET, HEAD and POST"},
		{"TRACE", "TRACE", "/", nil, 405, "GET, HEAD and POST"},
		{"lower case", "post", "/replay", nil, 405, "GET, HEAD and POST"},
		{"a method nobody knows", "PROPFIND", "/static/page.js", nil, 405, "GET, HEAD and POST"},
		{"a method beside another in a header", "GET", "/", []change{header("X-HTTP-Method-Override", "DELETE")}, 0, ""},

		{"POST of another site", "POST", "/replay", []change{crossSite}, 403, "another site"},
		{"POST of another service on this machine", "POST", "/replay", []change{header("Sec-Fetch-Site", "same-site")}, 403, "another site"},
		{"POST of another origin", "POST", "/replay", []change{header("Origin", "http://"+evil)}, 403, "another site"},
		{"POST of another port", "POST", "/replay", []change{header("Origin", "http://127.0.0.1:1")}, 403, "another site"},
		{"POST of no origin", "POST", "/replay", []change{header("Origin", "null")}, 403, "another site"},
		{"signing in for somebody", "POST", "/sign-in", []change{crossSite, form("token", goodToken)}, 403, "another site"},
		{"signing out of somebody", "POST", "/sign-out", []change{crossSite}, 403, "another site"},
		{"POST of our own page", "POST", "/replay", []change{header("Sec-Fetch-Site", "same-origin"), header("Origin", "null")}, 0, ""},
		{"POST of somebody at the address bar", "POST", "/replay", []change{header("Sec-Fetch-Site", "none")}, 0, ""},

		{"link of another site", "GET", "/tasks/t1", []change{crossSite, header("Sec-Fetch-Mode", "navigate"), header("Sec-Fetch-Dest", "document")}, 0, ""},
		{"picture in another site", "GET", "/tasks/t1", []change{crossSite, header("Sec-Fetch-Mode", "no-cors"), header("Sec-Fetch-Dest", "image")}, 403, "another site"},
		{"script in another site", "GET", "/static/page.js", []change{crossSite, header("Sec-Fetch-Mode", "no-cors"), header("Sec-Fetch-Dest", "script")}, 403, "another site"},
		{"events to another site", "GET", "/live", []change{crossSite, header("Sec-Fetch-Mode", "cors"), header("Sec-Fetch-Dest", "empty")}, 403, "another site"},
		{"frame of another site", "GET", "/", []change{crossSite, header("Sec-Fetch-Mode", "navigate"), header("Sec-Fetch-Dest", "iframe")}, 403, "another site"},
		{"fetch by another service on this machine", "GET", "/", []change{header("Sec-Fetch-Site", "same-site"), header("Sec-Fetch-Mode", "no-cors")}, 403, "another site"},
		{"fetch by our own page", "GET", "/events", []change{header("Sec-Fetch-Site", "same-origin"), header("Sec-Fetch-Mode", "cors"), header("Sec-Fetch-Dest", "empty")}, 0, ""},

		{"a large body", "POST", "/replay", []change{body("text/plain", strings.Repeat("x", 64<<10+1))}, 413, "64 KiB"},
		{"the largest body", "POST", "/replay", []change{body("text/plain", strings.Repeat("x", 64<<10))}, 0, "body: 65536 bytes, <nil>"},
		{"a large body that does not say so", "POST", "/replay", []change{body("text/plain", strings.Repeat("x", 64<<10+1)), func(r *http.Request) { r.ContentLength = -1 }}, 413, "64 KiB"},
	} {
		for _, secrets := range [][]string{nil, {goodToken}} {
			t.Run(fmt.Sprintf("%s, %d tokens", test.name, len(secrets)), func(t *testing.T) {
				t.Parallel()
				p := serve(t, access.Options{}, secrets...)
				changes := test.changes
				if secrets != nil {
					changes = append([]change{with(p.signIn(t, goodToken))}, changes...)
				}
				got := p.do(t, test.method, test.path, changes...)
				status := test.status
				if status == 0 {
					status = http.StatusOK
				}
				if got.status != status || !strings.Contains(got.body, test.says) {
					t.Errorf("%d %s, want %d and %q", got.status, got.body, status, test.says)
				}
				if reached := p.reached.Load() > 0; reached != (test.status == 0) {
					t.Errorf("the page was reached: %t", reached)
				}
				if allow := got.header.Get("Allow"); (allow == "GET, HEAD, POST") != (status == 405) {
					t.Errorf("%d has Allow: %s", got.status, allow)
				}
				if cookies := got.header["Set-Cookie"]; test.status != 0 && len(cookies) > 0 {
					t.Errorf("a refusal sets %q", cookies)
				}
			})
		}
	}
}

// Who is not signed in gets the page's own files and the form, and nothing else, however the
// path is written.
func TestStrangers(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken)
	const form, open, away, refused = "form", "open", "away", "refused"
	for _, test := range []struct {
		method, path, want string
		changes            []change
	}{
		{"GET", "/sign-in", form, nil},
		{"GET", "/sign-in?next=/events", form, nil},
		{"GET", "/sign%2Din", form, nil},
		{"GET", "/static/page.js", open, nil},
		{"HEAD", "/static/page.css", open, nil},
		{"GET", "/static/icons/relay.svg?v=1", open, nil},

		{"GET", "/", away, nil},
		{"HEAD", "/", away, nil},
		{"GET", "/tasks/t1", away, nil},
		{"GET", "/events/export?since=1h", away, nil},
		{"GET", "/nowhere", away, nil},
		{"GET", "/static", away, nil},
		{"GET", "/STATIC/page.js", away, nil},
		{"GET", "//static/page.js", away, nil},
		{"GET", "/static//page.js", away, nil},
		{"GET", "/static/../tasks/t1", away, nil},
		{"GET", "/static/..", away, nil},
		{"GET", "/static/./page.js", away, nil},
		{"GET", "/static/%2e%2e/tasks/t1", away, nil},
		{"GET", "/static/..%2ftasks/t1", away, nil},
		{"GET", "/static%2Fpage.js", away, nil},
		{"GET", "/%73tatic/page.js", away, nil},
		{"GET", "/static/a%2fb", away, nil},
		{"GET", "/sign-in/", away, nil},
		{"GET", "//sign-in", away, nil},
		{"GET", "/sign-in/../events", away, nil},

		{"GET", "/live?view=now", refused, nil},
		{"GET", "/%6Cive?view=now", refused, nil},
		{"POST", "/replay", refused, nil},
		{"POST", "/static/page.js", refused, nil},
		{"POST", "/sign-in/", refused, nil},
		{"POST", "/", refused, []change{bearer(goodToken)}},
		{"GET", "/", refused, []change{bearer(wrongToken)}},
		{"GET", "/", refused, []change{bearer(goodToken + "x")}},
		{"GET", "/live", refused, []change{bearer(wrongToken)}},
		{"GET", "/", away, []change{func(r *http.Request) { r.SetBasicAuth("relay", goodToken) }}},
		{"GET", "/?token=" + goodToken, away, nil},
		{"GET", "/", away, []change{with(&http.Cookie{Name: "apixo-relay-session", Value: goodToken})}},
		{"GET", "/", away, []change{with(&http.Cookie{Name: "apixo-relay-session"})}},
		{"GET", "/", open, []change{bearer(goodToken)}},
		{"HEAD", "/events", open, []change{header("Authorization", "bearer  "+goodToken+" ")}},
	} {
		before := p.reached.Load()
		got := p.do(t, test.method, test.path, test.changes...)
		status := map[string]int{form: 200, open: 200, away: 303, refused: 401}[test.want]
		if got.status != status {
			t.Errorf("%s %s: %d %s, want %d", test.method, test.path, got.status, got.body, status)
		}
		if reached := p.reached.Load() > before; reached != (test.want == open) {
			t.Errorf("%s %s: the page was reached: %t", test.method, test.path, reached)
		}
		if location := got.header.Get("Location"); test.want == away && !strings.HasPrefix(location, "/sign-in") {
			t.Errorf("%s %s leads to %q", test.method, test.path, location)
		}
		if challenge := got.header.Get("WWW-Authenticate"); (challenge == `Bearer realm="apixo-relay"`) != (status == 401) {
			t.Errorf("%s %s: %d has WWW-Authenticate: %s", test.method, test.path, got.status, challenge)
		}
	}
}

// Who reads with a Bearer token is let in, and not signed in.
func TestBearer(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{}, goodToken)
	if got := p.do(t, "GET", "/", bearer(goodToken)); !strings.Contains(got.body, "signed in: false, admitted: true") {
		t.Errorf("with a Bearer token: %d %s", got.status, got.body)
	}
	open := serve(t, access.Options{})
	if got := open.do(t, "GET", "/", bearer(wrongToken)); !strings.Contains(got.body, "signed in: false, admitted: true") {
		t.Errorf("where nobody is asked for a token: %d %s", got.status, got.body)
	}
}

// A page for reading changes nothing for anybody, and still lets them sign in and out.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	for _, secrets := range [][]string{nil, {goodToken}} {
		p := serve(t, access.Options{ReadOnly: true}, secrets...)
		var session []change
		if secrets != nil {
			if got := p.do(t, "POST", "/replay"); got.status != http.StatusUnauthorized {
				t.Errorf("who is not signed in gets %d", got.status)
			}
			session = []change{with(p.signIn(t, goodToken))}
		}
		for _, path := range []string{"/replay", "/quarantine/put-aside?seq=1", "/checks", "/", "/static/page.js"} {
			if got := p.do(t, "POST", path, session...); got.status != http.StatusForbidden || !strings.Contains(got.body, "--read-only") || p.reached.Load() > 0 {
				t.Errorf("POST %s: %d %s", path, got.status, got.body)
			}
		}
		if got := p.do(t, "GET", "/replay", session...); got.status != http.StatusOK {
			t.Errorf("reading: %d %s", got.status, got.body)
		}
		if got := p.do(t, "POST", "/sign-out", session...); got.status != http.StatusSeeOther {
			t.Errorf("signing out: %d %s", got.status, got.body)
		}
	}
}

// exchange sends bytes as they stand and returns the first line of the answer.
func (p *page) exchange(t *testing.T, request string) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // for an answer that waits for something
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// A body that does not come holds nobody up, and what is done for one that has come is not
// ended by the time that it had.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{BodyTimeout: 20 * time.Millisecond}, goodToken)
	session := p.signIn(t, goodToken)
	for _, test := range []struct{ request, want string }{
		{"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\ntoken", "408"},
		{"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntoken", "408"},
		{"POST /sign-out HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n", "408"},
		{"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n", "408"},
		{"POST /replay HTTP/1.1\r\nHost: localhost\r\nCookie: " + session.Name + "=" + session.Value + "\r\nContent-Length: 10\r\n\r\n", "408"},
		{"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n", "400"},
	} {
		if got := p.exchange(t, test.request); !strings.Contains(got, " "+test.want+" ") {
			t.Errorf("%q: %s, want %s", test.request, got, test.want)
		}
	}
	if p.reached.Load() > 0 {
		t.Error("the page was reached")
	}
	secure := serve(t, access.Options{TLS: true, BodyTimeout: 20 * time.Millisecond}, goodToken)
	endless, ending := io.Pipe()
	defer ending.Close()
	if got := secure.do(t, "POST", "/sign-in", func(r *http.Request) { r.Body, r.ContentLength = endless, -1 }); got.status != http.StatusRequestTimeout {
		t.Errorf("in HTTP/2: %d %s", got.status, got.body)
	}
	var ended bool
	p.slow = func(r *http.Request) {
		select {
		case <-r.Context().Done():
			ended = true
		case <-time.After(200 * time.Millisecond): // ten times what the body had
		}
	}
	if got := p.do(t, "POST", "/slow", with(session), form("a", "b")); got.status != http.StatusOK || ended {
		t.Errorf("%d %s, ended: %t", got.status, got.body, ended)
	}
}

// Requests that no library sends.
func TestRawRequests(t *testing.T) {
	t.Parallel()
	p := serve(t, access.Options{})
	for _, test := range []struct{ request, want string }{
		{"GET / HTTP/1.1\r\nHost: localhost\r\n", "200"},
		{"GET / HTTP/1.0\r\nHost: localhost\r\n", "200"},
		{"GET / HTTP/1.0\r\n", "421"},
		{"GET / HTTP/1.1\r\nHost:\r\n", "421"},
		{"GET / HTTP/1.1\r\n", "400"},
		{"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example.com\r\n", "400"},
		// An address in place of the path is what counts.
		{"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n", "200"},
		{"GET http://evil.example.com/ HTTP/1.1\r\nHost: localhost\r\n", "421"},
		{"GET http://evil.example.com/ HTTP/1.0\r\n", "421"},
		{"POST http://localhost/ HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: 0\r\n", "200"},
		{"POST http://localhost/ HTTP/1.1\r\nHost: evil.example.com\r\nOrigin: http://evil.example.com\r\nContent-Length: 0\r\n", "403"},
		{"POST http://evil.example.com/ HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example.com\r\nContent-Length: 0\r\n", "421"},
		{"GET http:evil HTTP/1.1\r\nHost: evil.example.com\r\n", "421"},
		{"GET //evil.example.com/ HTTP/1.1\r\nHost: localhost\r\n", "200"},
		{"GET * HTTP/1.1\r\nHost: localhost\r\n", "200"},
		{"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n", "405"},
		{"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n", "405"},
		// A refusal does not wait for a body that never comes.
		{"POST / HTTP/1.1\r\nHost: evil.example.com\r\nContent-Length: 1000\r\n", "421"},
		{"PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n", "405"},
		{"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n", "413"},
	} {
		if got := p.exchange(t, test.request+"\r\n"); !strings.HasPrefix(got, "HTTP/1.") || !strings.Contains(got, " "+test.want+" ") {
			t.Errorf("%q: %s, want %s", test.request, got, test.want)
		}
	}
}
