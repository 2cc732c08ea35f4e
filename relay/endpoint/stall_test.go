package endpoint_test

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stallingListener accepts connections of which one read stands still until its deadline is over,
// as all of a process does that gets no CPU.
type stallingListener struct {
	net.Listener
	at int // the read, from 1 on
}

func (l stallingListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &stallingConn{TCPConn: accepted.(*net.TCPConn), at: l.at}, nil
}

type stallingConn struct {
	*net.TCPConn
	at, reads int

	mu       sync.Mutex
	deadline time.Time
}

func (c *stallingConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.TCPConn.SetReadDeadline(t)
}

func (c *stallingConn) Read(b []byte) (int, error) {
	if c.reads++; c.reads == c.at {
		c.mu.Lock()
		deadline := c.deadline
		c.mu.Unlock()
		time.Sleep(time.Until(deadline) + time.Millisecond)
	}
	return c.TCPConn.Read(b)
}

// A request that has come in time is answered, however late the server reads it; one that has
// come in part is not.
func TestServerStandsStill(t *testing.T) {
	t.Parallel()
	const body = 100_000
	request := fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", body, strings.Repeat("x", body))
	for _, test := range []struct {
		name   string
		at     int // the read
		sent   string
		status int
		body   string // how much of it the handler has got
	}{
		{"first bytes", 1, request, http.StatusOK, strconv.Itoa(body)},
		// The library has looked for the beginning of HTTP/2 in the first read.
		{"head", 2, request, http.StatusOK, strconv.Itoa(body)},
		{"body", 3, request, http.StatusOK, strconv.Itoa(body)},
		{"part of a head", 3, request[:30], http.StatusBadRequest, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, nil, func(r *running) {
				r.headerTimeout, r.readTimeout = whole/5, whole/5
				r.wrap = func(l net.Listener) net.Listener { return stallingListener{l, test.at} }
			}).serve()
			defer r.close()
			c := r.dial()
			c.send(test.sent)
			answer, err := http.ReadResponse(c.reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if got := answer.Header.Get("X-Body"); answer.StatusCode != test.status || got != test.body {
				t.Errorf("%s with a body of %q, want %d with %q", answer.Status, got, test.status, test.body)
			}
		})
	}
}
