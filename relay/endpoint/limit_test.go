package endpoint

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/internal/testcert"
)

// places is how many connections a crowded server takes at once.
const places = 2

// Paths at which a crowded server answers 200: once it has read the body, without
// looking at it, or with more than fits into what there is between it and its peer.
// Elsewhere it answers 401, and reads nothing.
const wanted, unread, large = "/wanted", "/unread", "/large"

func crowded(t *testing.T, config *tls.Config, equal bool) (addr string, of *listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Protocols: new(http.Protocols), TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
	s := New(Settings{HTTP: server, Listener: l, Most: func() int { return places }, Equal: equal, Timeout: time.Second, Announce: func() {}})
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
const enough = 30 * time.Second

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
	if err := wait(t.Context(), func() bool { return l.settled(0) }); err != nil {
		t.Fatal(err)
	}
}

// closed waits until the other end has closed a connection.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); err != nil && isTimeout(err) {
		t.Error("it was not closed")
	}
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

// Whoever does nothing, or half of something, or nothing that is wanted, makes way.
func TestUselessConnectionsMakeWay(t *testing.T) {
	onLinux(t)
	certificate, err := tls.LoadX509KeyPair(testcert.Files(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	for name, test := range map[string]struct {
		tls    bool
		does   string
		status int // of the answer to that, if there is one
	}{
		"silence":                     {},
		"half of a head":              {does: "POST " + wanted + " HTTP/1.1\r\nHost: h\r\n"},
		"no body, unwanted":           {does: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"},
		"refused":                     {does: unwanted, status: http.StatusUnauthorized},
		"served":                      {does: good, status: http.StatusOK},
		"HTTP/2 and no request":       {does: preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		"an answer that nobody reads": {does: "GET " + large + " HTTP/1.1\r\nHost: h\r\n\r\n"},
		"half of a preface":           {does: preface[:10]},
		"silence before TLS":          {tls: true},
		"half of a ClientHello":       {tls: true, does: hello()[:50]},
		"an unanswered ClientHello":   {tls: true, does: hello()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c *tls.Config
			if test.tls {
				c = config
			}
			addr, l := crowded(t, c, false)
			var useless []net.Conn
			for range places {
				c := dial(t, addr)
				send(t, c, test.does)
				if test.status != 0 {
					answered(t, c, test.status)
					l.rest(t) // which is after the answer has come
				}
				useless = append(useless, c)
			}
			next := dial(t, addr)
			if test.tls {
				next = tls.Client(next, &tls.Config{InsecureSkipVerify: true})
			}
			exchange(t, next)
			if !strings.Contains(test.does, large) {
				closed(t, useless[0])
			}
		})
	}
}

// Of those that are of no use, first those make way that never were.
func TestServedConnectionsMakeWayLast(t *testing.T) {
	onLinux(t)
	for name, does := range map[string]string{"silent": "", "refused": unwanted} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, l := crowded(t, nil, false)
			served := dial(t, addr)
			exchange(t, served)
			l.rest(t)
			<-time.After(patience / 4) // so that it is the one that has been idle for longer
			useless := dial(t, addr)
			send(t, useless, does)
			if err := wait(t.Context(), func() bool { return l.free() == 0 }); err != nil {
				t.Fatal(err)
			}
			exchange(t, dial(t, addr))
			closed(t, useless)
			exchange(t, served)
		})
	}
}

// To go on asking keeps no place where that is refused, or where everybody is answered.
func TestAskingKeepsNoPlace(t *testing.T) {
	onLinux(t)
	for name, test := range map[string]struct {
		asks  string
		equal bool
	}{"refused": {unwanted, false}, "equal": {good, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, _ := crowded(t, nil, test.equal)
			var asking sync.WaitGroup
			defer asking.Wait()
			for range places {
				c := dial(t, addr)
				from := bufio.NewReader(c)
				ask := func() error {
					if _, err := io.WriteString(c, test.asks); err != nil {
						return err
					}
					resp, err := http.ReadResponse(from, nil)
					if err != nil {
						return err
					}
					_, err = io.Copy(io.Discard, resp.Body)
					return err
				}
				if err := ask(); err != nil {
					t.Fatal(err)
				}
				asking.Go(func() {
					for ask() == nil {
					}
				})
			}
			for range places {
				exchange(t, dial(t, addr))
			}
		})
	}
}

// However many wait in front, the turn comes: a place is kept for the shorter the
// more there are.
func TestManyWaitNotLong(t *testing.T) {
	onLinux(t)
	addr, _ := crowded(t, nil, false)
	for range 400 { // each for its second, that would be 200 s
		dial(t, addr)
	}
	exchange(t, dial(t, addr))
}

// Nor does it to send a little now and then.
func TestTricklingKeepsNoPlace(t *testing.T) {
	onLinux(t)
	addr, _ := crowded(t, nil, false)
	var trickling sync.WaitGroup
	defer trickling.Wait()
	for range places {
		c := dial(t, addr)
		defer c.Close()
		send(t, c, "POST "+wanted+" HTTP/1.1\r\nX: ")
		trickling.Go(func() {
			for end := time.Now().Add(enough); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
				if _, err := io.WriteString(c, "x"); err != nil {
					return
				}
			}
		})
	}
	exchange(t, dial(t, addr))
}

// Who is in the middle of a request that is wanted is not closed, however long that
// takes: new ones wait for its end.
func TestWantedRequestsAreWaitedFor(t *testing.T) {
	onLinux(t)
	for _, path := range []string{wanted, unread} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			addr, l := crowded(t, nil, false)
			var busy []net.Conn
			for range places {
				c := dial(t, addr)
				send(t, c, "POST "+path+" HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na")
				busy = append(busy, c)
			}
			third := dial(t, addr)
			send(t, third, good)
			_ = third.SetReadDeadline(time.Now().Add(3 * patience))
			if n, err := third.Read(make([]byte, 1)); n > 0 || !isTimeout(err) {
				t.Fatalf("a third one was answered, or ended: %v", err)
			}
			if l.free() != 0 {
				t.Fatal("one has made way")
			}
			_ = third.SetReadDeadline(time.Now().Add(enough))
			for _, c := range busy {
				send(t, c, "b")
				answered(t, c, http.StatusOK)
			}
			answered(t, third, http.StatusOK)
		})
	}
}

// So it is in HTTP/2, where something comes and is written besides.
func TestWantedHTTP2IsWaitedFor(t *testing.T) {
	onLinux(t)
	addr, l := crowded(t, nil, false)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	first := dial(t, addr) // so that only one place is left
	send(t, first, "POST "+wanted+" HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na")
	body, more := io.Pipe()
	status := make(chan int, 1)
	go func() {
		resp, err := (&http.Client{Transport: transport}).Post("http://"+addr+wanted, "", body)
		if err != nil {
			status <- 0
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		status <- resp.StatusCode
	}()
	if _, err := io.WriteString(more, "a"); err != nil {
		t.Fatal(err)
	}
	third := dial(t, addr)
	send(t, third, good)
	_ = third.SetReadDeadline(time.Now().Add(3 * patience))
	if n, err := third.Read(make([]byte, 1)); n > 0 || !isTimeout(err) {
		t.Fatalf("a third one was answered, or ended: %v", err)
	}
	if l.free() != 0 {
		t.Fatal("one has made way")
	}
	_ = third.SetReadDeadline(time.Now().Add(enough))
	_ = more.Close()
	if got := <-status; got != http.StatusOK {
		t.Errorf("the answer is %d", got)
	}
	answered(t, third, http.StatusOK)
}
