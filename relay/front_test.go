package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startLogged is a relay whose log can be read.
func startLogged(t *testing.T, environ []string) (*relay.Relay, *lines) {
	t.Helper()
	log := &lines{}
	r, err := relay.Start(t.Context(), load(t, environ), "test", slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r) })
	return r, log
}

// exchange writes on a connection of its own, and tells the status that comes.
func exchange(t *testing.T, r *relay.Relay, text string) int {
	t.Helper()
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

func requestOf(body string, headers ...string) string {
	return "POST /webhook/apixo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + strings.Join(append(headers, ""), "\r\n") + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

// The address in a PROXY protocol header is the peer's, for whatever that decides.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	r, log := startLogged(t, environ(t, "RELAY_PROXY_PROTOCOL=true", "RELAY_TRUSTED_PROXIES=127.0.0.1,10.0.0.0/8", "RELAY_ALLOWED_CIDRS=203.0.113.0/24"))
	for i, test := range []struct {
		header, forwarded string
		status            int
		sender            string
	}{
		{"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n", "", 200, "203.0.113.7"},
		{"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n", "", 403, "192.0.2.1"},
		{"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n", "203.0.113.7", 403, "192.0.2.1"}, // it is no proxy
		{"PROXY TCP4 10.0.0.1 198.51.100.1 4711 443\r\n", "203.0.113.8", 200, "203.0.113.8"},
		{"PROXY UNKNOWN\r\n", "", 403, "127.0.0.1"},
		{"", "203.0.113.9", 200, "203.0.113.9"},
		{"", "", 403, "127.0.0.1"},
	} {
		var headers []string
		if test.forwarded != "" {
			headers = []string{"X-Forwarded-For: " + test.forwarded}
		}
		before := strings.Count(log.String(), "msg=webhook")
		if got := exchange(t, r, test.header+requestOf(webhook(fmt.Sprintf("task_%d", i)), headers...)); got != test.status {
			t.Errorf("%q, %q: answered %d, want %d", test.header, test.forwarded, got, test.status)
		}
		eventually(t, func() bool { return strings.Count(log.String(), "msg=webhook") > before })
		text := strings.TrimSpace(log.String())
		if last := text[strings.LastIndex(text, "\n")+1:]; !strings.Contains(last, "sender="+test.sender+"\n") && !strings.HasSuffix(last, "sender="+test.sender) {
			t.Errorf("%q: logged %s", test.header, last)
		}
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatal("it does not come to that")
		case <-ticker.C:
		}
	}
}

// What was refused before it was a request is counted, and in the log by its name.
func TestHTTPErrorsAreCounted(t *testing.T) {
	t.Parallel()
	r, log := startLogged(t, environ(t))
	if got := exchange(t, r, "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"+requestOf(webhook("task_1"))); got != http.StatusBadRequest {
		t.Errorf("answered %d", got)
	}
	eventually(t, func() bool { return strings.Contains(scrape(t, r), "apixo_relay_http_errors_total 1\n") })
	eventually(t, func() bool { return strings.Contains(log.String(), "the PROXY protocol, version 1") })
}

// HTTP/2 is taken on the plain port from whoever begins with it.
func TestHTTP2WithoutTLS(t *testing.T) {
	t.Parallel()
	r := start(t, environ(t))
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Post("http://"+r.Addr()+"/webhook/apixo", "application/json", strings.NewReader(webhook("task_1")))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Errorf("answered %s by %s", resp.Status, resp.Proto)
	}
}

// An idle connection is closed when its time is over, in both versions of HTTP, and
// not before.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	const idle = time.Second
	r := start(t, environ(t, "RELAY_IDLE_TIMEOUT="+idle.String()))
	for name, begin := range map[string]string{
		"HTTP/1.1": strings.Replace(requestOf(""), "Connection: close\r\n", "", 1), "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", r.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			before := time.Now()
			if _, err := io.WriteString(conn, begin); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Fatal(err)
			}
			// Without its own limit it would be closed after that for reading a request.
			if took := time.Since(before); took < idle || took >= 10*time.Second {
				t.Errorf("it was closed after %s", took)
			}
		})
	}
}
