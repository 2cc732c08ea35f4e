package receiver_test

import (
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// pipe is a listener with one connection that has no buffers: what the other end does
// not read cannot be written.
type pipe struct {
	server  chan net.Conn
	closing sync.Once
	closed  chan struct{}
}

// newPipe returns a listener, the client's end of its connection, and what is closed
// when the server has closed its own.
func newPipe() (l *pipe, client net.Conn, ended <-chan struct{}) {
	server, client := net.Pipe()
	told := &closeTeller{Conn: server, closed: make(chan struct{})}
	l = &pipe{server: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.server <- told
	return l, client, told.closed
}

// Accept implements [net.Listener].
func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.server:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (p *pipe) Close() error {
	p.closing.Do(func() { close(p.closed) })
	return nil
}

// Addr implements [net.Listener].
func (p *pipe) Addr() net.Addr { return &net.TCPAddr{} }

// closeTeller tells that it was closed.
type closeTeller struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

// Close implements [net.Conn].
func (c *closeTeller) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Whoever asks, and never takes an answer, must not be able to keep the connection, and
// with it all that waits to be written to it: neither who asks over and over, nor who
// then does nothing any more.
func TestHTTP2SenderThatNeverReads(t *testing.T) {
	t.Parallel()
	for name, most := range map[string]uint32{"once": 1, "over and over": 1 << 30} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startWith(t, storeFunc(always), tokenEnv)
			server := r.receiver.Server(nil)
			if server.HTTP2 == nil || server.HTTP2.WriteByteTimeout <= 0 || server.HTTP2.WriteByteTimeout > server.WriteTimeout {
				t.Fatal("a sender may leave what is written to it for ever")
			}
			server.HTTP2.WriteByteTimeout = time.Second // or the test would take as long as a sender may
			listener, c, ended := newPipe()
			served := make(chan error, 1)
			go func() { served <- server.Serve(listener) }()
			t.Cleanup(func() {
				if err := errors.Join(c.Close(), server.Close(), ignoreClosed(<-served)); err != nil {
					t.Error(err)
				}
			})
			if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			// It says that it takes everything.
			hello := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + string(frame(frameSettings, 0, 0, nil)) + string(frame(frameWindow, 0, 0, []byte{0x7f, 0, 0, 0}))
			_, err := c.Write([]byte(hello))
			block := postFields(webhookPath)
			for stream := uint32(1); stream <= most && err == nil; stream += 2 {
				_, err = c.Write(frame(frameHeaders, endStream|endHeaders, stream, block))
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("what it asks is not read, and the connection is kept")
			}
			select {
			case <-ended:
			case <-time.After(patience):
				t.Error("the connection is kept")
			}
		})
	}
}
