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

// PageProbe is the probe of the operator's page: does it answer?
const PageProbe = "ui"

// Probes maps the names of probes to their paths, at the admin endpoint but for [PageProbe].
var Probes = map[string]string{
	"health":  "/healthz", // can it recover by itself?
	"ready":   "/readyz",  // would a webhook be accepted now?
	PageProbe: "/static/icon.svg",
}

// ErrNoProbe is returned when the configuration cannot be used for a probe: RELAY_ADMIN_ADDR is
// wrong or off, or for a probe of the page RELAY_UI_ADDR is.
var ErrNoProbe = errors.New("the relay cannot be probed")

// Probe sends one of [Probes] to the relay or the page on this machine, and nothing to the broker. It
// returns a line if the probe succeeds, or an error that says why it failed. The error is an
// [ErrNoProbe] if trying again changes nothing.
//
// It reads only the address from the environment: a token's file that is being replaced
// makes no relay unhealthy.
func Probe(ctx context.Context, environ []string, probe string, timeout time.Duration) (string, error) {
	if probe == PageProbe {
		return probePage(ctx, environ, timeout)
	}
	var about []string
	for _, entry := range environ {
		if strings.HasPrefix(entry, "RELAY_ADMIN_ADDR=") {
			about = append(about, entry)
		}
	}
	cfg, err := config.Load(about)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoProbe, err)
	}
	if cfg.AdminURL() == "" {
		return "", fmt.Errorf("%w: RELAY_ADMIN_ADDR is off, so that nothing answers; set it to an address, such as 127.0.0.1:8721", ErrNoProbe)
	}
	u, err := adminURL(cfg)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoProbe, err)
	}
	switch a, fact := probeRelay(ctx, u, Probes[probe], timeout); a {
	case isWell, hasNotes:
		return fact, nil
	default:
		return "", errors.New(fact)
	}
}

// adminURL is where the relay on this machine is asked how it is.
func adminURL(cfg config.Config) (*url.URL, error) {
	u, err := url.Parse(cfg.AdminURL())
	if err != nil {
		return nil, fmt.Errorf("RELAY_ADMIN_ADDR=%s is no address of a URL", cfg.Admin.Addr)
	}
	if u.Port() == "0" {
		return nil, fmt.Errorf("RELAY_ADMIN_ADDR=%s takes a free port, which is not known; choose one", cfg.Admin.Addr)
	}
	return u, nil
}

// answer is what came of a question to the relay on this machine.
type answer int

const (
	isWell    answer = iota
	hasNotes         // it is well, and says something besides
	isUnwell         // it says why
	isSilent         // nobody answers
	isNoRelay        // something else does
)

// probeRelay asks at one of the paths of Probes, and returns a fact for people beside the
// answer.
func probeRelay(ctx context.Context, u *url.URL, path string, timeout time.Duration) (found answer, fact string) {
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
		return isSilent, fmt.Sprintf("no relay answers at %s: %s", u, a.Cause)
	case err != nil || said.Status == "":
		return isNoRelay, fmt.Sprintf("what answers at %s is no relay: %s", u, httpclient.StatusLine(a.Status, ""))
	}
	fact = fmt.Sprintf("the relay at %s is %s", u.Host, said.Status)
	switch {
	case a.Status != http.StatusOK:
		return isUnwell, fact + ": " + strings.Join(said.Reasons, "; ")
	case len(said.Notes) > 0:
		return hasNotes, fact + ", and says: " + strings.Join(said.Notes, "; ")
	}
	return isWell, fact
}
