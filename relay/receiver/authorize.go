package receiver

import (
	"net/http"
	"strings"
)

// authorized reports whether a request brings a valid token: in its path, as the
// password of HTTP Basic, or as a Bearer token.
func (rc *Receiver) authorized(r *http.Request, inPath string) bool {
	candidates := append(make([]string, 0, 3), inPath)
	if _, password, ok := r.BasicAuth(); ok {
		candidates = append(candidates, password)
	}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		candidates = append(candidates, strings.TrimSpace(token))
	}
	return rc.tokens.Match(candidates...)
}
