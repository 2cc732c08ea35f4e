package endpoint

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/testcert"
)

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

		changes []func(*Settings)
	}{
		"silence":                     {},
		"half of a head":              {does: "POST " + wanted + " HTTP/1.1\r\nHost: h\r\n"},
		"no body, unwanted":           {does: "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"},
		"refused":                     {does: unwanted, status: http.StatusUnauthorized},
		"served":                      {does: good, status: http.StatusOK},
		"HTTP/2 and no request":       {does: preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		"an answer that nobody reads": {does: "GET " + large + " HTTP/1.1\r\nHost: h\r\n\r\n"},
		"half of a preface":           {does: preface[:10]},
		"no body, equal":              {does: "POST " + unread + " HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n", changes: []func(*Settings){equal}},
		"silence of a proxy":          {changes: []func(*Settings){behindProxies}},
		"half of a PROXY header":      {does: "PROXY TCP4 ", changes: []func(*Settings){behindProxies}},
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
			addr, l := crowded(t, c, test.changes...)
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
				closed(t, useless...) // which of them, depends on when each was looked at
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
			addr, l := crowded(t, nil)
			served := dial(t, addr)
			exchange(t, served)
			l.rest(t)
			<-time.After(idleTime / 4) // so that it is the one that has been idle for longer
			useless := dial(t, addr)
			send(t, useless, does)
			if err := wait(t.Context(), func() bool { return l.hasSlot() == 0 }); err != nil {
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
		asks    string
		changes []func(*Settings)
	}{"refused": {unwanted, nil}, "equal": {good, []func(*Settings){equal}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, _ := crowded(t, nil, test.changes...)
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
	addr, _ := crowded(t, nil)
	for range 400 { // each for its second, that would be 200 s
		dial(t, addr)
	}
	exchange(t, dial(t, addr))
}

// Nor does it to send a little now and then.
func TestTricklingKeepsNoPlace(t *testing.T) {
	onLinux(t)
	addr, _ := crowded(t, nil)
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
			addr, l := crowded(t, nil)
			var busy []net.Conn
			for range places {
				c := dial(t, addr)
				send(t, c, "POST "+path+" HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na")
				busy = append(busy, c)
			}
			third := dial(t, addr)
			send(t, third, good)
			_ = third.SetReadDeadline(time.Now().Add(3 * idleTime))
			if n, err := third.Read(make([]byte, 1)); n > 0 || !isTimeout(err) {
				t.Fatalf("a third one was answered, or ended: %v", err)
			}
			if l.hasSlot() != 0 {
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
	addr, l := crowded(t, nil)
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
	_ = third.SetReadDeadline(time.Now().Add(3 * idleTime))
	if n, err := third.Read(make([]byte, 1)); n > 0 || !isTimeout(err) {
		t.Fatalf("a third one was answered, or ended: %v", err)
	}
	if l.hasSlot() != 0 {
		t.Fatal("one has made way")
	}
	_ = third.SetReadDeadline(time.Now().Add(enough))
	_ = more.Close()
	if got := <-status; got != http.StatusOK {
		t.Errorf("the answer is %d", got)
	}
	answered(t, third, http.StatusOK)
}

// The end does not wait for who was refused and goes on with the body.
func TestRefusedAreNotWaitedForAtTheEnd(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Settings{
		HTTP:     &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })},
		Listener: l, MaxConns: func() int { return places }, Timeout: time.Second, OnShutdown: func() {},
	})
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	c := dial(t, l.Addr().String())
	send(t, c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n")
	refused := func() bool {
		s.listener.mu.Lock()
		defer s.listener.mu.Unlock()
		for c := range s.listener.conns {
			return c.isRefused()
		}
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	if err := wait(ctx, refused); err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
