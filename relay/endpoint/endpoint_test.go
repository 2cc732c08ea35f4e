package endpoint_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/endpoint"
	"github.com/apixo-relay/apixo-relay/relay/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const whole = 10 * time.Second

// running is a server whose handler does as package endpoint asks. It has not begun
// to serve yet.
type running struct {
	*testing.T
	*endpoint.Server
	addr    string
	began   chan struct{} // closed with the beginning of the end
	ended   chan error
	refused chan struct{} // one for each refusal
	log     *lines
	proxies func(netip.Addr) bool

	headerTimeout, readTimeout time.Duration
	wrap                       func(net.Listener) net.Listener // nil, or what stands between it and the server
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start makes a server that speaks TLS if there is a config, and else HTTP/2 without.
func start(t *testing.T, config *tls.Config, changes ...func(*running)) *running {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &running{T: t, addr: l.Addr().String(), began: make(chan struct{}), ended: make(chan error, 1), refused: make(chan struct{}, 100), log: &lines{}, headerTimeout: whole / 2}
	for _, change := range changes {
		change(r)
	}
	if r.wrap != nil {
		l = r.wrap(l)
	}
	var draining atomic.Bool
	handler := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		if draining.Load() {
			w.Header().Set("Connection", "close")
		}
		w.Header().Set("X-Peer", req.RemoteAddr)
		w.Header().Set("X-Body", strconv.FormatInt(n, 10))
		_, _ = io.WriteString(w, "hello")
	})
	server := &http.Server{
		Handler: handler, TLSConfig: config.Clone(), ReadHeaderTimeout: r.headerTimeout, ReadTimeout: r.readTimeout, MaxHeaderBytes: 4 << 10,
		Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(config == nil)
	r.Server = endpoint.New(endpoint.Settings{
		HTTP: server, Listener: l, MaxConns: func() int { return 1000 }, Timeout: whole,
		OnShutdown: func() {
			if !draining.Swap(true) {
				close(r.began)
			}
		},
		IsProxy: r.proxies, OnRefused: func() { r.refused <- struct{}{} },
		Log: slog.New(slog.NewTextHandler(r.log, nil)),
	})
	return r
}

func (r *running) serve() *running {
	go func() { r.ended <- r.Serve() }()
	return r
}

// stop begins the end, and returns what waits for it: how long it took.
func (r *running) stop() (wait func() time.Duration) {
	start, done := time.Now(), make(chan error)
	go func() { done <- r.Shutdown(context.Background()) }()
	<-r.began
	return func() time.Duration {
		r.Helper()
		if err := <-done; err != nil {
			r.Error(err)
		}
		if err := <-r.ended; err != nil {
			r.Errorf("Serve returned %v", err)
		}
		return time.Since(start)
	}
}

// close ends it at once.
func (r *running) close() {
	r.Helper()
	if err := r.Close(); err != nil {
		r.Error(err)
	}
	if err := <-r.ended; err != nil {
		r.Errorf("Serve returned %v", err)
	}
}

// client is one connection.
type client struct {
	*testing.T
	net.Conn
	reader *bufio.Reader
}

func (r *running) dial() *client {
	r.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = conn.Close() })
	return &client{r.T, conn, bufio.NewReader(conn)}
}

const request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"

func (c *client) send(text string) {
	c.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.Fatal(err)
	}
}

// answered wants an answer, and it to be the last one or not.
func (c *client) answered(last bool) {
	c.Helper()
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		c.Fatalf("no answer: %v", err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Close != last {
		c.Errorf("an answer with Close %v, %v", resp.Close, err)
	}
	_ = resp.Body.Close()
}

// A server on which nothing has come for a while is gone at once, with whoever
// is connected.
func TestQuietServerEndsAtOnce(t *testing.T) {
	t.Parallel()
	r := start(t, nil).serve()
	kept, unused := r.dial(), r.dial()
	kept.send(request)
	kept.answered(false)
	time.Sleep(whole/10 + 100*time.Millisecond) // what it takes for quiet
	if took := r.stop()(); took > whole/10 {
		t.Errorf("it took %s", took)
	}
	for _, c := range []*client{kept, unused} {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the connection ended with %v", err)
		}
	}
	if _, err := net.Dial("tcp", r.addr); err == nil {
		t.Error("it still listens")
	}
}

// Connections that are there, and ones to come, are closed with an answer.
func TestEachConnectionIsClosedWithAnAnswer(t *testing.T) {
	t.Parallel()
	r := start(t, nil).serve()
	kept, unused, half := r.dial(), r.dial(), r.dial()
	kept.send(request)
	kept.answered(false)
	half.send(request[:20])
	wait := r.stop()
	kept.send(request)
	kept.answered(true)
	unused.send(request)
	unused.answered(true)
	time.Sleep(whole/10 + 500*time.Millisecond) // all others have gone
	half.send(request[20:])
	half.answered(true)
	if took := wait(); took > whole/2 {
		t.Errorf("it took %s", took)
	}
}

// While new connections keep coming they are taken for a while, and then refused.
func TestNewConnectionsAreTakenForAWhile(t *testing.T) {
	t.Parallel()
	r := start(t, nil).serve()
	first := r.dial()
	first.send(request)
	first.answered(false)
	begin, wait := time.Now(), r.stop()
	n := 0
	for {
		conn, err := net.DialTimeout("tcp", r.addr, 500*time.Millisecond)
		if err != nil {
			break
		}
		c := &client{t, conn, bufio.NewReader(conn)}
		c.send(request)
		c.answered(true)
		_ = conn.Close()
		n++
	}
	if took := time.Since(begin); n < 100 || took < whole/5 {
		t.Errorf("%d connections were taken within %s", n, took)
	}
	if took := wait(); took > whole/2 {
		t.Errorf("it took %s", took)
	}
}

// What the kernel has connected and nobody has accepted yet is answered.
func TestConnectionsThatWaitAreAnswered(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	var waiting []*client
	for range 20 {
		c := r.dial()
		c.send(request)
		waiting = append(waiting, c)
	}
	wait := r.stop()
	time.Sleep(100 * time.Millisecond) // for Shutdown, which would close the listener
	r.serve()
	for _, c := range waiting {
		c.answered(true)
	}
	wait()
}

// In HTTP/2 too each request has its answer.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	for scheme, config := range map[string]*tls.Config{"http": nil, "https": selfSigned()} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			r := start(t, config).serve()
			c, done := http2Client()
			defer done()
			post := func() error {
				resp, err := c.Post(scheme+"://"+r.addr, "", nil)
				if err != nil {
					return err
				}
				_ = resp.Body.Close()
				if resp.ProtoMajor != 2 {
					return fmt.Errorf("by %s", resp.Proto)
				}
				return nil
			}
			if err := post(); err != nil {
				t.Fatal(err)
			}
			wait := r.stop()
			for range 5 { // each on a connection of its own, while new ones are taken
				if err := post(); err != nil {
					t.Fatal(err)
				}
			}
			if took := wait(); took > whole/2 {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// selfSigned is a certificate for a server.
func selfSigned() *tls.Config {
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	defer certificate.Close()
	return &tls.Config{Certificates: certificate.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
}

// http2Client speaks nothing but HTTP/2, with TLS or without.
func http2Client() (c *http.Client, done func()) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP2(true)
	transport.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: transport}, transport.CloseIdleConnections
}

// A request that never comes whole does not keep the server for longer than it
// may take.
func TestShutdownIsBounded(t *testing.T) {
	t.Parallel()
	r := start(t, nil).serve()
	r.dial().send(request[:20])
	ctx, cancel := context.WithTimeout(t.Context(), whole/5)
	defer cancel()
	if err := r.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("Shutdown returned %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}
