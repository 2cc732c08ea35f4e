package receiver

import (
	"net/url"
	"strings"
)

// route finds out what a request is for, and the token that may stand behind its path.
//
// What proxies and people add is forgiven: one slash at the end, and doubled ones
// anywhere. No redirect says so, since senders of webhooks do not follow any.
func (rc *Receiver) route(u *url.URL) (token string, announces, ok bool) {
	if rc.announcer != nil {
		if token, ok = rc.tokenBehind(rc.expectPath, u); ok {
			return token, true, true
		}
	}
	token, ok = rc.tokenBehind(rc.cfg.Path, u)
	return token, false, ok
}

// tokenBehind returns the token behind a path. All that stands there is one token: base64
// has slashes in it.
func (rc *Receiver) tokenBehind(base string, u *url.URL) (token string, ok bool) {
	path := strings.TrimSuffix(singleSlashes(u.Path), "/")
	own := strings.TrimSuffix(base, "/")
	rest, ok := strings.CutPrefix(path, own)
	switch {
	case !ok, rest != "" && rest[0] != '/', hasDots(path):
		return "", false
	case u.RawPath != "" && encodesSlash(u.RawPath, strings.Count(own, "/")):
		return "", false
	case rest == "":
		return "", true
	case rc.tokens == nil && strings.Contains(rest[1:], "/"):
		return "", false // nobody expects a token, so this is just another path
	default:
		return rest[1:], true
	}
}

// singleSlashes makes one of slashes that follow each other.
func singleSlashes(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// hasDots reports whether a segment is . or .., which mean another path.
func hasDots(path string) bool {
	if !strings.Contains(path, "/.") {
		return false
	}
	return strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../")
}

// encodesSlash reports whether a slash within the first segments of an encoded path
// is written as %2F: proxies disagree on whether that divides segments. In a token
// it may be.
func encodesSlash(raw string, segments int) bool {
	raw = singleSlashes(raw)
	for range segments {
		segment, rest, _ := strings.Cut(strings.TrimPrefix(raw, "/"), "/")
		if strings.Contains(strings.ToLower(segment), "%2f") {
			return true
		}
		raw = rest
	}
	return false
}
