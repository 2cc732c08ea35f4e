package download_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
	"github.com/apixo-relay/apixo-relay/schema"
)

// onTheWire answers each request with these bytes, and ends the connection.
func onTheWire(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		io.WriteString(conn, answer)
	}
}

const status200 = "HTTP/1.1 200 OK\r\n"

// Whatever an origin says about the length of a file, none is whole that is not.
func TestLengths(t *testing.T) {
	t.Parallel()
	const limit = 8
	for name, test := range map[string]struct{ answer, body, reason, detail string }{
		"as promised":              {status200 + "Content-Length: 5\r\n\r\nwhole", "whole", "", ""},
		"nothing, as promised":     {status200 + "Content-Length: 0\r\n\r\n", "", "", ""},
		"more than promised":       {status200 + "Content-Length: 5\r\n\r\nwhole and more", "whole", "", ""},
		"to the limit":             {status200 + "Content-Length: 8\r\n\r\n12345678", "12345678", "", ""},
		"chunks":                   {status200 + "Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n\r\n", "12345678", "", ""},
		"to the connection's end":  {"HTTP/1.0 200 OK\r\n\r\nwhole", "whole", "", ""},
		"over the limit":           {status200 + "Content-Length: 9\r\n\r\n123456789", "", schema.ReasonTooLarge, "it has 9 bytes: the limit is 8 (RELAY_ARCHIVE_MAX_BYTES)"},
		"absurd":                   {status200 + "Content-Length: 9223372036854775807\r\n\r\n1", "", schema.ReasonTooLarge, "9223372036854775807"},
		"over the limit in chunks": {status200 + "Transfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n", "12345678", schema.ReasonTooLarge, "more than 8 bytes"},
		"endless":                  {"HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("x", 1<<20), "xxxxxxxx", schema.ReasonTooLarge, "more than 8 bytes"},
		"fewer than promised":      {status200 + "Content-Length: 8\r\n\r\ncut", "cut", schema.ReasonUnavailable, "cut off after 3 bytes"},
		"none of those promised":   {status200 + "Content-Length: 8\r\n\r\n", "", schema.ReasonUnavailable, "cut off after 0 bytes"},
		"a chunk cut off":          {status200 + "Transfer-Encoding: chunked\r\n\r\n8\r\ncut", "cut", schema.ReasonUnavailable, "cut off after 3 bytes"},
		"no last chunk":            {status200 + "Transfer-Encoding: chunked\r\n\r\n3\r\ncut\r\n", "cut", schema.ReasonUnavailable, "cut off after 3 bytes"},
		"no chunk":                 {status200 + "Transfer-Encoding: chunked\r\n\r\nsurprise\r\n", "", schema.ReasonUnavailable, "broken off after 0 bytes"},
		"two lengths":              {status200 + "Content-Length: 3\r\nContent-Length: 5\r\n\r\nwhole", "", schema.ReasonUnavailable, "Content-Length"},
		"no answer":                {"", "", schema.ReasonUnavailable, "connection closed without an answer"},
		"half a status":            {"HTTP/1.1 2", "", schema.ReasonUnavailable, "cannot be reached"},
		"half a header":            {status200 + "Content-Le", "", schema.ReasonUnavailable, "cannot be reached"},
		"another protocol":         {"SSH-2.0-OpenSSH_9.9\r\n\r\n", "", schema.ReasonUnavailable, "malformed HTTP"},
		"a huge header":            {status200 + "X: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "", schema.ReasonUnavailable, "headers exceeded 65536 bytes"},
		"endless hints":            {strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload; as=style\r\n\r\n", 10_000), "", schema.ReasonUnavailable, "headers exceeded 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := store(t, onTheWire(test.answer))
			c := client(t, download.Options{MaxBytes: limit}, s.URL)
			body, err := get(t.Context(), c, s.URL)
			if body != test.body {
				t.Errorf("%q came, want %q", body, test.body)
			}
			e, _ := err.(*download.Error)
			switch {
			case test.reason == "" && err != nil, test.reason != "" && e == nil:
				t.Errorf("%v, want %s", err, test.reason)
			case e != nil:
				want(t, e, test.reason, test.reason == schema.ReasonUnavailable, test.detail)
			}
		})
	}
}

// With TLS, the end of the connection is the end of the file only if its origin says so.
func TestCutOffWithTLS(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*tls.Conn){
		"said":   func(c *tls.Conn) { c.Close() },
		"unsaid": func(c *tls.Conn) { c.NetConn().Close() },
		"reset":  func(c *tls.Conn) { c.NetConn().(*net.TCPConn).SetLinger(0); c.NetConn().Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read := make(chan struct{})
			p := newPublic(t, func(w http.ResponseWriter, r *http.Request) {
				conn, _, _ := http.NewResponseController(w).Hijack()
				io.WriteString(conn, status200+"\r\nsomething")
				<-read
				end(conn.(*tls.Conn))
			}, (*httptest.Server).StartTLS)
			p.means(goodName, "127.0.0.2")
			f, err := p.client(t, download.Options{}).Open(t.Context(), "https://"+goodName+"/")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := io.ReadFull(f, make([]byte, len("something"))); err != nil {
				t.Fatal(err)
			}
			close(read)
			_, err = f.Read(make([]byte, 1))
			e, failed := err.(*download.Error)
			switch {
			case name == "said" && err != io.EOF, name != "said" && !failed:
				t.Errorf("it ends in %v", err)
			case failed:
				want(t, e, schema.ReasonUnavailable, true, "after 9 bytes")
			}
		})
	}
}

// An HTTP/2 origin can lie, too, and end a file in the middle.
func TestCutOffByHTTP2(t *testing.T) {
	t.Parallel()
	p := newPublic(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "8")
		fmt.Fprint(w, "cut")
		if r.URL.Path == "/aborted" {
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() })
	p.means(goodName, "127.0.0.2")
	c := p.client(t, download.Options{})
	for _, path := range []string{"/", "/aborted"} {
		want(t, mustFail(t, c, "https://"+goodName+path), schema.ReasonUnavailable, true, "off after 3 bytes")
	}
}

// An origin that accepts and says nothing, or begins and says no more, is left after a while;
// so is one that is not even worth waiting for, its redirect or refusal half said.
func TestSilence(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ said, reason, detail string }{
		"from the start":  {"", schema.ReasonUnavailable, "timeout awaiting response headers"},
		"in the header":   {status200 + "Content-Length: 5\r\n", schema.ReasonUnavailable, "timeout awaiting response headers"},
		"in the file":     {status200 + "Content-Length: 5\r\n\r\nhel", schema.ReasonUnavailable, "less than 1024 bytes within 500ms, after 3"},
		"in a refusal":    {"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nhel", schema.ReasonGone, "403 Forbidden: hel"},
		"after something": {status200 + "Content-Length: 10000\r\n\r\n" + strings.Repeat("x", 5000), schema.ReasonUnavailable, "after 5000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := store(t, func(w http.ResponseWriter, r *http.Request) {
				conn, _, _ := http.NewResponseController(w).Hijack()
				defer conn.Close()
				io.WriteString(conn, test.said)
				bufio.NewReader(conn).ReadByte() // until the client is gone
			})
			c := client(t, download.Options{Silence: 500 * time.Millisecond}, s.URL)
			want(t, mustFail(t, c, s.URL), test.reason, test.reason != schema.ReasonGone, test.detail)
		})
	}
}

// The same by HTTP/2, whose connection is good for other files all the same.
func TestSilenceByHTTP2(t *testing.T) {
	t.Parallel()
	peers := make(chan string, 2)
	p := newPublic(t, func(w http.ResponseWriter, r *http.Request) {
		peers <- r.RemoteAddr
		if r.URL.Path == "/good" {
			return
		}
		fmt.Fprint(w, "hel")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() })
	p.means(goodName, "127.0.0.2")
	c := p.client(t, download.Options{Silence: 500 * time.Millisecond})
	want(t, mustFail(t, c, "https://"+goodName+"/silent"), schema.ReasonUnavailable, true, "within 500ms, after 3")
	if _, err := get(t.Context(), c, "https://"+goodName+"/good"); err != nil {
		t.Error(err)
	}
	if first, second := <-peers, <-peers; first != second {
		t.Error("it was connected to twice")
	}
}
