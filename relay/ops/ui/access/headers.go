package access

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

const policyHeader = "Content-Security-Policy"

// permissions are what a browser would ask its user for, and what no page of ours needs.
// Pictures and video are shown in full screen, and text is copied.
const permissions = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), " +
	"payment=(), publickey-credentials-get=(), usb=(), xr-spatial-tracking=()"

// setHeaders sets what every answer has. What serves files that never change sets another
// Cache-Control.
func (g *Guard) setHeaders(h http.Header, r *http.Request) {
	h.Set(policyHeader, g.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", permissions)
	h.Set("Cache-Control", "no-store")
	// With no-referrer a browser does not say of a form of ours from where it comes either:
	// its Origin is null. Where it says that in Sec-Fetch-Site, no more is needed. Elsewhere
	// it has to tell ourselves, and still tells nobody else.
	h.Set("Referrer-Policy", "same-origin")
	if g.isTrustworthy(r) {
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin") // a browser warns of it elsewhere
	}
}

// contentSecurityPolicy is what a browser does for a page of ours, whatever is in it.
func contentSecurityPolicy(media config.Origins) string {
	var sources []string
	for _, origin := range media {
		if source := mediaSource(origin); source != "" {
			sources = append(sources, source)
		}
	}
	return strings.Join([]string{
		"default-src 'none'",
		"script-src 'self'",
		"style-src 'self'",
		withSources("img-src 'self'", sources),
		withSources("media-src 'self'", sources),
		"connect-src 'self'",
		"form-action 'self'",
		"base-uri 'none'",
		"frame-ancestors 'none'",
		"require-trusted-types-for 'script'",
		"trusted-types apixo-relay",
	}, "; ")
}

// mediaSource is an entry of the setting as the policy writes it; empty where it cannot: the
// policy has no way to write an IPv6 address.
func mediaSource(entry string) string {
	switch {
	case entry == "*":
		return "https:"
	case strings.Contains(entry, "://"):
		return originOf(entry)
	case sourceHost.MatchString(strings.TrimPrefix(entry, "*.")):
		return "https://" + entry
	}
	return ""
}

var sourceHost = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[0-9]{1,5})?$`)

// originOf is the origin of an address, if it is one that the policy can have in it without
// becoming another policy, and else empty.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	host := strings.ToLower(u.Host)
	if !sourceHost.MatchString(host) {
		return ""
	}
	return u.Scheme + "://" + host
}

// withSources adds sources to a directive, each once.
func withSources(directive string, sources []string) string {
	words := strings.Fields(directive)
	for _, source := range sources {
		if source != "" && !slices.Contains(words, source) {
			words = append(words, source)
		}
	}
	return strings.Join(words, " ")
}

// CanAllowMedia reports whether [AllowMedia] does something for an origin.
func CanAllowMedia(origin string) bool { return originOf(origin) != "" }

// AllowMedia lets this one answer show pictures, video and audio of further origins: those of
// what somebody has clicked. They are http or https addresses, of which the path does not
// count; others, and those whose host is not plain ASCII or is an IPv6 address, are passed
// over. It has to be called before the answer begins.
func AllowMedia(w http.ResponseWriter, origins ...string) {
	var sources []string
	for _, origin := range origins {
		sources = append(sources, originOf(origin))
	}
	directives := strings.Split(w.Header().Get(policyHeader), "; ")
	for i, directive := range directives {
		if strings.HasPrefix(directive, "img-src ") || strings.HasPrefix(directive, "media-src ") {
			directives[i] = withSources(directive, sources)
		}
	}
	w.Header().Set(policyHeader, strings.Join(directives, "; "))
}
