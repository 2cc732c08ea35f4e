package check

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
)

// probePage asks the operator's page on this machine for one of its own files, which it gives to
// everybody: it answers while the broker is away, too. Errors are as those of [Probe].
func probePage(ctx context.Context, environ []string, timeout time.Duration) (string, error) {
	var about []string
	for _, entry := range environ {
		if strings.HasPrefix(entry, "RELAY_UI_ADDR=") || strings.HasPrefix(entry, "RELAY_UI_TLS_") {
			about = append(about, entry)
		}
	}
	cfg, err := config.Load(about)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoProbe, err)
	}
	u := &url.URL{Scheme: "http", Host: config.Reachable(cfg.UI.Addr)}
	var pinned *tls.Config
	if file := cfg.UI.TLSCertFile; file != "" {
		u.Scheme, pinned = "https", tlsfiles.PinnedConfig("RELAY_UI_TLS_CERT_FILE", file)
	}
	if u.Port() == "0" {
		return "", fmt.Errorf("%w: RELAY_UI_ADDR=%s takes a free port, which is not known; choose one", ErrNoProbe, cfg.UI.Addr)
	}
	transport := httpclient.NewTransport(1, pinned, nil) // no proxy is asked for what is on this machine
	defer transport.CloseIdleConnections()
	a := httpclient.NewClient(httpclient.Options{Agent: agent, URL: u, Transport: transport, Timeout: timeout, MaxAnswer: maxAnswer}).Do(ctx, http.MethodGet, u.JoinPath(Probes[PageProbe]).String(), nil, nil)
	switch {
	case a.Status == 0:
		return "", fmt.Errorf("no page answers at %s: %s", u, a.Cause)
	case a.Status != http.StatusOK || !bytes.HasPrefix(a.Body, []byte("<svg ")):
		return "", fmt.Errorf("what answers at %s is no page of the relay: %s", u, httpclient.StatusLine(a.Status, ""))
	}
	return fmt.Sprintf("the operator's page at %s answers", u), nil
}
