package receiver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/receiver"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

// Types and flags of frames (RFC 9113, section 6).
const (
	frameData, frameHeaders, frameReset, frameSettings, frameWindow, frameContinuation = 0, 1, 3, 4, 8, 9
	endStream, endHeaders                                                              = 1, 4
)

// http2Conn is a connection on which a test writes the frames itself.
type http2Conn struct{ *tls.Conn }

// dialHTTP2 connects and says hello.
func dialHTTP2(t *testing.T, addr string, trusted *authority) http2Conn {
	t.Helper()
	c := helloTLS(t, addr, trusted)
	c.write(t, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, nil))
	return c
}

// helloTLS only agrees to speak HTTP/2, and takes little ahead of being asked to read.
func helloTLS(t *testing.T, addr string, trusted *authority) http2Conn {
	t.Helper()
	tcp, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	if err := errors.Join(tcp.(*net.TCPConn).SetReadBuffer(4<<10), tcp.SetDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	return http2Conn{tls.Client(tcp, &tls.Config{RootCAs: trusted.pool(), ServerName: "127.0.0.1", NextProtos: []string{"h2"}})}
}

func (c http2Conn) write(t *testing.T, parts ...[]byte) {
	t.Helper()
	if _, err := c.Write(bytes.Join(parts, nil)); err != nil {
		t.Fatal(err)
	}
}

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	f = binary.BigEndian.AppendUint32(append(f, flags), stream)
	return append(f, payload...)
}

// fields encodes header fields as they are (RFC 7541, section 6.2.2).
func fields(namesAndValues ...string) (block []byte) {
	for i, text := range namesAndValues {
		if i%2 == 0 {
			block = append(block, 0)
		}
		// A length of 127 and more goes on in groups of seven bits.
		if n := len(text); n < 127 {
			block = append(block, byte(n))
		} else {
			block = binary.AppendUvarint(append(block, 127), uint64(n-127))
		}
		block = append(block, text...)
	}
	return block
}

func postFields(path string, more ...string) []byte {
	return fields(append([]string{":method", "POST", ":scheme", "https", ":authority", "localhost", ":path", path}, more...)...)
}

// ended waits until the server has answered on a stream, or has reset it, and
// tells which. An error means that it has closed the connection instead.
func (c http2Conn) ended(stream uint32) (reset bool, err error) {
	head := make([]byte, 9)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return false, err
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head)>>8)); err != nil {
			return false, err
		}
		kind, flags := head[3], head[4]
		switch {
		case binary.BigEndian.Uint32(head[5:]) != stream:
		case kind == frameReset:
			return true, nil
		case (kind == frameHeaders || kind == frameData) && flags&endStream != 0:
			return false, nil
		}
	}
}

// serveTLS serves the relay's receiver by a second server, over TLS, which the
// test may change, and tells when connections end.
func (r *relay) serveTLS(t *testing.T, change func(*http.Server)) (ca *authority, addr string, ended <-chan struct{}) {
	t.Helper()
	ca, f := newAuthority(t), newFiles(t)
	f.issue(t, ca, 1)
	loaded, err := receiver.LoadTLS(config.Webhooks{TLSCertFile: f.cert, TLSKeyFile: f.key})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{}, 1024)
	server := r.receiver.Server(loaded.Config())
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			// Or the system would take megabytes before anything has to wait.
			_ = conn.(*tls.Conn).NetConn().(*net.TCPConn).SetWriteBuffer(4 << 10)
		case http.StateClosed:
			closed <- struct{}{}
		}
	}
	change(server)
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), ignoreClosed(<-served)); err != nil {
			t.Error(err)
		}
	})
	return ca, listener.Addr().String(), closed
}

// always stores everything at the same place.
func always(context.Context, event.Message) (store.Receipt, error) {
	return store.Receipt{Stream: "APIXO", Sequence: 1}, nil
}

// Whoever says that it takes nothing is not waited for either.
func TestHTTP2SenderWithoutWindow(t *testing.T) {
	t.Parallel()
	r := startWith(t, storeFunc(always), tokenEnv)
	ca, addr, _ := r.serveTLS(t, func(server *http.Server) { server.WriteTimeout = time.Second })
	c := dialHTTP2(t, addr, ca)
	c.write(t, frame(frameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0})) // an initial window of nothing
	c.write(t, frame(frameHeaders, endStream|endHeaders, 1, postFields(webhookPath)))
	if _, err := c.ended(1); err != nil {
		t.Fatal(err)
	}
	if line := r.log.webhook(t, 1); line["problem"] != "unauthorized" {
		t.Errorf("logged %v", line)
	}
}

// Slow streams end, and the others on the connection go on.
func TestHTTP2SlowBody(t *testing.T) {
	t.Parallel()
	r := startWith(t, storeFunc(always), tokenEnv, "RELAY_PUBLISH_TIMEOUT=2s")
	ca, addr, _ := r.serveTLS(t, func(*http.Server) {})
	c := dialHTTP2(t, addr, ca)
	c.write(t, frame(frameHeaders, endHeaders, 1, postFields(goodPath, "content-length", "1000")), frame(frameData, 0, 1, []byte("{")))
	if _, err := c.ended(1); err != nil {
		t.Fatal(err)
	}
	if line := r.log.webhook(t, 1); line["problem"] != "body-too-slow" {
		t.Errorf("logged %v", line)
	}
	body := success("task_1")
	c.write(t, frame(frameHeaders, endHeaders, 3, postFields(goodPath, "content-length", fmt.Sprint(len(body)))), frame(frameData, endStream, 3, []byte(body)))
	if line := r.log.webhook(t, 2); line["outcome"] != "published" {
		t.Errorf("logged %v", line)
	}
}

// A block of headers that never ends keeps a connection no longer than an idle one.
func TestHTTP2SlowHeaders(t *testing.T) {
	t.Parallel()
	r := startWith(t, storeFunc(always), tokenEnv)
	ca, addr, ended := r.serveTLS(t, func(server *http.Server) { server.IdleTimeout = time.Second })
	c := dialHTTP2(t, addr, ca)
	c.write(t, frame(frameHeaders, 0, 1, postFields(goodPath)), frame(frameContinuation, 0, 1, fields("x", "y")))
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the connection is kept")
	}
	if n := r.log.count(); n != 0 {
		t.Errorf("%d webhooks are logged", n)
	}
}

// The library tells of a greeting that is not HTTP/2's, and repeats it.
func TestHTTP2GreetingIsNotLogged(t *testing.T) {
	t.Parallel()
	const token = "tok-9f3c2a7d51e8" // short enough to be in it
	r := startWith(t, storeFunc(always), "RELAY_WEBHOOK_PATH=/", "RELAY_WEBHOOK_TOKENS="+token)
	ca, addr, ended := r.serveTLS(t, func(*http.Server) {})
	c := helloTLS(t, addr, ca)
	c.write(t, []byte("POST /"+token+" HTTP/1.1\r\nHost: h\r\n\r\n"))
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the connection is kept")
	}
	wantNoToken(t, "the log", r.log.text(), token)
	if !strings.Contains(r.log.text(), "error reading preface from client 127.0.0.1") {
		t.Errorf("what went wrong is not logged:\n%s", r.log.text())
	}
}
