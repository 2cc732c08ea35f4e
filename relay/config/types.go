package config

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/timeparse"
)

// MinTokenLength is the least length of a webhook token, in characters: 16
// random letters and digits are 95 bits, far beyond guessing over a network.
const MinTokenLength = 16

// Tokens are webhook secrets. Printing them shows only their number.
type Tokens []string

// UnmarshalText reads comma-separated tokens. Its errors have a token's position and length,
// never the token.
func (t *Tokens) UnmarshalText(text []byte) error {
	var tokens Tokens
	if isQuoted(strings.TrimSpace(string(text))) {
		return errors.New("quotes are around it: " + quotesHint)
	}
	for i, token := range list(string(text)) {
		switch {
		case strings.Contains(token, "\n"):
			return errors.New("tokens stand on lines of their own without commas: write a comma between them, as in TOKEN1,TOKEN2")
		case isQuoted(token):
			return fmt.Errorf("quotes are around token %d: %s", i+1, quotesHint)
		case shellVariable.MatchString(token):
			return fmt.Errorf("token %d is a name or a command in whose place only a shell puts a value: %s", i+1, unexpandedHint)
		}
		if len(token) < MinTokenLength {
			return fmt.Errorf("token %d has %d characters, %d or more are needed: make one with 'openssl rand -hex 16'", i+1, len(token), MinTokenLength)
		}
		for _, c := range []byte(token) {
			if c <= ' ' || c > '~' {
				return fmt.Errorf("token %d holds white space or a character outside ASCII, which a URL cannot carry unchanged: make one with 'openssl rand -hex 16'", i+1)
			}
		}
		if what, at := unstable(token); what != "" {
			return fmt.Errorf("token %d has %s at character %d, and proxies change that in a path: make one with 'openssl rand -hex 16'", i+1, what, at+1)
		}
		tokens = append(tokens, token)
	}
	if len(tokens) == 0 {
		return errors.New("no token in it: leave it unset to go without")
	}
	*t = tokens
	return nil
}

// unstable finds in a token what does not come through a proxy as the end of a path:
// empty segments, . and .., which are all taken out on the way. It returns the empty
// string if there is nothing.
func unstable(token string) (what string, at int) {
	for segment := range strings.SplitSeq(token, "/") {
		end := at + len(segment)
		switch {
		case segment == "" && at == 0:
			return "a slash", at
		case segment == "" && end == len(token):
			return "a slash", at - 1
		case segment == "":
			return "two slashes", at - 1
		case segment == ".", segment == "..":
			return "the segment " + segment, at
		}
		at = end + 1
	}
	return "", 0
}

// String returns the number of tokens, as in "2 tokens".
func (t Tokens) String() string { return fmt.Sprintf("%d tokens", len(t)) }

// GoString returns the same as String.
func (t Tokens) GoString() string { return t.String() }

// Prefixes are networks.
type Prefixes []netip.Prefix

// UnmarshalText reads comma-separated networks; an address alone is a network of one.
func (p *Prefixes) UnmarshalText(text []byte) error {
	var prefixes Prefixes
	for _, s := range list(string(text)) {
		prefix, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
			addr = addr.Unmap()
			prefix, err = addr.WithZone("").Prefix(addr.BitLen())
		}
		if err != nil {
			return fmt.Errorf("%q is not a network: write it like 10.0.0.0/8 or 2001:db8::/32", s)
		}
		if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	if len(prefixes) == 0 {
		// No networks mean any: a list that came out empty must not.
		return errors.New("no network in it: leave it unset to go without")
	}
	*p = prefixes
	return nil
}

// Contain reports whether the address is in one of the networks.
func (p Prefixes) Contain(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// Attributes are names of CloudEvents extension attributes.
type Attributes []string

// attributeName is stricter than CloudEvents 1.0.2 (section 3.1), which only
// recommends the 20 characters.
var attributeName = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

// reservedAttributes have a meaning of their own in every event.
var reservedAttributes = map[string]bool{
	"id": true, "source": true, "specversion": true, "type": true, "subject": true, "time": true,
	"datacontenttype": true, "dataschema": true, "data": true, "reason": true, "detail": true,
	"traceparent": true, "tracestate": true, "normalized": true, "verified": true,
}

// maxAttributes bounds, with the bound on a value, what attributes add to the
// size of an event, which the broker's max_payload has to allow for.
const maxAttributes = 10

// UnmarshalText reads comma-separated attribute names.
func (a *Attributes) UnmarshalText(text []byte) error {
	var names Attributes
	for _, name := range list(string(text)) {
		switch {
		case !attributeName.MatchString(name):
			return fmt.Errorf("%q cannot be a CloudEvents attribute: 1 to 20 lower-case letters and digits", name)
		case reservedAttributes[name]:
			return fmt.Errorf("%q already has a meaning in every event: choose another name", name)
		}
		names = append(names, name)
	}
	if len(names) > maxAttributes {
		return fmt.Errorf("%d attributes are too many: each event carries them with it; choose at most %d", len(names), maxAttributes)
	}
	*a = names
	return nil
}

// AdminAddr is a host and port, or empty for off.
type AdminAddr string

// UnmarshalText reads off or an address.
func (a *AdminAddr) UnmarshalText(text []byte) error {
	*a = AdminAddr(text)
	if *a == "off" {
		*a = ""
	}
	return nil
}

// LogFormat is the form of a log line.
type LogFormat string

// The log formats. LogAuto is text on a terminal and JSON otherwise.
const (
	LogAuto LogFormat = "auto"
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// UnmarshalText reads one of the formats.
func (f *LogFormat) UnmarshalText(text []byte) error {
	return oneOf(f, text, LogAuto, LogText, LogJSON)
}

// Sync says when what the embedded broker stores is fsynced.
type Sync string

// SyncAlways is before a webhook gets its 200, SyncInterval in the background.
const (
	SyncAlways   Sync = "always"
	SyncInterval Sync = "interval"
)

// UnmarshalText reads one of the two.
func (s *Sync) UnmarshalText(text []byte) error { return oneOf(s, text, SyncAlways, SyncInterval) }

// StreamPolicy says whether the relay may make and change its streams.
type StreamPolicy string

// PolicyCreate makes missing streams and leaves existing ones alone,
// PolicyUpdate changes existing ones too, PolicyRequire does neither.
const (
	PolicyCreate  StreamPolicy = "create"
	PolicyUpdate  StreamPolicy = "update"
	PolicyRequire StreamPolicy = "require"
)

// UnmarshalText reads one of the three.
func (p *StreamPolicy) UnmarshalText(text []byte) error {
	return oneOf(p, text, PolicyCreate, PolicyUpdate, PolicyRequire)
}

// CEMode is a content mode of the CloudEvents NATS protocol binding.
type CEMode string

// The content modes.
const (
	ModeStructured CEMode = "structured"
	ModeBinary     CEMode = "binary"
)

// UnmarshalText reads one of the two.
func (m *CEMode) UnmarshalText(text []byte) error { return oneOf(m, text, ModeStructured, ModeBinary) }

// VerifyMode says whether webhooks are held against the status API.
type VerifyMode string

// VerifyOff asks nobody, VerifyFlag says in the event what came of it, and VerifyEnforce
// takes only what is confirmed.
const (
	VerifyOff     VerifyMode = "off"
	VerifyFlag    VerifyMode = "flag"
	VerifyEnforce VerifyMode = "enforce"
)

// UnmarshalText reads one of the three.
func (m *VerifyMode) UnmarshalText(text []byte) error {
	return oneOf(m, text, VerifyOff, VerifyFlag, VerifyEnforce)
}

// Rate is a number of things in a second.
type Rate float64

// UnmarshalText reads a rate, such as 5000/m.
func (r *Rate) UnmarshalText(text []byte) error {
	rate, err := timeparse.Rate(string(text))
	*r = Rate(rate)
	return err
}

func oneOf[T ~string](dst *T, text []byte, choices ...T) error {
	names := make([]string, len(choices))
	for i, choice := range choices {
		if string(text) == string(choice) {
			*dst = choice
			return nil
		}
		names[i] = string(choice)
	}
	return errors.New("must be one of " + strings.Join(names, ", "))
}

// list splits at commas and leaves out what is empty.
func list(s string) []string {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
