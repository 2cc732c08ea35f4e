package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"syscall"
	"time"

	"code.dny.dev/ssrf"

	"github.com/apixo-relay/apixo-relay/relay/httpclient"
)

const (
	// dialTimeout bounds the look-up of a name and the connection to its addresses;
	// tlsTimeout the handshake.
	dialTimeout = 10 * time.Second
	tlsTimeout  = 10 * time.Second

	// maxHeaderBytes bounds the header of an answer.
	maxHeaderBytes = 64 << 10

	// streamBytes is what may come of a file by HTTP/2 before somebody reads it: it is there for
	// each download. (All of a connection's together have no bound of their own, or a file that
	// nobody reads would hold up the others.)
	streamBytes = 1 << 20

	// Unused connections: how many are kept, for one origin and for all, and for how long.
	maxIdlePerHost = 16
	maxIdle        = 64
	idleTimeout    = 90 * time.Second

	// pingTimeout is after how much silence a connection of HTTP/2 is tried, and how long that
	// may take: one that is dead is not to be used for the next file.
	pingTimeout = 15 * time.Second
)

// guard says which addresses are public.
type guard struct{ *ssrf.Guardian }

// newGuard returns a guard that knows the registries of IANA, as ssrf has them, and what is
// public by its number only.
func newGuard(more ...ssrf.Option) guard {
	// Azure's platform is there for the machines in it, and for them alone.
	azure := netip.MustParsePrefix("168.63.129.16/32")
	return guard{ssrf.New(append([]ssrf.Option{ssrf.WithPorts(443), ssrf.WithDeniedV4Prefixes(azure)}, more...)...)}
}

func (g guard) isPublic(addr netip.Addr) bool { return g.SafeAddr(addr) == nil }

// control is called by a dialler with the address that it is about to connect to: whatever a
// name meant when it was looked at, it is this one that counts.
func (g guard) control(network, address string, conn syscall.RawConn) error {
	err := g.Safe(network, address, conn)
	if addr, parseErr := netip.ParseAddrPort(address); err != nil && parseErr == nil {
		return notPublicError{addr.Addr()}
	}
	return err
}

// notPublicError: the address is not one to connect to.
type notPublicError struct{ addr netip.Addr }

func (e notPublicError) Error() string { return e.addr.String() + " is not a public address" }

// newTransport makes connections as far as control allows them; nil allows all.
func (c *Client) newTransport(control func(network, address string, conn syscall.RawConn) error) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, Resolver: c.o.Resolver, Control: control}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watchedConn{Conn: conn}, nil
		},
		ForceAttemptHTTP2:      true, // which an own DialContext would switch off
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: streamBytes, SendPingTimeout: pingTimeout, PingTimeout: pingTimeout},
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  c.o.Silence,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
	}
}

// transport returns what makes a request: it is guarded unless the origin is allowed as it
// stands, or the connection is one to a proxy.
func (c *Client) transport(r *http.Request, asItStands bool) (*http.Transport, error) {
	if c.proxy != nil {
		proxy, err := c.proxy(r)
		if err != nil {
			return nil, errProxySetting // which may hold a password, as err does then
		}
		if proxy != nil {
			return c.proxied, nil
		}
	}
	if asItStands {
		return c.asItStands, nil
	}
	return c.public, nil
}

var errProxySetting = errors.New("the environment names a proxy in no way that can be read: write HTTPS_PROXY like http://proxy.example.com:3128")

// mustProxy has a transport that guards nothing connect to proxies only.
func (c *Client) mustProxy(r *http.Request) (*url.URL, error) {
	proxy, err := c.proxy(r)
	if err != nil || proxy == nil {
		return nil, errProxySetting
	}
	return proxy, nil
}

// proxyAnswer makes an error of a proxy's refusal to connect.
func proxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("the proxy answered %s", httpclient.StatusLine(answer.StatusCode, ""))
}

// watchedConn remembers that the other side has ended it.
type watchedConn struct {
	net.Conn
	ended atomic.Bool
}

// Read reads from the connection.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF {
		c.ended.Store(true)
	}
	return n, err
}
