package send

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
)

const token = "relay-token-for-tests"

func TestPostSendsUserInformationAsBasicAuth(t *testing.T) {
	t.Parallel()
	rec := receive(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		if user, password, ok := r.BasicAuth(); !ok || user != "relay" || password != token {
			t.Errorf("user %q, ok %v", user, ok)
		}
		w.Header().Set("Content-Type", "application/json; token="+token)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, "no %s for %s", token, r.Header.Get("Authorization"))
	})
	s := mustRun(t, options(t, strings.Replace(rec.URL, "http://", "http://relay:"+token+"@", 1)))
	var b strings.Builder
	if err := errors.Join(s.WriteText(&b), s.WriteJSON(&b)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), token) || strings.Contains(b.String(), "cmVsYXk6") || !strings.Contains(b.String(), "no … for Basic …") {
		t.Errorf("the summary is\n%s", b.String())
	}
}

func TestPostExplainsAnswers(t *testing.T) {
	t.Parallel()
	const problem = "application/problem+json"
	for _, test := range []struct {
		name, contentType, body string
		status                  int
		title, detail           string
	}{
		{"problem", problem, `{"type":"x","title":"Not JSON","status":400,"detail":"unexpected\nend"}`, 400, "Not JSON", "unexpected end"},
		{"problem with a parameter", problem + "; charset=utf-8", `{"title":"T"}`, 503, "T", ""},
		{"broken problem", problem, `{"title":`, 500, "", `{"title":`},
		{"empty problem", problem, `{}`, 500, "", ""},
		{"other JSON", "application/json", `{"title":"T"}`, 500, "", `{"title":"T"}`},
		{"page", "text/html", "<h1>\n Bad\x1b Gateway\n</h1>", 502, "", "<h1> Bad� Gateway </h1>"},
		{"long page", "text/html", strings.Repeat("x", 5000), 502, "", strings.Repeat("x", httpclient.MaxDetailBytes) + "…"},
		{"200 needs no words", "text/plain", "OK", 200, "", ""},
		{"other 2xx", "", "", 204, "", "of the 2xx, APIXO takes 200 alone for delivered"},
		{"redirect", "", "", 302, "", "redirects are not followed; give the URL that this one leads to"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rec := receive(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
				w.Header().Set("Content-Type", test.contentType)
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			})
			s := mustRun(t, options(t, rec.URL))
			want := AnswerCount{Status: test.status, Count: 1, Title: test.title, Detail: test.detail}
			if s.Answers[0] != want {
				t.Errorf("got %+v, want %+v", s.Answers[0], want)
			}
		})
	}
}

func TestPostBoundsWhatIsKept(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		bytes int
		cut   bool
	}{{0, false}, {maxShownBytes, false}, {maxShownBytes + 1, true}, {maxAnswerBytes, true}, {maxAnswerBytes + 1, true}, {1 << 20, true}} {
		rec := receive(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
			// The rest of a very long body may find nobody there.
			io.WriteString(w, strings.Repeat("x", test.bytes))
		})
		s := mustRun(t, options(t, rec.URL))
		if !s.AllDelivered() || len(s.Answer.Body) != min(test.bytes, maxShownBytes) || s.Answer.Truncated != test.cut {
			t.Errorf("of %d bytes, %d were kept, truncated: %v", test.bytes, len(s.Answer.Body), s.Answer.Truncated)
		}
	}
}

func TestPostKeepsConnections(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat("x", 2*maxAnswerBytes))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	o := options(t, server.URL)
	o.Count = 50
	mustRun(t, o)
	if got := connections.Load(); got != 1 {
		t.Errorf("%d connections for webhooks that were sent one after the other", got)
	}
}

// What the receiver does wrong without answering, and what it is called.
func TestPostCauses(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() }
	for _, test := range []struct {
		name    string
		answer  func(http.ResponseWriter, *http.Request, int)
		timeout time.Duration
		want    string
	}{
		{"no answer in time", hang, time.Millisecond, httpclient.CauseTimeout},
		{"no end of the body in time", func(w http.ResponseWriter, r *http.Request, n int) {
			io.WriteString(w, "O")
			w.(http.Flusher).Flush()
			hang(w, r, n)
		}, 100 * time.Millisecond, httpclient.CauseTimeout},
		{"closed at once", func(http.ResponseWriter, *http.Request, int) { panic(http.ErrAbortHandler) }, 0, httpclient.CauseNoAnswer},
		{"closed within the body", func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "OK")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, 0, httpclient.CauseBrokenOff},
		{"not HTTP", func(w http.ResponseWriter, _ *http.Request, _ int) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(conn, "SSH-2.0-what\r\n\r\n")
			conn.Close()
		}, 0, httpclient.CauseOther},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rec := receive(t, test.answer)
			o := options(t, rec.URL+"/"+token)
			o.AnswerTimeout = test.timeout
			s := mustRun(t, o)
			if s.Failed != 1 || s.Answers[0].Error != test.want || s.Answers[0].Detail == "" || s.Latency != nil || strings.Contains(s.Answers[0].Detail, token) {
				t.Errorf("summary %+v", s)
			}
		})
	}
}

func TestPostConnectionRefused(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	s := mustRun(t, options(t, "http://relay:"+token+"@"+address+"/"+token))
	a := s.Answers[0]
	if a.Error != httpclient.CauseRefused || !strings.Contains(a.Detail, "is the receiver running") || strings.Contains(a.Detail, token) {
		t.Errorf("answer %+v", a)
	}
}

func TestPostSwitchingProtocols(t *testing.T) {
	t.Parallel()
	rec := receive(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
		io.Copy(io.Discard, conn) // until the sender has hung up
	})
	if s := mustRun(t, options(t, rec.URL)); s.Answers[0].Status != 101 {
		t.Errorf("summary %+v", s)
	}
}

func TestPostTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // failed handshakes are part of the test
	server.StartTLS()
	defer server.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	for _, test := range []struct {
		name   string
		config *tls.Config
		url    string
		want   AnswerCount
	}{
		{"unknown CA", nil, server.URL, AnswerCount{Error: httpclient.CauseUntrusted}},
		{"known CA", &tls.Config{RootCAs: trusted}, server.URL, AnswerCount{Status: 200}},
		{"not verified", &tls.Config{InsecureSkipVerify: true}, server.URL, AnswerCount{Status: 200}},
		{"HTTP to HTTPS", nil, strings.Replace(server.URL, "https", "http", 1), AnswerCount{Status: 400}},
	} {
		transport := httpclient.NewTransport(1, test.config, nil)
		o := options(t, test.url)
		o.Transport = transport
		s := mustRun(t, o)
		transport.CloseIdleConnections()
		if a := s.Answers[0]; a.Status != test.want.Status || a.Error != test.want.Error {
			t.Errorf("%s: %+v", test.name, a)
		}
	}
	// A receiver that wants a certificate says so with a word that only TLS has.
	wanting := httptest.NewUnstartedServer(http.NotFoundHandler())
	wanting.Config.ErrorLog = log.New(io.Discard, "", 0)
	wanting.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	wanting.StartTLS()
	defer wanting.Close()
	transport := httpclient.NewTransport(1, &tls.Config{InsecureSkipVerify: true}, nil)
	defer transport.CloseIdleConnections()
	o := options(t, wanting.URL)
	o.Transport = transport
	if a := mustRun(t, o).Answers[0]; a.Error != httpclient.CauseTLS {
		t.Errorf("no client certificate: %+v", a)
	}
	plain := receive(t, func(http.ResponseWriter, *http.Request, int) { t.Error("received") })
	s := mustRun(t, options(t, strings.Replace(plain.URL, "http", "https", 1)))
	if s.Answers[0].Error != httpclient.CauseNoTLS {
		t.Errorf("HTTPS to HTTP: %+v", s.Answers[0])
	}
}
