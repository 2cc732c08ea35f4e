package check

import (
	"context"
	"net/http"

	"github.com/apixo-relay/apixo-relay/relay/apixo"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
)

// someModel is one that the API has, so that it is the task of which it knows nothing.
const someModel = "nano-banana"

// api asks the status API once, for a task that does not exist: that it says so, and not
// that the key is wrong, is the answer of an API that can be used.
func (x *runner) api(ctx context.Context) (found checkList) {
	c := x.cfg
	if c.API.Key == "" {
		found.ok(API, "APIXO_API_KEY is not set; backfill, RELAY_EXPECT and RELAY_VERIFY need it")
		return found
	}
	// A transport of its own: that of a delivery may trust more than the key is to be shown to.
	transport := httpclient.NewTransport(1, nil, http.ProxyFromEnvironment)
	defer transport.CloseIdleConnections()
	client, err := apixo.New(apixo.Options{
		API: c.API, Agent: agent, Transport: transport, MaxAnswer: c.Webhooks.MaxBodyBytes,
		// As long as a webhook waits for it, and not so long that the whole ends before.
		Timeout: min(c.Verify.Timeout, x.Timeout*9/10),
	})
	if err != nil {
		found.fail(API, "correct APIXO_BASE_URL", "%v", err)
		return found
	}
	needed := Warn
	if c.Expect.Enabled || c.Verify.Mode != config.VerifyOff {
		needed = Fail
	}
	// One request needs to wait for no turn.
	switch answer := client.Ask(ctx, someModel, nobody); answer.Kind {
	case apixo.Final, apixo.Pending, apixo.Unknown:
		found.ok(API, "the status API at %s takes the key", c.API.BaseURL)
	case apixo.Denied:
		found.fail(API, "compare APIXO_API_KEY with APIXO's console", "the status API at %s does not take the key: %s", c.API.BaseURL, answer)
	case apixo.Refused:
		found.warn(API, "compare APIXO_API_KEY and APIXO_BASE_URL with APIXO's console", "the status API at %s answers, and not as it does about a task that does not exist: %s", c.API.BaseURL, answer)
	default:
		found.add(API, needed, "compare APIXO_BASE_URL with APIXO's documentation, and see whether a proxy or a firewall is on the way, and whether APIXO is well", "the status API at %s gives no usable answer: %s", c.API.BaseURL, answer)
	}
	return found
}
