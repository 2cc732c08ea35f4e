package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ask is a question to the admin endpoint: its body, or an error that has it.
func (r *Relay) ask(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Admin+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("the relay does not answer to %s: %w", path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("the relay does not answer to %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), nil
}

// Metric is what the relay's metrics say of a series without labels.
func (r *Relay) Metric(ctx context.Context, name string) (float64, error) {
	text, err := r.ask(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("the relay has no metric %s", name)
}

// Ready asks the relay whether it would accept a webhook now: nil if so, and
// else what it says.
func (r *Relay) Ready(ctx context.Context) error {
	_, err := r.ask(ctx, "/readyz")
	return err
}

// Healthy asks the relay whether it can go on without a restart: nil if so, and
// else what it says.
func (r *Relay) Healthy(ctx context.Context) error {
	_, err := r.ask(ctx, "/healthz")
	return err
}

// probePause is between two questions, since the relay tells its state only to
// those who ask.
const probePause = 20 * time.Millisecond

// AwaitReady waits until the relay would accept a webhook.
func (r *Relay) AwaitReady(ctx context.Context) error {
	return probe(ctx, "readiness", r.Ready, func(err error) bool { return err == nil })
}

// AwaitNotReady waits until the relay says that it is not ready, and names a cause.
func (r *Relay) AwaitNotReady(ctx context.Context, cause string) error {
	return probe(ctx, fmt.Sprintf("readiness to say %q", cause), r.Ready, naming(cause))
}

// AwaitUnhealthy waits until the relay says that only a restart helps, and names
// a cause.
func (r *Relay) AwaitUnhealthy(ctx context.Context, cause string) error {
	return probe(ctx, fmt.Sprintf("health to say %q", cause), r.Healthy, naming(cause))
}

// naming takes a 503 with a cause, and not that there was no answer.
func naming(cause string) func(error) bool {
	return func(err error) bool {
		return err != nil && strings.HasPrefix(err.Error(), "503 ") && strings.Contains(err.Error(), cause)
	}
}

// AwaitForwarded waits until nothing is left in the outbox.
func (r *Relay) AwaitForwarded(ctx context.Context) error {
	left := func(ctx context.Context) error {
		metrics, err := r.ask(ctx, "/metrics")
		if err != nil || strings.Contains(metrics, "\napixo_relay_outbox_messages 0\n") {
			return err
		}
		return errors.New("one that holds webhooks")
	}
	return probe(ctx, "an empty outbox", left, func(err error) bool { return err == nil })
}

func probe(ctx context.Context, what string, ask func(context.Context) error, enough func(error) bool) error {
	for {
		err := ask(ctx)
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
