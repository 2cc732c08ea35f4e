package httpclient

import (
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/text"
)

// minSecretLength is the length from which a part of a URL's path or query is
// taken for a secret. The relay's tokens have 16 characters or more.
const minSecretLength = 16

// minHeaderSecretLength is the same for the value of a header that somebody has
// given: shorter than the shortest key of any service, longer than most words.
const minHeaderSecretLength = 8

// Redactor replaces the secrets of a URL where an answer or an error repeats them.
type Redactor struct {
	pairs   []string // as strings.NewReplacer takes them
	secrets *strings.Replacer
}

// NewRedactor returns a Redactor for the secrets in a URL: its password, or else its user, and
// the parts of its path and query that are long enough for a token.
func NewRedactor(u *url.URL) Redactor {
	var secrets []string
	hide := func(secret string) { secrets = append(secrets, secret) }
	if u.User != nil {
		password, _ := u.User.Password()
		credentials := u.User.Username() + ":" + password
		hide(base64.StdEncoding.EncodeToString([]byte(credentials)))
		switch {
		case password != "":
			hide(password)
		case u.User.Username() != "":
			hide(u.User.Username())
		}
	}
	for _, segment := range strings.Split(u.Path, "/") {
		if len(segment) >= minSecretLength {
			hide(segment)
		}
	}
	for _, values := range u.Query() {
		for _, value := range values {
			if len(value) >= minSecretLength {
				hide(value)
			}
		}
	}
	return Redactor{}.With(secrets...)
}

// With returns a Redactor that also replaces these secrets.
func (r Redactor) With(secrets ...string) Redactor {
	pairs := r.pairs[:len(r.pairs):len(r.pairs)]
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		for _, form := range []string{secret, url.PathEscape(secret), url.QueryEscape(secret)} {
			pairs = append(pairs, form, "…")
		}
	}
	return Redactor{pairs, strings.NewReplacer(pairs...)}
}

// Add returns text from elsewhere with the secrets replaced.
func (r Redactor) Add(s string) string { return r.secrets.Replace(s) }

// Redact makes text from elsewhere fit to be shown: without secrets, in one line
// and at most so many bytes long.
func (r Redactor) Redact(s string, limit int) string {
	s, cut := text.Shorten(text.Line(r.secrets.Replace(s)), limit)
	if cut {
		s += "…"
	}
	return s
}
