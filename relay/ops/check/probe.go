package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
)

const (
	// PageProbe is the probe of the operator's page: does it answer?
	PageProbe = "ui"
	// ArchiveProbe is the probe of the archive: can it store now?
	ArchiveProbe = "archive"
)

// Probes maps the names of probes to their paths, at the relay's admin endpoint but for
// [PageProbe] and [ArchiveProbe].
var Probes = map[string]string{
	"health":  "/healthz", // can it recover by itself?
	"ready":   "/readyz",  // would a webhook be accepted now?
	PageProbe: "/static/icon.svg",
	// At the archive's own admin endpoint.
	ArchiveProbe: "/readyz",
}

// ErrNoProbe is returned when the configuration cannot be used for a probe: RELAY_ADMIN_ADDR is
// wrong or off, or RELAY_UI_ADDR or RELAY_ARCHIVE_ADMIN_ADDR are for the probes of those.
var ErrNoProbe = errors.New("the relay cannot be probed")

// Probe sends one of [Probes] to the relay, the page or the archive on this machine, and nothing
// to the broker. It returns a line if the probe succeeds, or an error that says why it failed. The error is an
// [ErrNoProbe] if trying again changes nothing.
//
// It reads only the address from the environment: a token's file that is being replaced
// makes no relay unhealthy.
func Probe(ctx context.Context, environ []string, probe string, timeout time.Duration) (string, error) {
	if probe == PageProbe {
		return probePage(ctx, environ, timeout)
	}
	at := relayEndpoint
	if probe == ArchiveProbe {
		at = archiveEndpoint
	}
	var about []string
	for _, entry := range environ {
		if strings.HasPrefix(entry, at.variable+"=") {
			about = append(about, entry)
		}
	}
	cfg, err := config.Load(about)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoProbe, err)
	}
	u, err := at.url(cfg)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoProbe, err)
	}
	switch a, fact := at.ask(ctx, u, Probes[probe], timeout); a {
	case isWell, hasNotes:
		return fact, nil
	default:
		return "", errors.New(fact)
	}
}

// endpoint is an admin endpoint on this machine.
type endpoint struct {
	of       string // who answers there
	variable string
	example  string
	addr     func(config.Config) config.AdminAddr
}

var (
	relayEndpoint   = endpoint{"relay", "RELAY_ADMIN_ADDR", "127.0.0.1:8721", func(c config.Config) config.AdminAddr { return c.Admin.Addr }}
	archiveEndpoint = endpoint{"archive", "RELAY_ARCHIVE_ADMIN_ADDR", "127.0.0.1:8723", func(c config.Config) config.AdminAddr { return c.Archive.AdminAddr }}
)

// url is where it is. Its error is that it is off, or not known.
func (e endpoint) url(cfg config.Config) (*url.URL, error) {
	addr := e.addr(cfg)
	if addr == "" {
		return nil, fmt.Errorf("%s is off, so that nothing answers; set it to an address, such as %s", e.variable, e.example)
	}
	u, err := url.Parse("http://" + config.Reachable(string(addr)))
	if err != nil {
		return nil, fmt.Errorf("%s=%s is no address of a URL", e.variable, addr)
	}
	if u.Port() == "0" {
		return nil, fmt.Errorf("%s=%s takes a free port, which is not known; choose one", e.variable, addr)
	}
	return u, nil
}

// answer is what came of a question to an admin endpoint on this machine.
type answer int

const (
	isWell    answer = iota
	hasNotes         // it is well, and says something besides
	isUnwell         // it says why
	isSilent         // nobody answers
	isNoRelay        // something else does
)

// ask asks at one of the paths of Probes, and returns a fact for people beside the answer.
func (e endpoint) ask(ctx context.Context, u *url.URL, path string, timeout time.Duration) (found answer, fact string) {
	transport := httpclient.NewTransport(1, nil, nil) // no proxy is asked for what is on this machine
	defer transport.CloseIdleConnections()
	a := httpclient.NewClient(httpclient.Options{Agent: agent, URL: u, Transport: transport, Timeout: timeout, MaxAnswer: maxAnswer}).Do(ctx, http.MethodGet, u.JoinPath(path).String(), nil, nil)
	var said struct {
		Status         string
		Reasons, Notes []string
	}
	err := json.Unmarshal(a.Body, &said)
	switch {
	case a.Status == 0:
		return isSilent, fmt.Sprintf("no %s answers at %s: %s", e.of, u, a.Cause)
	case err != nil || said.Status == "":
		return isNoRelay, fmt.Sprintf("what answers at %s is no %s: %s", u, e.of, httpclient.StatusLine(a.Status, ""))
	}
	fact = fmt.Sprintf("the %s at %s is %s", e.of, u.Host, said.Status)
	switch {
	case a.Status != http.StatusOK:
		return isUnwell, fact + ": " + strings.Join(said.Reasons, "; ")
	case len(said.Notes) > 0:
		return hasNotes, fact + ", and says: " + strings.Join(said.Notes, "; ")
	}
	return isWell, fact
}
