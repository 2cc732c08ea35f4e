package interop

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// sdkExample is the folder of the example that uses the CloudEvents SDK, a module of its own.
var sdkExample = filepath.Join(relaytest.Root, "schema", "examples", "go", "cloudevents")

// relay is a running relay process.
type relay struct{ *relaytest.Relay }

// startRelay starts a relay with an embedded broker, a content mode and further settings.
func startRelay(t *testing.T, program, mode string, settings ...string) relay {
	t.Helper()
	return relay{relaytest.Start(t, program, append(settings, "RELAY_CE_MODE="+mode)...)}
}

// post delivers a webhook, which has to be answered as it says.
func (r relay) post(ctx context.Context, t *testing.T, w webhook) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Webhooks+"?model="+w.model.encoded, bytes.NewReader(w.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != w.status || strings.Contains(string(answer), `"duplicate":true`) {
		t.Fatalf("%s: the relay answered %s, %d was expected:\n%s", w.name, res.Status, w.status, answer)
	}
}
