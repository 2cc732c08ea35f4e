package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// bench is one server or a cluster, and what users do with it.
type bench struct {
	*programs
	servers  []*server
	replicas int
	tasks    int // that there were
	// hub is the cluster whose leaf node the only server is: the relay is here, and
	// everybody else is there. Nil for a cluster.
	hub *bench
}

func (b *bench) url() string {
	urls := make([]string, len(b.servers))
	for i, s := range b.servers {
		urls[i] = "tls://" + s.host + ":4222"
	}
	return strings.Join(urls, ",")
}

// environ are a user's settings for the relay's program.
func (b *bench) environ(user string, more ...string) []string {
	switch {
	case b.hub != nil && user != "relay":
		return b.hub.environ(user, more...)
	case b.hub != nil:
		return append([]string{
			"NATS_URL=nats://" + b.servers[0].host + ":4222", "NATS_JS_DOMAIN=hub", "NATS_USER=" + user, "NATS_PASSWORD=" + password(user),
			fmt.Sprintf("RELAY_STREAM_REPLICAS=%d", b.replicas),
		}, more...)
	}
	return append([]string{
		"NATS_URL=" + b.url(), "NATS_CA=" + b.ca(), "NATS_USER=" + user, "NATS_PASSWORD=" + password(user),
		fmt.Sprintf("RELAY_STREAM_REPLICAS=%d", b.replicas),
	}, more...)
}

// command runs one of the relay's commands, and returns its standard output.
func (b *bench) command(ctx context.Context, user string, environ []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, b.relay, args...)
	cmd.Env = relaytest.Environ(b.environ(user, append(environ, "RELAY_ADMIN_ADDR=off")...)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		return string(out), fmt.Errorf("apixo-relay %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// serve starts a relay, and waits until it is ready.
func (b *bench) serve(t *testing.T, ctx context.Context, user string, environ ...string) (*relaytest.Relay, error) {
	t.Helper()
	r := relaytest.Start(t, b.relay, b.environ(user, environ...)...)
	return r, b.ready(ctx, r)
}

// ready waits until a webhook would be accepted.
func (b *bench) ready(ctx context.Context, r *relaytest.Relay) error {
	for {
		status, said, err := get(ctx, r.Admin+"/readyz")
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the relay is not ready: %v %s", err, said)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) (int, string, error) {
	return do(ctx, http.MethodGet, url, "")
}

func do(ctx context.Context, method, url, body string) (int, string, error) {
	q, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Close = true
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	said, err := io.ReadAll(r.Body)
	return r.StatusCode, string(said), err
}

// task is an id that was not there before.
func (b *bench) task() string {
	if b.hub != nil {
		return b.hub.task()
	}
	b.tasks++
	return fmt.Sprintf("task_%d", b.tasks)
}

func webhook(task, state string) string {
	return fmt.Sprintf(`{"code":200,"data":{"taskId":%q,"state":%q,"resultJson":"{\"resultUrls\":[]}"}}`, task, state)
}

// post delivers a webhook, once, which must have that status and that text in its answer.
func post(ctx context.Context, r *relaytest.Relay, body string, status int, text string) error {
	got, said, err := do(ctx, http.MethodPost, r.Webhooks, body)
	if err != nil {
		return err
	}
	if got != status || !strings.Contains(said, text) {
		return fmt.Errorf("%s got %d %s, not %d with %s", body, got, said, status, text)
	}
	return nil
}

// connect connects as a user, with any client.
func (b *bench) connect(t *testing.T, user string, options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	if b.hub != nil {
		return b.hub.connect(t, user, options...)
	}
	ca, err := os.ReadFile(b.ca())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	options = append(options, nats.Secure(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}),
		nats.UserInfo(user, password(user)), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	conn, err := nats.Connect(b.url(), options...)
	// A server ends a handshake that takes seconds, which on a busy machine says nothing.
	for late := time.Now().Add(patience); err != nil && time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		conn, err = nats.Connect(b.url(), options...)
	}
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

// violations are those that the servers logged.
func (b *bench) violations(t *testing.T) (lines []string) {
	t.Helper()
	for _, s := range b.servers {
		s.reload(t) // the line that it logs then is behind all others
		lines = append(lines, s.violations()...)
	}
	return lines
}
