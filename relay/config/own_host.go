package config

import (
	"net/netip"
	"net/url"
	"strings"
)

// IsOwnHost reports whether a Host, as HTTP has it, is one by which nothing but this machine
// is reached: localhost, a name below it, or a loopback address, with any port or none. An
// empty one is not.
func IsOwnHost(host string) bool {
	name := strings.TrimSuffix((&url.URL{Host: host}).Hostname(), ".")
	const local = "localhost"
	if len(name) >= len(local) && strings.EqualFold(name[len(name)-len(local):], local) {
		below := name[:len(name)-len(local)]
		return below == "" || below[len(below)-1] == '.'
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}
