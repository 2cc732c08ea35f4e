package access

import (
	"net/url"
	"strings"
)

// maxNextBytes is more than any address of the page has that somebody would come back to.
const maxNextBytes = 2000

// localPath returns an address if it is a path of this page, and else the first view: what
// sends somebody on after signing in comes from a link, which anybody can have made.
//
// Browsers take a backslash for a slash, leave tabs and line breaks out, and begin the name of
// a host after two slashes.
func localPath(address string) string {
	const first = "/"
	if len(address) > maxNextBytes || !strings.HasPrefix(address, "/") || strings.HasPrefix(address, "//") {
		return first
	}
	for _, c := range []byte(address) {
		if c <= ' ' || c > '~' || c == '\\' {
			return first
		}
	}
	u, err := url.Parse(address)
	if err != nil || u.IsAbs() || u.Host != "" {
		return first
	}
	return address
}
