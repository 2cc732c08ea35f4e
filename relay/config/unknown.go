package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// unknown finds the variables that look like settings and are none.
func unknown(known []Variable, vars map[string]string) (names []string) {
	for name, value := range vars {
		if !strings.HasPrefix(name, "RELAY_") || isOfService(name, value) {
			continue
		}
		if !slices.ContainsFunc(known, func(v Variable) bool {
			return name == v.Name || v.Secret && name == v.Name+"_FILE"
		}) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// servicePort ends the names of variables that describe a port of a service.
var servicePort = regexp.MustCompile(`_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?$`)

// isOfService reports whether Kubernetes has made a variable for a service, one that is
// called relay or relay-something, by its name and what it holds: RELAY_SERVICE_HOST,
// RELAY_SERVICE_PORT, RELAY_SERVICE_PORT_HTTP, RELAY_PORT, RELAY_PORT_8720_TCP and, with
// _PROTO, _PORT and _ADDR behind it, what that consists of.
func isOfService(name, value string) bool {
	isAddress := func() bool { _, err := netip.ParseAddr(value); return err == nil }
	isPort := func() bool { _, err := strconv.ParseUint(value, 10, 16); return err == nil }
	isURL := func() bool {
		u, err := url.Parse(value)
		return err == nil && slices.Contains([]string{"tcp", "udp", "sctp"}, u.Scheme) && u.Port() != ""
	}
	if match := servicePort.FindStringSubmatch(name); match != nil {
		switch match[2] {
		case "_PROTO":
			return value == strings.ToLower(match[1])
		case "_PORT":
			return isPort()
		case "_ADDR":
			return isAddress()
		}
		return isURL()
	}
	switch {
	case strings.HasSuffix(name, "_SERVICE_HOST"):
		return isAddress()
	case strings.HasSuffix(name, "_SERVICE_PORT"), strings.Contains(name, "_SERVICE_PORT_"):
		return isPort()
	case strings.HasSuffix(name, "_PORT"):
		return isURL()
	}
	return false
}
