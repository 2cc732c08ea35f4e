package receiver

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// A browser posts to this machine, or to any other that it can reach, for
// whatever web page asks it to. No sender of webhooks is a browser, so what one
// says about itself is held against it:
//
//   - A page of another site cannot keep its browser from saying so, in
//     Sec-Fetch-Site or Origin. Such a request is refused, with a token too: a
//     browser adds a password of HTTP Basic that it remembers.
//   - A page whose own name leads to this machine by now (DNS rebinding) is of the
//     same site for its browser. It cannot keep that from telling the name, in
//     Host: where nothing but the loopback address keeps strangers away, only this
//     machine's own names are taken.

// ownHostOnly reports whether webhooks are taken for this machine's own names
// alone: whether its loopback address is all that keeps strangers away. Package
// config takes no other address then.
func ownHostOnly(cfg config.Webhooks) bool {
	return !cfg.HasSenderPolicy() && !cfg.AllowUnauthenticated
}

// checkBrowser refuses what a browser sends for a web page, with a [*problem].
func (rc *Receiver) checkBrowser(r *http.Request) error {
	switch {
	case rc.crossSite.Check(r) != nil:
		return crossSite
	case rc.ownHostOnly && !isOwnHost(r.Host):
		return foreignHost
	}
	return nil
}

// isOwnHost reports whether a Host is one by which nothing but this machine is
// reached: localhost, a name below it, or a loopback address, with any port.
// HTTP/1.0 may leave it out, which no browser does.
func isOwnHost(host string) bool {
	if host == "" {
		return true
	}
	name := strings.TrimSuffix((&url.URL{Host: host}).Hostname(), ".")
	const local = "localhost"
	if len(name) >= len(local) && strings.EqualFold(name[len(name)-len(local):], local) {
		below := name[:len(name)-len(local)]
		return below == "" || below[len(below)-1] == '.'
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}
