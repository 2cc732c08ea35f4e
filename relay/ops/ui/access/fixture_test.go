package access_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/ui/access"
	"github.com/apixo-relay/apixo-relay/relay/tokens"
)

const goodToken, otherToken, wrongToken = "tok-good-9f3c2a7d51e8", "tok-other-0a1b2c3d4e5f", "tok-wrong-6c7d8e9fa0b1"

// page is a guarded page that shows nothing.
type page struct {
	*httptest.Server
	guard   *access.Guard
	tokens  *tokens.Set
	log     *logBuffer
	clock   *clock
	reached atomic.Int64        // requests that the guard has let through
	begun   chan struct{}       // a request for /live
	ended   chan struct{}       // the context of one
	admits  atomic.Bool         // that one, at its end
	slow    func(*http.Request) // called for /slow
}

// newPage makes a page that is not served yet.
func newPage(o access.Options, secrets ...string) *page {
	p := &page{log: &logBuffer{}, clock: &clock{now: time.Date(2026, 11, 29, 8, 0, 0, 0, time.UTC)}, begun: make(chan struct{}, 8), ended: make(chan struct{}, 8)}
	if len(secrets) > 0 {
		p.tokens = tokens.New(secrets)
	}
	o.Addr = cmp.Or(o.Addr, "127.0.0.1:8722")
	o.Tokens, o.Now, o.Log = p.tokens, p.clock.read, slog.New(slog.NewTextHandler(p.log, nil))
	o.Refuse = func(w http.ResponseWriter, _ *http.Request, status int, title, detail string) {
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "%s\n%s\n", title, detail)
	}
	o.SignInPage = func(w http.ResponseWriter, _ *http.Request, next string, failed bool) {
		if failed {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = fmt.Fprintf(w, "sign in, next %s", next)
	}
	p.guard = access.New(o)
	return p
}

// serve serves a page; with TLS by HTTP/2.
func serve(t *testing.T, o access.Options, secrets ...string) *page {
	t.Helper()
	p := newPage(o, secrets...)
	p.Server = httptest.NewUnstartedServer(p.handler())
	if o.TLS {
		p.EnableHTTP2 = true
		p.StartTLS()
	} else {
		p.Start()
	}
	t.Cleanup(p.Close)
	p.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return p
}

func (p *page) handler() http.Handler {
	return p.guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.reached.Add(1)
		if strings.HasPrefix(r.URL.Path, "/static/") {
			w.Header().Set("Cache-Control", "max-age=3600")
		}
		if media := r.URL.Query()["media"]; media != nil {
			access.AllowMedia(w, media...)
		}
		if r.URL.Path == "/live" && r.Method == http.MethodGet {
			_ = http.NewResponseController(w).Flush()
			p.begun <- struct{}{}
			<-r.Context().Done()
			p.admits.Store(p.guard.Admits(r))
			p.ended <- struct{}{}
			return
		}
		if r.URL.Path == "/slow" {
			p.slow(r)
		}
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s, signed in: %t, admitted: %t, context: %v, body: %d bytes, %v", r.URL.Path, p.guard.SignedIn(r), p.guard.Admits(r), r.Context().Err(), len(body), err)
	}))
}

type answer struct {
	status int
	header http.Header
	body   string
}

type change = func(*http.Request)

func header(name, value string) change {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(name string) change { return func(r *http.Request) { r.Host = name } }

func with(cookies ...*http.Cookie) change {
	return func(r *http.Request) {
		for _, c := range cookies {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
}

func bearer(token string) change { return header("Authorization", "Bearer "+token) }

func form(pairs ...string) change {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return body("application/x-www-form-urlencoded", values.Encode())
}

func body(mediaType, text string) change {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", mediaType)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	}
}

// do sends a request, and follows no redirect.
func (p *page) do(t *testing.T, method, path string, changes ...change) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		c(r)
	}
	response, err := p.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

// ask has a page that nobody serves answer.
func (p *page) ask(method, path string, changes ...change) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	r.Host = "localhost"
	for _, c := range changes {
		c(r)
	}
	w := httptest.NewRecorder()
	p.handler().ServeHTTP(w, r)
	return w.Result()
}

// cookie returns the one cookie that an answer sets.
func (a answer) cookie(t *testing.T) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies are set, with status %d: %s", len(cookies), a.status, a.body)
	}
	return cookies[0]
}

func (p *page) signIn(t *testing.T, token string, changes ...change) *http.Cookie {
	t.Helper()
	got := p.do(t, "POST", "/sign-in", append([]change{form("token", token)}, changes...)...)
	if got.status != http.StatusSeeOther {
		t.Fatalf("signing in: %d %s", got.status, got.body)
	}
	return got.cookie(t)
}

// wantLetIn holds against whether a session lets its browser see the page.
func (p *page) wantLetIn(t *testing.T, when string, want bool, cookies ...*http.Cookie) {
	t.Helper()
	status := http.StatusSeeOther
	if want {
		status = http.StatusOK
	}
	if got := p.do(t, "GET", "/tasks/t1", with(cookies...)); got.status != status {
		t.Errorf("%s: %d %s, want %d", when, got.status, got.body, status)
	}
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
