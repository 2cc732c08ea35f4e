package receiver

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// clientAddrs are the addresses from which a request seems to come, at least one.
// It is the peer's, unless that is a trusted proxy: then what the proxies say.
//
// A proxy sets one of the two forwarding headers and may pass on the other one
// as the client wrote it. Where they differ both addresses are returned, and
// both have to be allowed, so that forging one of them gains nothing.
func clientAddrs(r *http.Request, trusted config.Prefixes) []netip.Addr {
	peer := addrOf(r.RemoteAddr)
	if !trusted.Contain(peer) {
		return []netip.Addr{peer}
	}
	var found []netip.Addr
	for _, chain := range [][]netip.Addr{forwardedFor(r.Header), forwarded(r.Header)} {
		if len(chain) == 0 {
			continue
		}
		sender := chain[0]
		for i := len(chain) - 1; i >= 0; i-- {
			if !trusted.Contain(chain[i]) {
				sender = chain[i]
				break
			}
		}
		if len(found) == 0 || found[0] != sender {
			found = append(found, sender)
		}
	}
	if len(found) == 0 {
		return []netip.Addr{peer}
	}
	return found
}

// allowed reports whether all addresses are in the networks; no networks allow all.
func allowed(senders []netip.Addr, networks config.Prefixes) bool {
	if len(networks) == 0 {
		return true
	}
	for _, sender := range senders {
		if !networks.Contain(sender) {
			return false
		}
	}
	return true
}

// forwardedFor reads X-Forwarded-For, the client first and the last proxy last.
func forwardedFor(h http.Header) (chain []netip.Addr) {
	for _, line := range h.Values("X-Forwarded-For") {
		for item := range strings.SplitSeq(line, ",") {
			chain = append(chain, addrOf(strings.TrimSpace(item)))
		}
	}
	return chain
}

// forwarded reads the for parameters of Forwarded (RFC 7239), in the same order.
//
// Proxies repeat in it, in quotes, what the client wrote as its Host. A line in
// which quotes hold a separator or a quote is read as one item that is no
// address, or clients could write items of their own there. No loss: neither
// addresses nor names of hosts hold any of these.
func forwarded(h http.Header) (chain []netip.Addr) {
	for _, line := range h.Values("Forwarded") {
		items, ok := forwardedLine(line)
		if !ok {
			items = []netip.Addr{{}}
		}
		chain = append(chain, items...)
	}
	return chain
}

func forwardedLine(line string) (chain []netip.Addr, ok bool) {
	for element := range strings.SplitSeq(line, ",") {
		var addr netip.Addr
		named := 0
		for pair := range strings.SplitSeq(element, ";") {
			if strings.Count(pair, `"`)%2 != 0 || strings.Contains(pair, `\`) {
				return nil, false
			}
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if strings.EqualFold(name, "for") {
				named++
				addr = addrOf(strings.Trim(value, `"`))
			}
		}
		if named > 1 {
			addr = netip.Addr{} // not clear which is meant (RFC 7239, section 4, allows one)
		}
		chain = append(chain, addr)
	}
	return chain, true
}

// addrOf reads an address with or without a port. What is none becomes the zero
// Addr, which is in no network.
func addrOf(s string) netip.Addr {
	if addrPort, err := netip.ParseAddrPort(s); err == nil {
		return addrPort.Addr().Unmap().WithZone("")
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(inner, "]"); !ok {
			return netip.Addr{}
		}
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}
