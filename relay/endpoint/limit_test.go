package endpoint

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// crowded is a server that takes two connections at once.
func crowded(t *testing.T) (addr string, of *listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	})}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	s := New(Settings{HTTP: server, Listener: l, Timeout: time.Second, Announce: func() {}})
	s.listener.most = func() int { return 2 }
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

// rest waits until none of the connections has a request on it.
func (l *listener) rest(t *testing.T) {
	t.Helper()
	if err := wait(t.Context(), func() bool { return l.settled(0) }); err != nil {
		t.Fatal(err)
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func ask(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
}

func answered(t *testing.T, c net.Conn) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

// Who does nothing makes way, the longest idle first.
func TestIdleConnectionsMakeWay(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("nobody can tell there whether somebody waits")
	}
	t.Parallel()
	addr, l := crowded(t)
	first := dial(t, addr)
	ask(t, first)
	answered(t, first)
	l.rest(t) // which is after the answer has come
	second := dial(t, addr)
	ask(t, second)
	answered(t, second)
	l.rest(t)
	third := dial(t, addr)
	ask(t, third)
	answered(t, third)
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the first one was not closed")
	}
	ask(t, second)
	answered(t, second)
}

// One of HTTP/2 on which no request is going on makes way too, or nobody's idle
// connections would keep others out.
func TestIdleHTTP2MakesWay(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("nobody can tell there whether somebody waits")
	}
	t.Parallel()
	addr, _ := crowded(t)
	ended := make(chan error, 2)
	for range 2 {
		c := dial(t, addr)
		if _, err := io.WriteString(c, preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := io.Copy(io.Discard, c)
			ended <- err
		}()
	}
	third := dial(t, addr)
	ask(t, third)
	answered(t, third)
	if err := <-ended; err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

// Who is in the middle of a request is not closed: new ones wait for its end.
func TestBusyConnectionsAreWaitedFor(t *testing.T) {
	t.Parallel()
	addr, _ := crowded(t)
	var busy []net.Conn
	for range 2 {
		c := dial(t, addr)
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n"); err != nil {
			t.Fatal(err)
		}
		busy = append(busy, c)
	}
	third := dial(t, addr)
	ask(t, third)
	_ = third.SetReadDeadline(time.Now().Add(2 * idleEnough))
	if n, err := third.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Fatal("a third one was answered")
	}
	_ = third.SetReadDeadline(time.Time{})
	if _, err := io.WriteString(busy[0], "Host: h\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answered(t, busy[0])
	answered(t, third)
}

func TestDescriptorsAreReserved(t *testing.T) {
	t.Parallel()
	if n := mostConnections(); n < 1 {
		t.Errorf("%d connections are allowed", n)
	}
}
