// Package access decides who gets to the operator's page, before anything of it is done: by
// the name that it is asked for, by what the browser says of the page that asks, and by a
// session where there are tokens. It sets the headers that tell a browser what the page may do.
//
// It must not know what the page shows, nor how that looks: refusals and the form for signing
// in are written by functions that it is given.
package access

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/tokens"
)

// Options are what a Guard goes by.
type Options struct {
	// Addr is where the page is served, host:port. A host that is no wildcard is a name of it.
	Addr string
	// Hosts are further names of the page, besides those of loopback.
	Hosts config.Hosts
	// Tokens are what somebody signs in with; nil asks nobody.
	Tokens *tokens.Set
	// TLS says that the page is served by HTTPS.
	TLS bool
	// Media are the origins of pictures, video and audio that are shown without a click.
	Media config.Origins
	// ReadOnly refuses each POST but those of signing in and out.
	ReadOnly bool
	// BodyTimeout is how long a body may take to come; 0 is ten seconds.
	BodyTimeout time.Duration
	// Now is the clock by which sessions end; nil is time.Now.
	Now func() time.Time
	Log *slog.Logger
	// Refuse writes the page of a refusal: its status, its title, and a sentence that says
	// what to do. It holds text from strangers, to be escaped. nil writes plain text.
	Refuse func(w http.ResponseWriter, r *http.Request, status int, title, detail string)
	// SignInPage writes the form for signing in: a POST to /sign-in of the fields token and
	// next. If failed, a wrong token was given: the status is 401, and else 200. next is a
	// path of this page, to be escaped. It is needed where there are Tokens.
	SignInPage func(w http.ResponseWriter, r *http.Request, next string, failed bool)
}

// Guard keeps everybody out who may not use the page.
type Guard struct {
	hosts      map[string]bool
	tokens     *tokens.Set
	tls        bool
	policy     string // Content-Security-Policy
	readOnly   bool
	bodyTime   time.Duration
	now        func() time.Time
	refuse     func(w http.ResponseWriter, r *http.Request, status int, title, detail string)
	signInPage func(w http.ResponseWriter, r *http.Request, next string, failed bool)
	crossSite  http.CrossOriginProtection
	sessions   *sessions
	journal    *journal
}

// New returns a guard.
func New(o Options) *Guard {
	g := &Guard{
		hosts: hostNames(o.Addr, o.Hosts), tokens: o.Tokens, tls: o.TLS, policy: contentSecurityPolicy(o.Media), readOnly: o.ReadOnly, bodyTime: cmp.Or(o.BodyTimeout, bodyTimeout), now: o.Now,
		refuse: o.Refuse, signInPage: o.SignInPage, sessions: newSessions(), journal: newJournal(o.Log),
	}
	if g.now == nil {
		g.now = time.Now
	}
	if g.refuse == nil {
		g.refuse = func(w http.ResponseWriter, _ *http.Request, status int, title, detail string) {
			http.Error(w, title+"\n"+detail, status)
		}
	}
	return g
}

// Paths that the guard answers itself, and those that it treats in a way of their own.
const (
	signInPath  = "/sign-in"
	signOutPath = "/sign-out"
	livePath    = "/live"
	staticPath  = "/static/"
)

// Handler returns a handler that passes on to next what may be, and answers everything else
// itself, /sign-in and /sign-out among it. A body has come whole before next is called. The context of a GET that next is given ends with
// the session, so that nothing flows to somebody who has signed out; next has to heed it.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.setHeaders(w.Header(), r)
		if refused := g.check(r); refused != nil {
			g.answer(w, r, refused)
			return
		}
		if refused := g.readBody(w, r); refused != nil {
			g.answer(w, r, refused)
			return
		}
		switch r.URL.Path {
		case signInPath:
			g.serveSignIn(w, r)
			return
		case signOutPath:
			g.serveSignOut(w, r)
			return
		}
		if g.tokens != nil && !isOpen(r) {
			admitted := g.admitted(r)
			if admitted == nil {
				g.askToSignIn(w, r)
				return
			}
			if r.Method != http.MethodPost {
				ctx, cancel := context.WithCancel(r.Context())
				defer cancel()
				defer context.AfterFunc(admitted, cancel)()
				r = r.WithContext(ctx)
			}
		}
		if g.readOnly && r.Method == http.MethodPost {
			g.answer(w, r, readOnly)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Admits reports whether a request would be let in now as well, for what goes on for long: a
// timer, by which the context ends, stands still while a machine sleeps.
func (g *Guard) Admits(r *http.Request) bool { return g.tokens == nil || g.admitted(r) != nil }

// SignedIn reports whether a request is one of a session, which can be ended.
func (g *Guard) SignedIn(r *http.Request) bool { return g.tokens != nil && g.session(r) != nil }
