package receiver

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
	"sync/atomic"
)

// Tokens are the secrets that are valid now. They can be changed while requests
// are being answered. A nil *Tokens asks nobody for one.
type Tokens struct {
	// Digests are compared instead of tokens, since they are of one length, so
	// that not even the length of a token shows in the time that it takes.
	digests atomic.Pointer[[][sha256.Size]byte]
}

// NewTokens makes a set of tokens.
func NewTokens(tokens []string) *Tokens {
	t := &Tokens{}
	t.Set(tokens)
	return t
}

// Set replaces all tokens.
func (t *Tokens) Set(tokens []string) {
	digests := make([][sha256.Size]byte, len(tokens))
	for i, token := range tokens {
		digests[i] = sha256.Sum256([]byte(token))
	}
	t.digests.Store(&digests)
}

// authorized reports whether a request brings a valid token: in its path, as the
// password of HTTP Basic, or as a Bearer token.
func (t *Tokens) authorized(r *http.Request, inPath string) bool {
	if t == nil {
		return true
	}
	valid := t.match(inPath)
	if _, password, ok := r.BasicAuth(); ok {
		valid |= t.match(password)
	}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		valid |= t.match(strings.TrimSpace(token))
	}
	return valid == 1
}

// match compares with every token, whichever matches, in constant time.
func (t *Tokens) match(candidate string) int {
	digest := sha256.Sum256([]byte(candidate))
	match := 0
	for _, valid := range *t.digests.Load() {
		match |= subtle.ConstantTimeCompare(digest[:], valid[:])
	}
	return match
}
