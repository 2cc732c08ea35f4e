package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/web"
)

// Probes maps the questions that Probe puts to the paths at which the relay answers them.
var Probes = map[string]string{
	"health": "/healthz", // can it recover by itself?
	"ready":  "/readyz",  // would a webhook be accepted now?
}

// ErrNoProbe is that of a configuration with which nobody can be asked.
var ErrNoProbe = errors.New("the relay cannot be probed")

// Probe puts one of Probes to the relay on this machine, and nothing to the broker.
// It returns a line that says yes, or an error that says why not, which is an
// ErrNoProbe where asking again changes nothing.
//
// Of the environment it reads where to ask and nothing else: the file of a token that
// is being replaced makes no relay unhealthy.
func Probe(ctx context.Context, environ []string, probe string, timeout time.Duration) (string, error) {
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
	u, err := url.Parse(cfg.AdminURL())
	if err != nil {
		return "", fmt.Errorf("%w: RELAY_ADMIN_ADDR=%s is no address of a URL", ErrNoProbe, cfg.Admin.Addr)
	}
	if _, port, _ := net.SplitHostPort(u.Host); port == "0" {
		return "", fmt.Errorf("%w: RELAY_ADMIN_ADDR=%s takes a free port, which is not known; choose one", ErrNoProbe, cfg.Admin.Addr)
	}
	transport := web.NewTransport(1, nil, nil) // no proxy is asked for what is on this machine
	defer transport.CloseIdleConnections()
	a := web.NewClient(agent, u, transport, timeout, maxAnswer).Do(ctx, http.MethodGet, u.JoinPath(Probes[probe]).String(), nil, nil)
	said, ok := statement(a)
	switch {
	case a.Status == 0:
		return "", fmt.Errorf("no relay answers at %s: %s", u, a.Cause)
	case !ok:
		return "", fmt.Errorf("what answers at %s is no relay: %s", u, web.StatusLine(a.Status, ""))
	case a.Status != http.StatusOK:
		return "", fmt.Errorf("the relay at %s is %s: %s", u.Host, said.Status, strings.Join(said.Reasons, "; "))
	}
	line := fmt.Sprintf("the relay at %s is %s", u.Host, said.Status)
	if len(said.Notes) > 0 {
		line += ", and says: " + strings.Join(said.Notes, "; ")
	}
	return line, nil
}

// says is what the relay's answer about itself holds.
type says struct {
	Status  string   `json:"status"`
	Reasons []string `json:"reasons"`
	Notes   []string `json:"notes"`
}

// statement reads it, and reports whether it is one.
func statement(a web.Answer) (said says, ok bool) {
	err := json.Unmarshal(a.Body, &said)
	return said, err == nil && said.Status != ""
}
