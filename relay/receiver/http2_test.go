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
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/receiver"
)

// Types and flags of frames (RFC 9113, section 6).
const (
	frameData, frameHeaders, frameReset, frameSettings, frameWindow, frameContinuation = 0, 1, 3, 4, 8, 9
	endStream, endHeaders                                                              = 1, 4
)

// http2Conn is a connection on which a test writes the frames itself.
type http2Conn struct{ *tls.Conn }

// dialHTTP2 connects, says hello, and takes little ahead of being asked to read.
func dialHTTP2(t *testing.T, addr string, trusted *authority) http2Conn {
	t.Helper()
	tcp, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	if err := errors.Join(tcp.(*net.TCPConn).SetReadBuffer(4<<10), tcp.SetDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	c := http2Conn{tls.Client(tcp, &tls.Config{RootCAs: trusted.pool(), ServerName: "127.0.0.1", NextProtos: []string{"h2"}})}
	c.write(t, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, nil))
	return c
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
	return fields(append([]string{":method", "POST", ":scheme", "https", ":authority", "h", ":path", path}, more...)...)
}

// reset waits until the server resets a stream or closes the connection.
func (c http2Conn) reset(stream uint32) error {
	head := make([]byte, 9)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head)>>8)); err != nil {
			return err
		}
		if head[3] == frameReset && binary.BigEndian.Uint32(head[5:]) == stream {
			return nil
		}
	}
}

// secureServer serves a receiver over TLS by a server that the test may change,
// and tells when connections end.
func secureServer(t *testing.T, ca *authority, env []string, change func(*http.Server)) (addr string, ended <-chan struct{}, r *relay) {
	t.Helper()
	f := newFiles(t)
	f.issue(t, ca, 1)
	r = startWith(t, storeFunc(func(context.Context, event.Message) (event.Receipt, error) {
		return event.Receipt{Stream: "APIXO", Sequence: 1}, nil
	}), append(env, "RELAY_TLS_CERT_FILE="+f.cert, "RELAY_TLS_KEY_FILE="+f.key)...)
	loaded, err := receiver.LoadTLS(r.cfg.Webhooks)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{}, 16)
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
	return listener.Addr().String(), closed, r
}

// Whoever asks over and over and never takes an answer must not be able to keep
// the connection, and with it all that waits to be written to it.
func TestHTTP2SenderThatNeverReads(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	addr, ended, _ := secureServer(t, ca, []string{tokenEnv}, func(server *http.Server) {
		if server.HTTP2 == nil || server.HTTP2.WriteByteTimeout <= 0 || server.HTTP2.WriteByteTimeout > server.WriteTimeout {
			t.Fatal("a sender may leave what is written to it for ever")
		}
		server.HTTP2.WriteByteTimeout = time.Second // or the test would take as long as a sender may
	})
	c := dialHTTP2(t, addr, ca)
	c.write(t, frame(frameWindow, 0, 0, []byte{0x7f, 0, 0, 0})) // says that it takes everything
	block := postFields(webhookPath)
	for stream := uint32(1); stream < 2*2000; stream += 2 {
		if _, err := c.Write(frame(frameHeaders, endStream|endHeaders, stream, block)); err != nil {
			break // it has been cut off by now
		}
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the connection is kept")
	}
}

// Whoever says that it takes nothing is not waited for either.
func TestHTTP2SenderWithoutWindow(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	addr, _, r := secureServer(t, ca, []string{tokenEnv}, func(server *http.Server) { server.WriteTimeout = time.Second })
	c := dialHTTP2(t, addr, ca)
	c.write(t, frame(frameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0})) // an initial window of nothing
	c.write(t, frame(frameHeaders, endStream|endHeaders, 1, postFields(webhookPath)))
	if err := c.reset(1); err != nil {
		t.Fatal(err)
	}
	if line := r.log.webhook(t, 1); line["problem"] != "unauthorized" {
		t.Errorf("logged %v", line)
	}
}

// Slow streams end, and the others on the connection go on.
func TestHTTP2SlowBody(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	addr, _, r := secureServer(t, ca, []string{tokenEnv, "RELAY_PUBLISH_TIMEOUT=2s"}, func(*http.Server) {})
	c := dialHTTP2(t, addr, ca)
	c.write(t, frame(frameHeaders, endHeaders, 1, postFields(goodPath, "content-length", "1000")), frame(frameData, 0, 1, []byte("{")))
	if err := c.reset(1); err != nil {
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
	ca := newAuthority(t)
	addr, ended, r := secureServer(t, ca, []string{tokenEnv}, func(server *http.Server) { server.IdleTimeout = time.Second })
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
