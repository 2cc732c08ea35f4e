package download

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"code.dny.dev/ssrf"
)

// Rig has a client take 127.0.0.2 for a public address, trust a certificate, and connect to a
// port of the tests where https has 443. What is judged stays as it is.
func (c *Client) Rig(port string, trusted *x509.Certificate) {
	public := netip.MustParsePrefix("127.0.0.2/32")
	c.setUp(newGuard(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(public)))
	roots := x509.NewCertPool()
	roots.AddCert(trusted)
	for _, transport := range []*http.Transport{c.public, c.asItStands, c.proxied} {
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
		dial := transport.DialContext
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if host, given, _ := net.SplitHostPort(address); given == "443" {
				address = net.JoinHostPort(host, port)
			}
			return dial(ctx, network, address)
		}
	}
}

// SetProxy sets a client's proxy by itself, as the environment is read once in a process.
func (c *Client) SetProxy(proxy func(*http.Request) (*url.URL, error)) { c.proxy = proxy }

// SetDial has a client connect by a function, unguarded.
func (c *Client) SetDial(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	for _, transport := range []*http.Transport{c.public, c.asItStands, c.proxied} {
		transport.DialContext = dial
	}
}

// IsPublic reports whether an address may be connected to that is not allowed as it stands.
func IsPublic(address netip.Addr) bool {
	network := "tcp6"
	if address.Is4() {
		network = "tcp4"
	}
	return newGuard().control(network, netip.AddrPortFrom(address, 443).String(), nil) == nil
}
