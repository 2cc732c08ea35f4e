package endpoint_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// patience bounds the wait for what has to come.
const patience = 2 * time.Minute

// wantRefused waits for one refusal, and wants it to be told in these words, with
// the peer.
func (r *running) wantRefused(c *client, words ...string) {
	r.Helper()
	select {
	case <-r.refused:
	case <-time.After(patience):
		r.Fatalf("nothing was refused: %s", r.log)
	}
	words = append(words, "level=WARN")
	if c != nil {
		words = append(words, "peer="+c.LocalAddr().String())
	}
	r.wantLogged(words...)
}

// wantLogged waits until all that is in the log.
func (r *running) wantLogged(words ...string) {
	r.Helper()
	for end := time.Now().Add(patience); ; {
		missing := ""
		for _, word := range words {
			if !strings.Contains(r.log.String(), word) {
				missing = word
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			r.Fatalf("the log does not say %q: %s", missing, r.log)
		}
		<-time.After(time.Millisecond)
	}
}

// settings is an empty frame of that type.
const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

const secret = "tok-9f3c2a7d51e84b06"

func TestRefusalsAreNamed(t *testing.T) {
	t.Parallel()
	hello := "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + secret
	for name, test := range map[string]struct {
		tls         bool
		text, words string
	}{
		"PROXY":                 {false, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + request, "the PROXY protocol, version 1|RELAY_PROXY_PROTOCOL=true"},
		"TLS":                   {false, hello + "\n", "what=TLS|http://"},
		"TLS without a line":    {false, hello, "what=TLS|http://"}, // which is waited for
		"junk":                  {false, "\x00\x01\x02" + secret + "\r\n\r\n", "no HTTP"},
		"junk without a line":   {false, "\x00\x01\x02" + secret, "no HTTP"},
		"words":                 {false, secret + "\r\n\r\n", "no HTTP"},
		"bad line":              {false, "POST /" + secret + " \r\n\r\n", "a malformed HTTP request"},
		"bad header":            {false, "POST / HTTP/1.1\r\nHost: h\r\n" + secret + "\r\n\r\n", "a malformed HTTP request"},
		"long headers":          {false, "POST / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat(secret, 1000) + "\r\n\r\n", "headers over 8192 bytes"},
		"coding":                {false, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: " + secret + "\r\n\r\n", "unknown transfer coding"},
		"version":               {false, "POST / HTTP/3.0\r\nHost: h\r\n\r\n", "unknown version of HTTP"},
		"expectation":           {false, "POST / HTTP/1.1\r\nHost: h\r\nExpect: " + secret + "\r\n\r\n", "unknown Expect header"},
		"second request":        {false, request + "POST /" + secret + "\r\n\r\n", "a malformed HTTP request"},
		"malformed HTTP/2":      {false, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x05\x01\x05\x00\x00\x00\x02" + secret[:5], "malformed HTTP/2"},
		"reset HTTP/2":          {false, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + "\x00\x00\x00\x01\x05\x00\x00\x00\x01", "malformed HTTP/2"},
		"HTTP to TLS":           {true, "POST /" + secret + " HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP without TLS|https://"},
		"HTTP/2 to TLS":         {true, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 without TLS|https://"},
		"PROXY to TLS":          {true, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "the PROXY protocol, version 2|RELAY_PROXY_PROTOCOL=true"},
		"junk to TLS":           {true, secret + "\r\n\r\n", "no TLS"},
		"malformed hello":       {true, "\x16\x03\x01\x00\x04\x01\x00\x00\x00", "a failed TLS handshake|tls: "},
		"PROXY, a few bytes on": {false, "PROXY TCP4 192.0.2.1", "the PROXY protocol, version 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var config *tls.Config
			if test.tls {
				config = selfSigned()
			}
			r := start(t, config, func(r *running) { r.headerTimeout = whole / 20 }).serve()
			c := r.dial()
			c.send(test.text)
			words := strings.Split(test.words, "|")
			if name == "reset HTTP/2" {
				r.wantRefused(nil, words...) // that library does not tell whose it was
			} else {
				r.wantRefused(c, words...)
			}
			if name == "malformed HTTP/2" {
				_, _ = io.Copy(io.Discard, c) // that library closes a while after it has refused
			}
			_ = c.Close()
			r.close()
			if n := len(r.refused); n > 0 || strings.Contains(r.log.String(), secret) {
				t.Errorf("%d refusals more: %s", n, r.log)
			}
		})
	}
}

// Inside TLS a refusal is seen, though not which.
func TestRefusalsInsideTLS(t *testing.T) {
	t.Parallel()
	r := start(t, selfSigned()).serve()
	for _, text := range []string{"POST /" + secret + "\r\n\r\n", request + "POST / HTTP/1.1\r\n: b\r\n\r\n"} {
		plain := r.dial()
		c := tls.Client(plain, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, c)
		r.wantRefused(plain, "a malformed HTTP request, or headers over 8192 bytes")
	}
	// Whose certificate is not trusted breaks the handshake off.
	plain := r.dial()
	if err := tls.Client(plain, &tls.Config{ServerName: "example.com"}).Handshake(); err == nil {
		t.Fatal("the certificate is trusted")
	}
	r.wantRefused(plain, "a failed TLS handshake", "remote error: tls: ")
	r.close()
}

// Probes that only connect, whoever hangs up in the middle, and good requests are no
// errors.
func TestHangingUpIsNoRefusal(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]*tls.Config{"http": nil, "https": selfSigned()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, config, trusting(true)).serve()
			dial := func() net.Conn {
				if config == nil {
					return r.dial()
				}
				c := tls.Client(r.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
				if err := c.Handshake(); err != nil {
					t.Fatal(err)
				}
				return c
			}
			_ = r.dial().Close()
			if config != nil {
				half := r.dial()
				half.send("\x16\x03\x01")
				_ = half.CloseWrite()
				_, _ = io.Copy(io.Discard, half)
			}
			for _, text := range []string{"", "P", "POST / HT", "POST / HTTP/1.1\r\nHost: h\r\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab", request, request + request, request + "POST"} {
				c := dial()
				if _, err := io.WriteString(c, text); err != nil {
					t.Fatal(err)
				}
				if config == nil { // so that the end is seen, and not a reset
					_ = c.(*client).CloseWrite()
					_, _ = io.Copy(io.Discard, c)
				}
				_ = c.Close()
			}
			h2, done := http2Client()
			for range 3 {
				resp, err := h2.Get(name + "://" + r.addr)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
			}
			done()
			r.stop()()
			if n := len(r.refused); n > 0 {
				t.Errorf("%d refusals: %s", n, r.log)
			}
		})
	}
}

// CloseWrite ends what the client sends.
func (c *client) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// However many are refused, few lines say so, and how many others there were.
func TestRefusalsDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	const n = 50
	r := start(t, nil).serve()
	for range n {
		c := r.dial()
		c.send("\r\n\r\n\r\nnothing\r\n")
		resp, err := http.ReadResponse(c.reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		_ = c.Close()
	}
	for range n {
		<-r.refused
	}
	r.close()
	if lines := strings.Count(r.log.String(), "\n"); lines != 3 {
		t.Errorf("%d lines about %d refusals: %s", lines, n, r.log)
	}
}
