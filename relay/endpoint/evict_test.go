package endpoint

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// places is how many connections a crowded server takes at once.
const places = 2

// Paths at which a crowded server answers 200: once it has read the body, without
// looking at it, or with more than fits into what there is between it and its peer.
// Elsewhere it answers 401, and reads nothing.
const wanted, unread, large = "/wanted", "/unread", "/large"

func crowded(t *testing.T, config *tls.Config, changes ...func(*Settings)) (addr string, of *listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Protocols: new(http.Protocols), TLSConfig: config.Clone(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case wanted:
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "hello")
		case unread:
			_, _ = io.WriteString(w, "hello")
		case large:
			_, _ = io.WriteString(w, strings.Repeat("x", 32<<20))
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	})}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(config == nil)
	settings := Settings{HTTP: server, Listener: l, MaxConns: func() int { return places }, Timeout: time.Second, OnShutdown: func() {}}
	for _, change := range changes {
		change(&settings)
	}
	s := New(settings)
	ended := make(chan error)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return l.Addr().String(), s.listener
}

// onLinux skips a test elsewhere: nobody can tell there whether somebody waits.
func onLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("nobody can tell here whether somebody waits")
	}
	t.Parallel()
}

// enough bounds the wait for what comes at once, and on a busy machine later.
const enough = 2 * time.Minute

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(enough))
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

const good, unwanted = "GET " + wanted + " HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"

func answered(t *testing.T, c net.Conn, status int) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != status {
		t.Fatalf("the answer is %s", resp.Status)
	}
}

// exchange asks for what is wanted, and gets it.
func exchange(t *testing.T, c net.Conn) {
	t.Helper()
	send(t, c, good)
	answered(t, c, http.StatusOK)
}

// rest waits until none of the connections has a request on it.
func (l *listener) rest(t *testing.T) {
	t.Helper()
	if err := wait(t.Context(), func() bool { return l.allIdle(0) }); err != nil {
		t.Fatal(err)
	}
}

// closed waits until one of the connections is closed.
func closed(t *testing.T, conns ...net.Conn) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		for _, c := range conns {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			if _, err := io.Copy(io.Discard, c); err == nil || !isTimeout(err) {
				return
			}
		}
	}
	t.Error("none was closed")
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// hello is the beginning of a TLS handshake, as a client sends it.
var hello = sync.OnceValue(func() string {
	ours, theirs := net.Pipe()
	go func() { _ = tls.Client(theirs, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
	buf := make([]byte, 4096)
	n, _ := ours.Read(buf)
	_ = ours.Close()
	return string(buf[:n])
})

func equal(s *Settings) { s.AnyClient = true }

// behindProxies has each peer be a proxy that may send a header of the PROXY protocol.
func behindProxies(s *Settings) { s.IsProxy = func(netip.Addr) bool { return true } }
