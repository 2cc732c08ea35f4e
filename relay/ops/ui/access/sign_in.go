package access

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
)

// maxTokenBytes is more than any token has.
const maxTokenBytes = 4 << 10

// cookieName is that of the session. With __Host- in front of it a browser takes the cookie
// only from this host itself and by HTTPS.
func (g *Guard) cookieName() string {
	if g.tls {
		return "__Host-apixo-relay-session"
	}
	return "apixo-relay-session"
}

// cookie is one of the browser's session, so that closing it ends that; the server ends it
// after sessionLife in any case.
func (g *Guard) cookie(value string) *http.Cookie {
	return &http.Cookie{Name: g.cookieName(), Value: value, Path: "/", HttpOnly: true, Secure: g.tls, SameSite: http.SameSiteStrictMode}
}

// session returns the session of a request, or nil. Another service under the same name may
// have set a cookie of the same name, which hides nothing.
func (g *Guard) session(r *http.Request) *session {
	for _, cookie := range r.CookiesNamed(g.cookieName()) {
		if session := g.sessions.find(cookie.Value, g.now()); session != nil {
			return session
		}
	}
	return nil
}

// bearer returns the Bearer token of a request.
func bearer(r *http.Request) (token string, ok bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

// admitted returns what lasts as long as somebody may see the page: a session, or the validity
// of a Bearer token, with which scripts read. It is nil where there is neither. A Bearer token
// is not enough for a POST: what changes something is an act of somebody who is signed in, and
// scripts have the commands for it.
func (g *Guard) admitted(r *http.Request) context.Context {
	if session := g.session(r); session != nil {
		return session.life
	}
	if token, ok := bearer(r); ok && r.Method != http.MethodPost {
		if valid, ok := g.tokens.Find(token); ok {
			return valid
		}
	}
	return nil
}

// askToSignIn answers a request of nobody.
func (g *Guard) askToSignIn(w http.ResponseWriter, r *http.Request) {
	_, hasBearer := bearer(r)
	switch {
	case hasBearer && r.Method == http.MethodPost:
		g.answer(w, r, readBearer)
		return
	case hasBearer:
		g.journal.refused(r, g.now())
		g.answer(w, r, badBearer)
		return
	case r.Method == http.MethodPost, r.URL.Path == livePath:
		g.answer(w, r, signInFor)
		return
	}
	to := signInPath
	if next := localPath(r.URL.RequestURI()); next != "/" {
		to += "?next=" + url.QueryEscape(next)
	}
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		comeAgain(w, to)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// comeAgain sends a browser on from a page of our own. It has kept the cookie to itself since a
// link of another site led here, and would do so with a redirect, too: somebody who is signed in
// would be asked to sign in by each link in a chat.
func comeAgain(w http.ResponseWriter, to string) {
	challenge(w.Header())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = fmt.Fprintf(w, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Sign in</title>\n"+
		"<meta http-equiv=\"refresh\" content=\"0; url=%[1]s\">\n<p><a href=\"%[1]s\">Sign in</a></p>\n", html.EscapeString(to)) // whoever has hung up needs no answer
}

func (g *Guard) serveSignIn(w http.ResponseWriter, r *http.Request) {
	switch {
	case g.tokens == nil:
		http.Redirect(w, r, "/", http.StatusSeeOther)
	case r.Method == http.MethodPost:
		g.signIn(w, r)
	default:
		next := localPath(r.URL.Query().Get("next"))
		if g.session(r) != nil {
			http.Redirect(w, r, next, http.StatusSeeOther)
			return
		}
		g.signInPage(w, r, next, false)
	}
}

// signIn opens a session for whoever brings a token, in the body alone: an address is written
// into logs and histories.
func (g *Guard) signIn(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		g.answer(w, r, badForm)
		return
	}
	next, token := localPath(r.PostForm.Get("next")), strings.TrimSpace(r.PostForm.Get("token"))
	valid, ok := g.tokens.Find(token)
	if !ok || len(token) > maxTokenBytes {
		g.journal.refused(r, g.now())
		challenge(w.Header())
		g.signInPage(w, r, next, true)
		return
	}
	if old := g.session(r); old != nil {
		old.end()
	}
	// The id is a new one in any case: one that somebody has put into this browser before
	// stays worthless.
	http.SetCookie(w, g.cookie(g.sessions.begin(valid, g.now())))
	g.journal.signedIn(r)
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (g *Guard) serveSignOut(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		g.answer(w, r, postOnly)
		return
	}
	for _, cookie := range r.CookiesNamed(g.cookieName()) {
		if session := g.sessions.find(cookie.Value, g.now()); session != nil {
			session.end()
			g.journal.signedOut(r)
		}
	}
	gone := g.cookie("")
	gone.MaxAge = -1
	http.SetCookie(w, gone)
	if g.isTrustworthy(r) { // elsewhere browsers do not take it
		w.Header().Set("Clear-Site-Data", `"cache"`)
	}
	http.Redirect(w, r, signInPath, http.StatusSeeOther)
}
