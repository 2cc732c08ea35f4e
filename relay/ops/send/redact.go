package send

import (
	"encoding/base64"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// minSecretLength is the length from which a part of a URL's path or query is
// taken for a secret. The relay's tokens have 16 characters or more.
const minSecretLength = 16

// redactor blots out the secrets of a callback URL where an answer or an error
// repeats them.
type redactor struct{ secrets *strings.Replacer }

func newRedactor(u *url.URL) redactor {
	var pairs []string
	hide := func(secret string) {
		for _, form := range []string{secret, url.PathEscape(secret), url.QueryEscape(secret)} {
			pairs = append(pairs, form, "…")
		}
	}
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
	return redactor{strings.NewReplacer(pairs...)}
}

// clean makes text from elsewhere fit to be shown: without secrets, in one line
// and at most so many bytes long.
func (r redactor) clean(text string, limit int) string {
	text = printable(r.secrets.Replace(text))
	text, cut := shorten(strings.Join(strings.Fields(text), " "), limit)
	if cut {
		text += "…"
	}
	return text
}

// printable replaces what is not valid UTF-8 and what could steer a terminal.
// Line breaks and tabs stay.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' || unicode.IsPrint(c) {
			return c
		}
		if c == '\r' {
			return -1
		}
		return utf8.RuneError
	}, text)
}

// shorten cuts text between characters so that it has at most limit bytes.
func shorten(text string, limit int) (short string, cut bool) {
	if len(text) <= limit {
		return text, false
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit], true
}
