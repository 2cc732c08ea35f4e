package download

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// maxAddressBytes is longer than any signed address: browsers and servers take 8 KiB.
	maxAddressBytes = 8 << 10

	// maxHostBytes is the longest name that DNS knows.
	maxHostBytes = 253
)

// judge says which addresses may be asked for, by what they say.
type judge struct {
	hosts config.Origins
	guard guard
}

// address reads an address that may be asked for, and whether it is an origin that is allowed
// as it stands, wherever it is.
func (j judge) address(address string) (u *url.URL, asItStands bool, fault *Error) {
	u, problem := parse(address)
	switch {
	case problem != "":
		return nil, false, &Error{Reason: schema.ReasonInvalidAddress, Detail: "the address " + problem}
	case u.User != nil:
		return nil, false, &Error{Reason: schema.ReasonForbiddenHost, Detail: "the address has a user in it, and nobody is named to an origin"}
	case j.hosts.AllowAsItStands(u):
		return u, true, nil
	case u.Scheme != "https":
		return nil, false, &Error{Reason: schema.ReasonNotHTTPS, Detail: fmt.Sprintf("%s is not https: only an entry of RELAY_ARCHIVE_HOSTS with that scheme allows it", origin(u))}
	case !j.hosts.Allow(u):
		return nil, false, &Error{Reason: schema.ReasonForbiddenHost, Detail: fmt.Sprintf("no entry of RELAY_ARCHIVE_HOSTS allows %s", origin(u))}
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && !j.guard.isPublic(addr) {
		return nil, false, forbidden(notPublicError{addr})
	}
	return u, false, nil
}

// parse reads an address, or says what is wrong with it.
func parse(address string) (u *url.URL, problem string) {
	if len(address) > maxAddressBytes {
		return nil, fmt.Sprintf("has %d bytes: the limit is %d", len(address), maxAddressBytes)
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, "is no URL" // the error repeats it, and what is secret in it
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, "is no http or https URL"
	}
	name, ok := hostName(u.Hostname())
	if !ok {
		return nil, fmt.Sprintf("names no host that could be looked up: %q", short(u.Hostname()))
	}
	if name != u.Hostname() {
		u.Host = name + strings.TrimPrefix(u.Host, u.Hostname())
	}
	return u, ""
}

// hostName returns a host as it is looked up, and whether it can be. What all programs but
// this one take for an address in other clothes, such as 127.1 and 0x7f000001, can not.
func hostName(host string) (string, bool) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return host, addr.Zone() == ""
	}
	isPlain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
	}
	isStrange := func(r rune) bool { return !isPlain(r) }
	if strings.ContainsFunc(host, isStrange) {
		// As net/http does before it looks a name up.
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil || strings.ContainsFunc(ascii, isStrange) {
			return "", false
		}
		host = ascii
	}
	last := strings.TrimSuffix(host, ".")
	last = strings.ToLower(last[strings.LastIndexByte(last, '.')+1:])
	isNumber := strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == ""
	return host, len(host) <= maxHostBytes && !isNumber
}

// origin names where a URL leads, without what may be secret in it.
func origin(u *url.URL) string { return short(u.Scheme + "://" + u.Host) }

// short makes a foreign name fit to be shown.
func short(s string) string {
	s, cut := text.Shorten(text.Line(s), maxHostBytes+20)
	if cut {
		s += "…"
	}
	return s
}
