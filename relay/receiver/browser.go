package receiver

import (
	"net/http"

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

// checkBrowser refuses what a browser sends for a web page, with a [*problem]. HTTP/1.0 may
// leave Host out, which no browser does.
func (rc *Receiver) checkBrowser(r *http.Request) error {
	switch {
	case rc.crossSite.Check(r) != nil:
		return crossSite
	case rc.ownHostOnly && r.Host != "" && !config.IsOwnHost(r.Host):
		return foreignHost
	}
	return nil
}
