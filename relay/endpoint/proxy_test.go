package endpoint_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

const client4, client6 = "203.0.113.7:4711", "[2001:db8::7]:4711"

// header is a PROXY protocol header for a connection from an address.
func header(t *testing.T, version byte, from string, tlvs ...proxyproto.TLV) []byte {
	t.Helper()
	to := "198.51.100.1:443"
	if strings.HasPrefix(from, "[") {
		to = "[2001:db8::1]:443"
	}
	h := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to)))
	if len(tlvs) > 0 {
		if err := h.SetTLVs(tlvs); err != nil {
			t.Fatal(err)
		}
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func trusting(trusted bool) func(*running) {
	return func(r *running) { r.proxies = func(a netip.Addr) bool { return trusted && a.IsLoopback() } }
}

// peer is whom the handler takes for the sender.
func (c *client) peer() string {
	c.Helper()
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		c.Fatalf("no answer: %v", err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		c.Fatalf("answered %s, %v", resp.Status, err)
	}
	return resp.Header.Get("X-Peer")
}

func TestProxyHeaderTellsTheSender(t *testing.T) {
	t.Parallel()
	const own = "" // the peer's own address
	for name, test := range map[string]struct{ header, from string }{
		"version 1":                  {string(header(t, 1, client4)), client4},
		"version 1, IPv6":            {string(header(t, 1, client6)), client6},
		"version 1, unknown":         {"PROXY UNKNOWN\r\n", own},
		"version 1, and more":        {"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n", own},
		"version 2":                  {string(header(t, 2, client4)), client4},
		"version 2, IPv6":            {string(header(t, 2, client6)), client6},
		"version 2, TLVs":            {string(header(t, 2, client4, proxyproto.TLV{Type: 0xea, Value: bytes.Repeat([]byte("vpce-"), 100)})), client4},
		"version 2, local":           {"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", own},
		"version 2, local, and more": {"\r\n\r\n\x00\r\nQUIT\n\x20\x11\x00\x0c\xcb\x00\x71\x07\xcb\x00\x71\x08\x00\x01\x00\x02", own},
		"version 2, UNIX":            {"\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("/a", 54) + strings.Repeat("/b", 54), own},
		"none":                       {"", own},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, nil, trusting(true)).serve()
			c := r.dial()
			want := test.from
			if want == own {
				want = c.LocalAddr().String()
			}
			c.send(test.header + request)
			for range 2 { // it holds for the whole connection
				if got := c.peer(); got != want {
					t.Errorf("it comes from %s, want %s", got, want)
				}
				c.send(request)
			}
			c.peer()
			r.close()
			if n := len(r.refused); n > 0 {
				t.Errorf("%d refusals: %s", n, r.log)
			}
		})
	}
}

// TLS, and HTTP/2 in it or without it, come behind the header.
func TestProxyHeaderBeforeOtherProtocols(t *testing.T) {
	t.Parallel()
	for scheme, config := range map[string]*tls.Config{"http": nil, "https": selfSigned()} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			r := start(t, config, trusting(true)).serve()
			c, done := http2Client()
			defer done()
			c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				if err == nil {
					_, err = conn.Write(header(t, 2, client4))
				}
				return conn, err
			}
			resp, err := c.Get(scheme + "://" + r.addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if got := resp.Header.Get("X-Peer"); resp.ProtoMajor != 2 || got != client4 {
				t.Errorf("it comes from %s by %s", got, resp.Proto)
			}
			r.close()
		})
	}
}

// Whoever is not trusted cannot claim an address.
func TestProxyHeaderOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	for name, changes := range map[string][]func(*running){"not trusted": {trusting(false)}, "not set": nil} {
		for version := byte(1); version <= 2; version++ {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := start(t, nil, changes...).serve()
				c := r.dial()
				c.send(string(header(t, version, client4)) + request)
				resp, err := http.ReadResponse(c.reader, nil)
				if err != nil || resp.StatusCode != http.StatusBadRequest {
					t.Fatalf("answered %v, %v", resp, err)
				}
				_ = resp.Body.Close()
				want := "RELAY_PROXY_PROTOCOL=true"
				if name == "not trusted" {
					want = "name the balancer's network there"
				}
				r.wantRefused(c, "the PROXY protocol, version "+string('0'+rune(version)), want)
				r.close()
			})
		}
	}
}

// What begins like a header and is none is cut off.
func TestMalformedProxyHeader(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"version 1": "PROXY TCP4 here there 1 2\r\n", "version 1, endless": "PROXY " + strings.Repeat("x", 200),
		"version 2": "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x02ab", "version 3": "\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c" + strings.Repeat("a", 12), "too long": "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, nil, trusting(true)).serve()
			c := r.dial()
			c.send(text + request)
			if b, err := io.ReadAll(c); len(b) > 0 {
				t.Errorf("answered %q, %v", b, err)
			}
			r.wantRefused(c, "a malformed PROXY protocol header", "versions 1 and 2")
			r.close()
		})
	}
}

// A header that does not come holds up neither other connections nor the end.
func TestMissingProxyHeaderHoldsNothingUp(t *testing.T) {
	t.Parallel()
	r := start(t, nil, trusting(true)).serve()
	silent, half := r.dial(), r.dial()
	half.send("PROXY TCP4 203")
	other := r.dial()
	other.send(string(header(t, 1, client4)) + request)
	if got := other.peer(); got != client4 {
		t.Errorf("it comes from %s", got)
	}
	if took := r.stop()(); took > whole/5+time.Second {
		t.Errorf("it took %s", took)
	}
	for _, c := range []*client{silent, half} {
		if _, err := bufio.NewReader(c).ReadByte(); err == nil {
			t.Error("it was answered")
		}
	}
}

// Whoever is refused while more of his request is coming reads the answer, and an end
// instead of a reset.
func TestAnswerBehindProxyHeaderIsNotReset(t *testing.T) {
	t.Parallel()
	r := start(t, nil, trusting(true)).serve()
	c := r.dial()
	c.send(string(header(t, 2, client4)) + "POST / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 64<<10))
	resp, err := http.ReadResponse(c.reader, nil)
	if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Fatalf("answered %v, %v", resp, err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Error(err)
	}
	if _, err := c.reader.ReadByte(); err != io.EOF {
		t.Errorf("the connection ends with %v", err)
	}
	r.wantRefused(nil, "headers over 8192 bytes", "peer="+client4)
	r.close()
}
