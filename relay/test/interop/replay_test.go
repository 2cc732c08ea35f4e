package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloudevents/sdk-go/v2/client"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// What replay posts, in either mode and from either, is what the CloudEvents SDK's
// HTTP receiver takes for the events that were published.
func TestWhatIsReplayedIsReceived(t *testing.T) {
	t.Parallel()
	program := relaytest.Build(t, "./cmd/apixo-relay")
	for _, stored := range []string{"structured", "binary"} {
		t.Run("stored "+stored, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
			defer cancel()
			r := startRelay(t, program, stored)
			tasks, rejected := tasks(t), rejected()
			for _, w := range slices.Concat(tasks, rejected) {
				r.post(ctx, t, w)
			}
			for _, mode := range []string{"structured", "binary"} {
				for what, posted := range map[string][]webhook{"tasks": tasks, "quarantine": rejected} {
					t.Run(mode+" "+what, func(t *testing.T) {
						var args []string
						if what == "quarantine" {
							args = append(args, "--quarantine")
						}
						got := replay(ctx, t, program, r, append(args, "--mode", mode)...)
						if len(got) != len(posted) {
							t.Fatalf("%d events were received, %d were published", len(got), len(posted))
						}
						for i, w := range posted {
							// As from NATS, the SDK does not decode the headers of binary mode.
							compare(t, w.name, got[i], asGoSDKReads(mode)(w), sameJSON)
						}
					})
				}
			}
		})
	}
}

// replay runs the command against a receiver made with the SDK, and returns what
// that has received, in order.
func replay(ctx context.Context, t *testing.T, program string, r relay, args ...string) []event {
	t.Helper()
	protocol, err := http.New()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []event
	handler, err := client.NewHTTPReceiveHandler(ctx, protocol, func(e cloudevents.Event) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, ofGoSDK(e))
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	cmd := exec.CommandContext(ctx, program, append([]string{"replay", "--from-seq", "1", "--to", server.URL, "--concurrency", "1", "--output", "json"}, args...)...)
	cmd.Env = relaytest.Environ("NATS_URL=" + r.Broker)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(failedCommand("replay "+strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes()))
	}
	var summary struct{ Delivered int }
	if err := json.Unmarshal(stdout.Bytes(), &summary); err != nil || summary.Delivered != len(got) {
		t.Errorf("%d events were received, and the summary is %s (%v)", len(got), stdout.String(), err)
	}
	return got
}
