package download_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
	"github.com/apixo-relay/apixo-relay/schema"
)

// store is an origin that is allowed as it stands.
func store(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	return origin(t, handler, (*httptest.Server).Start)
}

// What an answer means that is no file, and what is told of it.
func TestAnswers(t *testing.T) {
	t.Parallel()
	s := store(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		fmt.Sscanf(r.URL.Path, "/%d", &status)
		if r.URL.Query().Has("page") {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
		} else {
			w.Header().Set("Content-Type", "application/xml")
		}
		w.WriteHeader(status)
		if status != http.StatusNoContent && status != http.StatusNotModified {
			fmt.Fprint(w, "<Message>\x1b[2JRequest\nhas expired</Message>")
		}
	})
	c := client(t, download.Options{}, s.URL)
	for reason, statuses := range map[string][]int{
		schema.ReasonGone:        {401, 403, 404, 410, 451},
		schema.ReasonUnavailable: {408, 425, 429, 500, 501, 502, 503, 504, 599},
		schema.ReasonRefused:     {201, 204, 206, 300, 301, 304, 400, 402, 405, 406, 416, 418},
	} {
		for _, status := range statuses {
			e := mustFail(t, c, fmt.Sprintf("%s/%d/a.png", s.URL, status))
			want(t, e, reason, reason == schema.ReasonUnavailable, fmt.Sprint(status))
			if status == 403 {
				want(t, e, reason, false, "403 Forbidden: <Message>\ufffd[2JRequest has expired</Message>")
				if e := mustFail(t, c, s.URL+"/403/a.png?page"); e.Detail != "403 Forbidden" {
					t.Errorf("of a page it tells %q", e.Detail)
				}
			}
		}
	}
}

// An origin may ask to be left alone, and not for longer than an hour.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	s := store(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", r.URL.Query().Get("say"))
		w.WriteHeader(http.StatusTooManyRequests)
	})
	c := client(t, download.Options{}, s.URL)
	date := strings.ReplaceAll(time.Now().Add(10*time.Hour).UTC().Format(http.TimeFormat), " ", "%20")
	for said, want := range map[string]time.Duration{"90": 90 * time.Second, "86400": time.Hour, date: time.Hour, "soon": 0, "-1": 0} {
		if got := mustFail(t, c, s.URL+"/?say="+said).RetryAfter; got != want {
			t.Errorf("%s: %s, want %s", said, got, want)
		}
	}
}

// An origin learns the address, the program's name, and nothing else; least of all where it
// was found.
func TestRequests(t *testing.T) {
	t.Parallel()
	requests := make(chan *http.Request, 2)
	s := store(t, func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		if r.URL.Path == "/a" {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "t0ps3cret"})
			http.Redirect(w, r, "/b?signature=t0ps3cret", http.StatusFound)
		}
	})
	if _, err := get(t.Context(), client(t, download.Options{}, s.URL), s.URL+"/a?signature=t0ps3cret#fragment"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/a", "/b"} {
		r := <-requests
		if r.Method != "GET" || r.RequestURI != path+"?signature=t0ps3cret" {
			t.Errorf("%s %s", r.Method, r.RequestURI)
		}
		if got, want := fmt.Sprint(r.Header), "map[Accept:[*/*] Accept-Encoding:[identity] User-Agent:[apixo-relay/test]]"; got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// Three redirects are followed and no fourth, over one connection, from an origin to another
// that is allowed.
func TestRedirects(t *testing.T) {
	t.Parallel()
	last := store(t, sayHello)
	var from []string
	s := store(t, func(w http.ResponseWriter, r *http.Request) {
		from = append(from, r.RemoteAddr)
		to := last.URL
		if len(from) < 3 {
			to = fmt.Sprint("/", len(from))
		}
		http.Redirect(w, r, to, http.StatusFound)
	})
	c := client(t, download.Options{}, s.URL, last.URL)
	body, err := get(t.Context(), c, s.URL)
	if err != nil || body != "hello by HTTP/1" || len(from) != 3 || from[0] != from[2] {
		t.Errorf("%q, %v, redirects by %v", body, err, from)
	}
	from = from[:0]
	loop := store(t, func(w http.ResponseWriter, r *http.Request) {
		from = append(from, r.RemoteAddr)
		http.Redirect(w, r, "/", http.StatusFound)
	})
	want(t, mustFail(t, client(t, download.Options{}, loop.URL), loop.URL), schema.ReasonTooManyRedirects, false, "3 redirects")
	if len(from) != 4 {
		t.Errorf("%d addresses were asked", len(from))
	}
}

// What an origin has encoded without being asked to stays so, to the byte.
func TestEncoded(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(make([]byte, 1<<20))
	z.Close()
	s := store(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(b.Bytes())
	})
	if body, err := get(t.Context(), client(t, download.Options{MaxBytes: 4096}, s.URL), s.URL); err != nil || body != b.String() {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

// Secrets of an address are in no detail, even if its origin repeats them.
func TestNoSecretsInDetails(t *testing.T) {
	t.Parallel()
	s := store(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a" {
			http.Redirect(w, r, "/capability-0123456789/b?token=s3cr3t%2Btoo", http.StatusFound)
			return
		}
		w.WriteHeader(403)
		fmt.Fprintf(w, "no %s, %s, came by %s", r.RequestURI, r.URL.Query().Get("token"), "Signature=t0ps3cret")
	})
	c := client(t, download.Options{}, s.URL)
	down := store(t, sayHello)
	down.Close()
	for _, address := range []string{
		s.URL + "/a?Signature=t0ps3cret", s.URL + "/b?t0ps3cret", down.URL + "/capability-0123456789?token=t0ps3cret",
		"https://user:t0ps3cret@127.0.0.1/", "https://t0ps3cret%zz/", "https://elsewhere.invalid/capability-0123456789?t0ps3cret", "t0ps3cret://a",
	} {
		detail := mustFail(t, c, address).Detail
		for _, secret := range []string{"t0ps3cret", "s3cr3t", "capability-0123456789"} {
			if strings.Contains(detail, secret) {
				t.Errorf("%s: %s", address, detail)
			}
		}
	}
}

// What cannot be connected to may be there later.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	p := newPublic(t, sayHello, (*httptest.Server).StartTLS)
	p.means("untrusted.example.org", "127.0.0.2")
	c := p.client(t, download.Options{})
	want(t, mustFail(t, c, "https://unknown.example.org/"), schema.ReasonUnavailable, true, "https://unknown.example.org cannot be reached: host not found")
	want(t, mustFail(t, c, "https://b\u00fccher\u3002example\u3002org/"), schema.ReasonUnavailable, true, "https://xn--bcher-kva.example.org cannot be reached: host not found")
	want(t, mustFail(t, c, "https://untrusted.example.org/"), schema.ReasonUnavailable, true, "certificate not trusted")

	down, plain := store(t, sayHello), store(t, sayHello)
	down.Close()
	secured := strings.Replace(plain.URL, "http", "https", 1)
	c = client(t, download.Options{}, down.URL, secured)
	want(t, mustFail(t, c, down.URL), schema.ReasonUnavailable, true, "connection refused")
	want(t, mustFail(t, c, secured), schema.ReasonUnavailable, true, "no TLS at that address")
}

var errEnough = errors.New("enough of this")

// The end of the context ends everything, and its cause is told.
func TestContext(t *testing.T) {
	t.Parallel()
	asked := make(chan bool)
	s := store(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/silent" {
			asked <- true
		}
		fmt.Fprint(w, "begun")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	c := client(t, download.Options{}, s.URL)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-asked
		cancel(errEnough)
	}()
	if body, err := get(ctx, c, s.URL+"/silent"); err != errEnough {
		t.Errorf("before an answer: %q, %v", body, err)
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	f, err := c.Open(ctx, s.URL+"/begun")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, make([]byte, len("begun"))); err != nil {
		t.Fatal(err)
	}
	cancel(errEnough)
	if _, err := f.Read(make([]byte, 1)); err != errEnough {
		t.Errorf("in the file: %v", err)
	}
}

// An origin is let go of when no more is wanted of it, however much it has to say.
func TestLetGo(t *testing.T) {
	t.Parallel()
	ended := make(chan bool)
	s := store(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/refused":
			w.WriteHeader(http.StatusForbidden)
		case "/large":
			w.Header().Set("Content-Length", "9999999999")
		}
		for err := error(nil); err == nil; {
			_, err = w.Write(make([]byte, 64<<10))
		}
		ended <- true
	})
	c := client(t, download.Options{}, s.URL)
	for _, path := range []string{"/refused", "/large", "/endless"} {
		mustFail(t, c, s.URL+path)
		<-ended
	}
	f, err := c.Open(t.Context(), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	<-ended
	if _, err := f.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("a closed file ends in %v", err)
	}
}
