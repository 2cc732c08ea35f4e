package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// UI is the operator's page, which the command ui serves.
type UI struct {
	// Addr is a host and port; port 0 takes a free one.
	Addr string `env:"RELAY_UI_ADDR" envDefault:"127.0.0.1:8722" doc:"where 'apixo-relay ui' serves the operator's page. An address that other machines can reach needs RELAY_UI_TOKENS, and should have TLS"`
	// AccessTokens are the secrets with which operators sign in. TokensFile, where given,
	// is the file that they came from.
	AccessTokens Tokens `env:"RELAY_UI_TOKENS" doc:"comma-separated secrets of 16 characters or more, one of which an operator signs in with. Without them the page is for this machine alone. Read from a file, a change of the file is taken up without a restart, and ends the sessions of secrets that are gone"`
	TokensFile   string `env:"-"`
	// TLSCertFile and TLSKeyFile are PEM files.
	TLSCertFile string `env:"RELAY_UI_TLS_CERT_FILE" doc:"PEM certificate chain of the operator's page; with it the page is served by HTTPS. A changed file is taken up without a restart"`
	TLSKeyFile  string `env:"RELAY_UI_TLS_KEY_FILE" doc:"PEM private key of that certificate"`
	// Hosts are the names by which the page may be asked for, besides those of loopback.
	Hosts Hosts `env:"RELAY_UI_HOSTS" doc:"comma-separated names, without a port, under which the operator's page may be asked for, besides localhost, loopback addresses and the host of RELAY_UI_ADDR: a web page whose own name leads here must not read it"`
	// MediaHosts are the origins of pictures, video and audio.
	MediaHosts Origins `env:"RELAY_UI_MEDIA_HOSTS" envDefault:"*.apixo.ai" doc:"comma-separated hosts from which the operator's page shows pictures, video and audio without a click, by https; *.example.com for every name below one, * for any host. An entry with a scheme, such as http://127.0.0.1:9000, is that origin as it stands. The browser loads them, never the relay"`
	// Targets are where the page may replay to.
	Targets Targets `env:"RELAY_UI_TARGETS" secret:"true" doc:"comma-separated name=target, the only places to which the operator's page replays events: nats:SUBJECT or a URL, as in 'replay --to'. Quarantined webhooks are sent again to the one that is called relay, and without it to the relay of this environment"`
	// Index is how many task ids are kept in memory.
	Index int `env:"RELAY_UI_INDEX" envDefault:"1000000" doc:"how many of the newest task ids the operator's page keeps in memory for look-ups, at some 8 bytes each; older ones are searched for in the stream"`
}

// maxUIIndex is what fits into a memory that a page may take.
const maxUIIndex = 100_000_000

// checkUI holds what every command can check: who is reachable is a question of ui alone.
func (c *Config) checkUI(k *checker) {
	u := c.UI
	k.addr("RELAY_UI_ADDR", u.Addr)
	k.keyPair("RELAY_UI_TLS_CERT_FILE", u.TLSCertFile, "RELAY_UI_TLS_KEY_FILE", u.TLSKeyFile)
	k.require(u.Index >= 0 && u.Index <= maxUIIndex, "RELAY_UI_INDEX", "is out of range", fmt.Sprintf("choose from 0 to %d; 1000000 take some 8 MB", maxUIIndex))
}

// Check returns an [Error] if the page would be open to strangers. Commands that do not
// serve it need not care.
func (u UI) Check() error {
	if isLoopback(u.Addr) || len(u.AccessTokens) > 0 {
		return nil
	}
	return Error{
		Variable: "RELAY_UI_ADDR", Value: u.Addr,
		Problem: "other machines can reach it, and everybody could read and change what is stored",
		Hint:    "set RELAY_UI_TOKENS (make one with 'openssl rand -hex 16'), or choose a loopback address such as 127.0.0.1:8722",
	}
}

// Hosts are names of this service, as they stand in a URL, without a port and in lower case.
type Hosts []string

// UnmarshalText reads comma-separated names and addresses.
func (h *Hosts) UnmarshalText(text []byte) error {
	var hosts Hosts
	for _, s := range list(string(text)) {
		name := strings.ToLower(strings.TrimSuffix(strings.Trim(s, "[]"), "."))
		if !isHost(name) {
			return fmt.Errorf("%q is not the name of a host: write it like relay.example.com, without scheme, port and path", s)
		}
		hosts = append(hosts, name)
	}
	*h = hosts
	return nil
}

var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

// isHost reports whether s, in lower case, is a name or an address without a port.
func isHost(s string) bool {
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Zone() == "" || len(s) <= 253 && hostName.MatchString(s)
}

// Origins say from where something may be loaded.
type Origins []string

// UnmarshalText reads comma-separated hosts, and origins with a scheme. IPv6 addresses are
// refused: a browser's Content-Security-Policy has no way to write them.
func (o *Origins) UnmarshalText(text []byte) error {
	var origins Origins
	for _, s := range list(string(text)) {
		s = strings.ToLower(strings.TrimSuffix(s, "/"))
		good := s == "*" || !strings.Contains(s, ":") && isHost(strings.TrimPrefix(s, "*."))
		if strings.Contains(s, "://") {
			u, err := url.Parse(s)
			good = err == nil && (u.Scheme == "http" || u.Scheme == "https") && !strings.Contains(u.Hostname(), ":") && isHost(u.Hostname()) && s == u.Scheme+"://"+u.Host
		}
		if !good {
			return fmt.Errorf("%q is neither a host nor an origin: write it like cdn.example.com, *.example.com, http://127.0.0.1:9000, or * for any host", s)
		}
		origins = append(origins, s)
	}
	*o = origins
	return nil
}

// Allow reports whether an absolute URL is of one of the origins. Without a scheme an entry
// is about https at its usual port.
func (o Origins) Allow(u *url.URL) bool {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if u.User != nil || host == "" {
		return false
	}
	if o.AllowAsItStands(u) {
		return true
	}
	if scheme != "https" || u.Port() != "" && u.Port() != "443" {
		return false
	}
	for _, origin := range o {
		below, isWildcard := strings.CutPrefix(origin, "*.")
		switch {
		case origin == "*",
			isWildcard && strings.HasSuffix(strings.TrimSuffix(host, ":443"), "."+below),
			origin == strings.ToLower(u.Hostname()):
			return true
		}
	}
	return false
}

// AllowAsItStands reports whether an entry with a scheme is an absolute URL's origin: whoever
// wrote it means that very host, and not whatever has a name like it.
func (o Origins) AllowAsItStands(u *url.URL) bool {
	return u.User == nil && u.Host != "" && slices.ContainsFunc(o, func(origin string) bool {
		scheme, host, ok := strings.Cut(origin, "://")
		return ok && strings.EqualFold(scheme, u.Scheme) && withPort(scheme, host) == withPort(scheme, strings.ToLower(u.Host))
	})
}

// withPort writes an origin's host with the port that it has without one.
func withPort(scheme, host string) string {
	host, port, _ := strings.Cut(host, ":") // no entry is an IPv6 address
	switch {
	case port != "":
	case scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return host + ":" + port
}

// Target is where events may be replayed to.
type Target struct {
	Name string
	// To is nats:SUBJECT or an http or https URL, in which there can be secrets.
	To string
}

// Targets are named targets. Printing them shows only their names.
type Targets []Target

var targetName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// UnmarshalText reads comma-separated name=target. Its errors have names and never targets.
func (t *Targets) UnmarshalText(text []byte) error {
	var targets Targets
	names := make(map[string]bool)
	for i, s := range list(string(text)) {
		name, to, ok := strings.Cut(s, "=")
		name, to = strings.TrimSpace(name), strings.TrimSpace(to)
		if !ok || len(name) > 40 || !targetName.MatchString(name) {
			return fmt.Errorf("entry %d does not begin with a name: write it like staging=https://staging.example.com/hook; a comma in a URL is %%2C", i+1)
		}
		if names[name] {
			return fmt.Errorf("the name %s is there twice", name)
		}
		names[name] = true
		if !strings.HasPrefix(to, "nats:") {
			u, err := url.Parse(to)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
				return fmt.Errorf("the target %s is neither nats:SUBJECT nor an http or https URL", name)
			}
		} else if strings.TrimPrefix(to, "nats:") == "" || strings.HasPrefix(to, "nats://") {
			return fmt.Errorf("the target %s names no subject: write nats:SUBJECT, such as nats:replayed.tasks", name)
		}
		targets = append(targets, Target{name, to})
	}
	if len(targets) == 0 {
		return errors.New("no target in it: leave it unset to go without")
	}
	*t = targets
	return nil
}

// Get returns the target of a name.
func (t Targets) Get(name string) (Target, bool) {
	for _, target := range t {
		if target.Name == name {
			return target, true
		}
	}
	return Target{}, false
}

// String returns the names.
func (t Targets) String() string {
	names := make([]string, len(t))
	for i, target := range t {
		names[i] = target.Name
	}
	return strings.Join(names, ",")
}

// GoString returns the same as String.
func (t Targets) GoString() string { return t.String() }
