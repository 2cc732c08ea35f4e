package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// Relay is a relay in a process of its own, and the sender of its webhooks.
type Relay struct {
	*Process
	*Sender

	// Admin is the URL of its admin endpoint, Broker that of its broker.
	Admin, Broker string
}

// StartRelay starts a relay with variables such as "NATS_URL=nats://…", and
// returns when it is listening, which it does without a broker too.
func (r *Rig) StartRelay(ctx context.Context, environ ...string) (*Relay, error) {
	dir, err := r.folder("relay")
	if err != nil {
		return nil, err
	}
	environ = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir,
		"RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0",
		"RELAY_EMBEDDED_ADDR=127.0.0.1:0", "RELAY_DATA_DIR=" + dir,
		"RELAY_LOG_FORMAT=json",
	}, environ...)
	p, err := r.start("relay", r.programs.relay, nil, environ)
	if err != nil {
		return nil, err
	}
	relay := &Relay{Process: p}
	line, err := relay.AwaitMessage(ctx, "ready")
	if err != nil {
		return nil, err
	}
	relay.Sender = r.NewSender(text(line["webhooks"]))
	relay.Admin, relay.Broker = text(line["admin"]), text(line["broker"])
	return relay, nil
}

func text(v any) string { s, _ := v.(string); return s }

// AwaitMessage waits for a line of the relay's log with that message, as
// [Process.Await] does, and returns its attributes.
func (r *Relay) AwaitMessage(ctx context.Context, msg string) (map[string]any, error) {
	var attributes map[string]any
	_, err := r.Await(ctx, fmt.Sprintf("%q", msg), func(line string) bool {
		attributes = nil
		return json.Unmarshal([]byte(line), &attributes) == nil && attributes["msg"] == msg
	})
	return attributes, err
}

// Ready asks the relay whether it would accept a webhook now: nil if so, and
// else what it says.
func (r *Relay) Ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Admin+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("the relay does not say whether it is ready: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("the relay does not say whether it is ready: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return nil
}

// probePause is between two questions whether the relay is ready, which it tells
// only to those who ask.
const probePause = 20 * time.Millisecond

// AwaitReady waits until the relay would accept a webhook.
func (r *Relay) AwaitReady(ctx context.Context) error {
	return r.probe(ctx, "readiness", func(err error) bool { return err == nil })
}

// AwaitNotReady waits until the relay says that it is not ready, and names a cause.
func (r *Relay) AwaitNotReady(ctx context.Context, cause string) error {
	return r.probe(ctx, fmt.Sprintf("readiness to say %q", cause), func(err error) bool {
		return err != nil && strings.Contains(err.Error(), cause)
	})
}

func (r *Relay) probe(ctx context.Context, what string, enough func(error) bool) error {
	for {
		err := r.Ready(ctx)
		if ctx.Err() == nil && enough(err) {
			return nil
		}
		select {
		case <-time.After(probePause):
		case <-ctx.Done():
			return fmt.Errorf("waited for %s, and it is %v: %w", what, err, context.Cause(ctx))
		}
	}
}
