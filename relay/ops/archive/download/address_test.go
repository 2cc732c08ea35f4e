package download_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
	"github.com/apixo-relay/apixo-relay/schema"
)

// An address that may not be asked for is refused for what it says.
func TestAddresses(t *testing.T) {
	t.Parallel()
	c := client(t, download.Options{Hosts: config.Origins{"*.apixo.ai", "*.127.0.0.1", "127.1", "192.168.0.1", "http://127.0.0.1:9000"}})
	for address, reason := range map[string]string{
		"": schema.ReasonInvalidAddress, "/a.png": schema.ReasonInvalidAddress, "//cdn.apixo.ai/": schema.ReasonInvalidAddress, "cdn.apixo.ai/a.png": schema.ReasonInvalidAddress,
		"https:a.png": schema.ReasonInvalidAddress, "https:///a.png": schema.ReasonInvalidAddress, "https://:443/": schema.ReasonInvalidAddress, "https://cdn.apixo.ai:x/": schema.ReasonInvalidAddress,
		"ftp://cdn.apixo.ai/": schema.ReasonInvalidAddress, "data:image/png,": schema.ReasonInvalidAddress, "https://cdn.apixo.ai\n/": schema.ReasonInvalidAddress,
		"https://a b.apixo.ai/": schema.ReasonInvalidAddress, "https://cdn\uff0fevil.apixo.ai/": schema.ReasonInvalidAddress, "https://cdn..apixo.ai%00/": schema.ReasonInvalidAddress,
		"https://127.1/": schema.ReasonInvalidAddress, "https://x.0x7f.0.0.1/": schema.ReasonInvalidAddress, "https://0x7f000001/": schema.ReasonInvalidAddress, "https://2130706433/": schema.ReasonInvalidAddress, "https://x.127.0.0.1/": schema.ReasonInvalidAddress,
		"https://" + strings.Repeat("a.", 130) + "apixo.ai/": schema.ReasonInvalidAddress, "https://cdn.apixo.ai/" + strings.Repeat("a", 8<<10): schema.ReasonInvalidAddress,
		"https://[fe80::1%25eth0]/": schema.ReasonInvalidAddress,
		"http://cdn.apixo.ai/":      schema.ReasonNotHTTPS, "http://127.0.0.1:9001/": schema.ReasonNotHTTPS,
		"https://apixo.ai/": schema.ReasonForbiddenHost, "https://cdn.apixo.ai:8443/": schema.ReasonForbiddenHost, "https://cdn.apixo.ai.evil.com/": schema.ReasonForbiddenHost,
		"https://cdn.apixo.ai@evil.com/": schema.ReasonForbiddenHost, "https://user:secret@cdn.apixo.ai/": schema.ReasonForbiddenHost, "http://user@127.0.0.1:9000/": schema.ReasonForbiddenHost,
		"https://127.0.0.1:9000/": schema.ReasonForbiddenHost, "https://[::1]/": schema.ReasonForbiddenHost, "https://192.168.0.1/": schema.ReasonForbiddenAddress,
	} {
		want(t, mustFail(t, c, address), reason, false)
	}
}

// What is allowed by its name alone is connected to at public addresses.
func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"8.8.8.8": true, "192.0.1.1": true, "2001:4860:4860::8888": true, "2600::1": true,
		"0.0.0.0": false, "0.1.2.3": false, "10.1.2.3": false, "100.64.0.1": false, "127.0.0.1": false, "127.255.255.254": false, "169.254.169.254": false,
		"172.16.0.1": false, "172.31.255.255": false, "192.0.0.192": false, "192.0.2.1": false, "192.88.99.1": false, "192.168.1.1": false, "198.18.0.1": false,
		"198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.250": false, "240.0.0.1": false, "255.255.255.255": false, "168.63.129.16": false,
		"::": false, "::1": false, "::127.0.0.1": false, "::ffff:127.0.0.1": false, "::ffff:8.8.8.8": false, "64:ff9b::7f00:1": false, "64:ff9b:1::a00:1": false, "100::1": false,
		"2001::1": false, "2001:db8::1": false, "2002:7f00:1::": false, "3fff::1": false, "5f00::1": false, "fc00::1": false, "fd00:ec2::254": false,
		"fe80::1": false, "fe80::1%1": false, "2600::1%1": false, "fec0::1": false, "ff02::1": false,
	} {
		if got := download.IsPublic(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}

// Whatever an address looks like, nothing is connected to that no entry allows.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{
		"https://cdn.apixo.ai/a.png", "HTTPS://CDN.APIXO.AI:443/", "http://127.0.0.1:9000/a", "https://cdn.apixo.ai@evil.com/", "https://evil.com#.apixo.ai/", "https://evil.com\\.apixo.ai/",
		"https://evil\u3002com/.apixo.ai", "https://cdn.\uff41pixo.ai/", "https://cdn.apixo.ai%2eevil.com/", "https://\u00ad.apixo.ai/", "https://xn--a.apixo.ai/", "http://127.0.0.1:9000@evil.com/", "https://.apixo.ai/", "https://cdn.apixo.ai./",
	} {
		f.Add(seed)
	}
	errDialled := errors.New("dialled")
	f.Fuzz(func(t *testing.T, address string) {
		c := client(t, download.Options{Hosts: config.Origins{"*.apixo.ai", "http://127.0.0.1:9000"}})
		c.SetDial(func(_ context.Context, _, to string) (net.Conn, error) {
			host, isByName := strings.CutSuffix(strings.ToLower(to), ".apixo.ai:443")
			if to != "127.0.0.1:9000" && (!isByName || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/\\@:#?%[]", r) })) {
				t.Errorf("%q leads to %q", address, to)
			}
			return nil, errDialled
		})
		_, err := c.Open(t.Context(), address)
		if e, ok := err.(*download.Error); !ok || len(e.Detail) == 0 || len(e.Detail) > 450 || strings.ContainsAny(e.Detail, "\n\r\x1b") {
			t.Errorf("%q: %#v", address, err)
		}
	})
}
