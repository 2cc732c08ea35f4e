package access

import (
	"net/http"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

// refusal is an answer to what may not be.
type refusal struct {
	status        int
	title, detail string
	allow         string // for Allow; empty: none
}

var (
	crossSite  = &refusal{http.StatusForbidden, "Not from another site", "A page of another site sent this request, and nothing was done. Open the page itself, and repeat it there.", ""}
	notAllowed = &refusal{http.StatusMethodNotAllowed, "Not in this way", "This page takes GET, HEAD and POST.", "GET, HEAD, POST"}
	postOnly   = &refusal{http.StatusMethodNotAllowed, "Not in this way", "Signing out is a POST: use the button of the page.", "POST"}
	tooLarge   = &refusal{http.StatusRequestEntityTooLarge, "Too large", "No form of this page has more than 64 KiB. Nothing was done.", ""}
	tooSlow    = &refusal{http.StatusRequestTimeout, "Too slow", "What was sent did not come to its end in time. Nothing was done. Send it again.", ""}
	cutShort   = &refusal{http.StatusBadRequest, "Cut short", "What was sent ended before its end. Nothing was done. Send it again.", ""}
	badForm    = &refusal{http.StatusBadRequest, "Not a form", "What was sent cannot be read as a form. Go back, and send it again.", ""}
	readOnly   = &refusal{http.StatusForbidden, "For reading only", "Nothing can be changed here: the page was started with --read-only.", ""}
	signInFor  = &refusal{http.StatusUnauthorized, "Not signed in", "Nothing was done. Sign in at " + signInPath + ", and repeat it.", ""}
	badBearer  = &refusal{http.StatusUnauthorized, "Not a valid token", "Send one of RELAY_UI_TOKENS as a Bearer token, or sign in at " + signInPath + ".", ""}
	readBearer = &refusal{http.StatusUnauthorized, "Not with a Bearer token", "A Bearer token is for reading. To change something, sign in at " + signInPath + ", or use the commands.", ""}
)

// check refuses what nobody may do, signed in or not; nil lets it go on.
func (g *Guard) check(r *http.Request) *refusal {
	switch {
	case !g.isExpected(r.Host):
		return foreignHost(r.Host)
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost:
		return notAllowed
	case g.crossSite.Check(r) != nil, takesFromAnotherSite(r):
		return crossSite
	case r.ContentLength > maxBodyBytes:
		return tooLarge
	}
	return nil
}

// takesFromAnotherSite reports whether a page of another site makes use of this one other than
// by sending somebody here. It could not read the answer, but tell one from another by the time
// it takes or its status, and keep the page busy.
func takesFromAnotherSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none": // no browser, a page of ours, or somebody who typed the address
		return false
	}
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	return mode != "" && mode != "navigate" || dest != "" && dest != "document"
}

func foreignHost(host string) *refusal {
	name := "no name"
	if host != "" {
		short, cut := text.Shorten(text.Line(host), 80)
		if cut {
			short += "…"
		}
		name = "the name " + short
	}
	return &refusal{
		http.StatusMisdirectedRequest, "Not under this name",
		"The page was asked for under " + name + ", which is none of its own. If it is to be, add it to RELAY_UI_HOSTS and start the page again; " +
			"else open the address that the command printed.", "",
	}
}

// answer writes a refusal.
func (g *Guard) answer(w http.ResponseWriter, r *http.Request, refused *refusal) {
	h := w.Header()
	if refused.allow != "" {
		h.Set("Allow", refused.allow)
	}
	if refused.status == http.StatusUnauthorized {
		challenge(h)
	}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		// Or the library would read what is left of the body before it answers, for as
		// long as that takes to come.
		h.Set("Connection", "close")
	}
	g.refuse(w, r, refused.status, refused.title, refused.detail)
}

// challenge says how to be let in. It is not Basic, for which a browser would ask in a
// window of its own, and which it would send again for pages of other sites.
func challenge(h http.Header) { h.Set("WWW-Authenticate", `Bearer realm="apixo-relay"`) }

// isTrustworthy reports whether browsers treat the page as one that nobody can have changed on
// its way: by HTTPS, or on this machine.
func (g *Guard) isTrustworthy(r *http.Request) bool { return g.tls || config.IsOwnHost(r.Host) }

// isOpen reports whether a request is for one of the page's own files, which are for everybody.
// The path has to be plain: routers do not agree on what an encoded slash or .. is.
func isOpen(r *http.Request) bool {
	u := r.URL
	return r.Method != http.MethodPost && strings.HasPrefix(u.Path, staticPath) && u.RawPath == "" && !strings.Contains(u.Path, "/.") && !strings.Contains(u.Path, "//")
}
