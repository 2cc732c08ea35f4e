package check

import "context"

const (
	// agent names this command in the logs of who is asked.
	agent = "apixo-relay-check"
	// maxAnswer is how much of an answer is looked at, in bytes. The relay's are far
	// smaller.
	maxAnswer = 64 << 10
)

// running asks the relay on this machine how it is.
func (x *runner) running(ctx context.Context) (found checkList) {
	if x.cfg.AdminURL() == "" {
		found.ok(Relay, "it is not asked: RELAY_ADMIN_ADDR is off")
		return found
	}
	u, err := relayEndpoint.url(x.cfg)
	if err != nil {
		found.skip(err.Error(), Relay)
		return found
	}
	for _, question := range []struct{ path, remedy string }{
		{"/healthz", "only a restart helps; then look after the disk of RELAY_DATA_DIR"},
		{"/readyz", "mend what it names, and what else fails here; webhooks get 503 until then"},
	} {
		switch a, fact := relayEndpoint.ask(ctx, u, question.path, x.timeout); {
		case a == isSilent && x.cfg.UsesEmbedded():
			found.fail(Relay, "start the relay ('apixo-relay'), and check with the same environment (RELAY_ADMIN_ADDR)", "%s", fact)
			return found
		case a == isSilent:
			found.ok(Relay, "none runs here: %s", fact)
			return found
		case a == isNoRelay:
			found.warn(Relay, "see what runs there, and compare with RELAY_ADMIN_ADDR", "%s", fact)
			return found
		case a == isUnwell:
			found.fail(Relay, question.remedy, "%s", fact)
		case a == hasNotes:
			found.warn(Relay, "see to it before webhooks are refused", "%s", fact)
		}
	}
	if len(found) == 0 {
		found.ok(Relay, "the relay at %s is healthy and ready", u.Host)
	}
	return found
}
