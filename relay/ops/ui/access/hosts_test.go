package access_test

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/ui/access"
)

// status is what a page that nobody serves answers to a request for a host.
func (p *page) status(name string) int { return p.ask("GET", "/", host(name)).StatusCode }

// A web page whose name leads to this machine by now is let in under no name but the page's own.
func TestHosts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, addr string
		hosts      config.Hosts
		good, bad  []string
	}{
		{
			"loopback", "127.0.0.1:8722", nil,
			[]string{
				"127.0.0.1", "127.0.0.1:8722", "127.0.0.1:1", "127.0.0.1.", "127.1.2.3:80", "localhost", "localhost:8722", "LocalHost:9000", "localhost.", "localhost.:8722",
				"relay.localhost", "a.b.localhost:8722", "[::1]", "[::1]:8722", "[0:0:0:0:0:0:0:1]:80", "[::ffff:127.0.0.1]:8722",
			},
			[]string{
				"", ":8722", ".", "evil.example.com", "evil.example.com:8722", "localhost.evil.example.com", "127.0.0.1.evil.example.com", "evil-localhost", "notlocalhost:8722", "localhost:8722.evil.example.com",
				"evil.example.com:127.0.0.1", "127.0.0.1@evil.example.com", "evil.example.com@127.0.0.1", "localhost@evil.example.com:80", "evil.example.com#localhost", "evil.example.com/localhost",
				"0.0.0.0", "0.0.0.0:8722", "0", "0:8722", "[::]", "[::]:8722", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.nip.io", "::1", "[::1", "[::1]evil", "[::1].evil.example.com", "[::2]", "[fe80::1]", "128.0.0.1", "10.0.0.1:8722", "192.168.1.10",
				"localhost..", "localhost evil", "localhost,evil.example.com", "local\u017fhost", "127。0。0。1", "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",
			},
		},
		{
			"an address of this machine", "192.0.2.7:8722", nil,
			[]string{"192.0.2.7", "192.0.2.7:8722", "192.0.2.7:443", "[::ffff:192.0.2.7]", "localhost:8722"},
			[]string{"192.0.2.8", "192.0.2.7.example.com", "relay.example.com", ""},
		},
		{
			"a name of this machine", "Relay.Example.com:8722", nil,
			[]string{"relay.example.com", "RELAY.example.com:8722", "relay.example.com.", "relay.example.com.:1"},
			[]string{"a.relay.example.com", "example.com", "relay.example.com..", "relay.example.com.evil.org", "relayxexample.com", "192.0.2.7", ""},
		},
		{
			"any address", "0.0.0.0:8722", nil,
			[]string{"localhost"},
			[]string{"0.0.0.0", "0.0.0.0:8722", "192.0.2.7", "relay.example.com", ""},
		},
		{
			"any address in IPv6", "[::]:8722", nil,
			[]string{"[::1]"},
			[]string{"[::]", "[::]:8722", "0.0.0.0", "", ":8722"},
		},
		{
			"any address, unsaid", ":8722", nil,
			[]string{"127.0.0.1:8722"},
			[]string{"", ":8722", "0.0.0.0", "relay.example.com"},
		},
		{
			"further names", ":8722", config.Hosts{"relay.example.com", "10.0.0.1", "2001:db8::7", "relay"},
			[]string{"relay.example.com", "Relay.Example.COM:443", "10.0.0.1:8722", "[2001:db8::7]", "[2001:0db8:0::7]:8722", "relay:8722", "relay.", "localhost"},
			[]string{"example.com", "relay.example.com.evil.org", "10.0.0.2", "[2001:db8::8]", "", "relay2", "relay.localdomain"},
		},
		{
			"no name at all", "127.0.0.1:8722", config.Hosts{"", "."},
			[]string{"localhost"},
			[]string{"", ".", ":8722", "[]", ":"},
		},
		{
			"a host in IPv6", "[fe80::7%eth0]:8722", nil,
			[]string{"[fe80::7]:8722", "[fe80::7%25eth0]:8722"},
			[]string{"[fe80::8]:8722"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPage(access.Options{Addr: test.addr, Hosts: test.hosts})
			for _, host := range test.good {
				if got := p.status(host); got != http.StatusOK {
					t.Errorf("%q: %d", host, got)
				}
			}
			for _, host := range test.bad {
				if got := p.status(host); got != http.StatusMisdirectedRequest {
					t.Errorf("%q: %d", host, got)
				}
			}
		})
	}
}

// A refusal names the host, so that somebody who means it can allow it, and no more of it than
// fits a line.
func TestForeignHostIsNamed(t *testing.T) {
	t.Parallel()
	p := newPage(access.Options{})
	for host, want := range map[string]string{
		"relay.example.com:8722":      "the name relay.example.com:8722, which",
		"":                            "no name, which",
		"evil\x1b[2J\u202e.com":       "the name evil\ufffd[2J\ufffd.com, which",
		strings.Repeat("a", 300):      "the name " + strings.Repeat("a", 80) + "…, which",
		"a\r\nSet-Cookie: b=c":        "the name a Set-Cookie: b=c, which",
		strings.Repeat("é", 41) + "x": "the name " + strings.Repeat("é", 40) + "…, which",
	} {
		body, err := io.ReadAll(p.ask("GET", "/", func(r *http.Request) { r.Host = host }).Body)
		if got := string(body); err != nil || !strings.Contains(got, want) || !strings.Contains(got, "RELAY_UI_HOSTS") {
			t.Errorf("%q: %s", host, got)
		}
	}
}

// Whoever is let in is asked for by loopback or by a name of the page, read in another way.
func FuzzHost(f *testing.F) {
	for _, seed := range []string{"localhost:8722", "relay.example.com.:1", "[::1]:8722", "127.0.0.1@evil", "[::ffff:7f00:1]", "evil.com:80:90", "[fe80::1%25lo]", "LOCALHOST", "a.localhost", "[localhost]"} {
		f.Add(seed)
	}
	p := newPage(access.Options{Addr: "192.0.2.7:8722", Hosts: config.Hosts{"relay.example.com"}})
	f.Fuzz(func(t *testing.T, host string) {
		if p.status(host) != http.StatusOK {
			return
		}
		name := host
		if before, port, err := net.SplitHostPort(host); err == nil && strings.Trim(port, "0123456789") == "" {
			name = before
		}
		name = strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"), "."))
		if name == "localhost" || strings.HasSuffix(name, ".localhost") || name == "relay.example.com" {
			return
		}
		if before, _, hasZone := strings.Cut(name, "%"); hasZone {
			name = before
		}
		addr, err := netip.ParseAddr(name)
		if err != nil || !addr.Unmap().IsLoopback() && addr.Unmap() != netip.MustParseAddr("192.0.2.7") {
			t.Errorf("%q is let in", host)
		}
	})
}
