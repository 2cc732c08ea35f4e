package access

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// A web page whose own name leads to this machine by now (DNS rebinding) is of the same site
// for its browser. It cannot keep the browser from telling that name, in Host.

// hostNames are the names of the page besides those of loopback.
func hostNames(addr string, hosts config.Hosts) map[string]bool {
	names := make(map[string]bool)
	for _, name := range hosts {
		names[canonical(name)] = true
	}
	if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
		if ip, err := netip.ParseAddr(host); err != nil || !ip.IsUnspecified() {
			names[canonical(host)] = true
		}
	}
	delete(names, "")
	return names
}

// isExpected reports whether a Host is a name of the page, with any port: there may be a
// tunnel or a proxy in between.
func (g *Guard) isExpected(host string) bool {
	return config.IsOwnHost(host) || g.hosts[canonical((&url.URL{Host: host}).Hostname())]
}

// canonical is a name, without a port, in the one spelling that is compared.
func canonical(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.Unmap().WithZone("").String()
	}
	return name
}
