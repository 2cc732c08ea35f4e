package check

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/ops/web"
)

const (
	// agent names this command in the logs of who is asked.
	agent = "apixo-relay-check"
	// maxAnswer is how much of an answer is looked at, in bytes. The relay's are far
	// smaller.
	maxAnswer = 64 << 10
)

// running asks the relay on this machine how it is.
func (x *examiner) running(ctx context.Context) (found lines) {
	admin := x.cfg.AdminURL()
	if admin == "" {
		found.ok(Relay, "it is not asked: RELAY_ADMIN_ADDR is off")
		return found
	}
	u, err := url.Parse(admin)
	if err != nil {
		found.skip("RELAY_ADMIN_ADDR="+string(x.cfg.Admin.Addr)+" is no address of a URL", Relay)
		return found
	}
	if _, port, err := net.SplitHostPort(u.Host); err == nil && port == "0" {
		found.skip("RELAY_ADMIN_ADDR="+string(x.cfg.Admin.Addr)+" takes a free port, which is not known", Relay)
		return found
	}
	transport := web.NewTransport(1, nil, nil) // no proxy is asked for what is on this machine
	defer transport.CloseIdleConnections()
	client := web.NewClient(agent, u, transport, x.patience, maxAnswer)
	for _, ask := range []struct{ path, yes, remedy string }{
		{"/healthz", "ok", "only a restart helps; then look after the disk of RELAY_DATA_DIR"},
		{"/readyz", "ready", "mend what it names, and what else fails here; webhooks get 503 until then"},
	} {
		a := client.Do(ctx, http.MethodGet, admin+ask.path, nil, nil)
		said, ok := statement(a)
		switch {
		case a.Status == 0 && x.cfg.UsesEmbedded():
			found.fail(Relay, "start the relay ('apixo-relay'), and check with the same environment (RELAY_ADMIN_ADDR)", "no relay answers at %s: %s", admin, a.Cause)
			return found
		case a.Status == 0:
			found.ok(Relay, "none runs here: nobody answers at %s (%s)", admin, a.Cause)
			return found
		case !ok:
			found.warn(Relay, "see what runs there, and compare with RELAY_ADMIN_ADDR", "what answers at %s is no relay: %s", admin, web.StatusLine(a.Status, ""))
			return found
		case a.Status != http.StatusOK:
			found.fail(Relay, ask.remedy, "the relay at %s is %s: %s", u.Host, said.Status, strings.Join(said.Reasons, "; "))
		case len(said.Notes) > 0:
			found.warn(Relay, "see to it before webhooks are refused", "the relay at %s is %s, and says: %s", u.Host, said.Status, strings.Join(said.Notes, "; "))
		}
	}
	if len(found) == 0 {
		found.ok(Relay, "the relay at %s is healthy and ready", u.Host)
	}
	return found
}
