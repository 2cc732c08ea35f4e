package compose_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/deploy/test/engine"
	"github.com/apixo-relay/apixo-relay/schema"
)

const webhook = `{"code":200,"data":{"taskId":"task_of_compose","state":"success","resultJson":"{\"resultUrls\":[]}"}}`

// The services come up as compose.yaml says, take a webhook, keep it three times, give it
// to a consumer and are watched.
func TestUp(t *testing.T) {
	t.Parallel()
	engine.Need(t, "openssl", "busybox", "prometheus")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := setUp(t)
	network := engine.NewNetwork(t)
	// The archive's files come from the relay itself, there being no other origin.
	settings, err := os.OpenFile(filepath.Join(dir, ".env"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = settings.WriteString("ARCHIVE_HOSTS=http://relay:8721\n")
	if err := errors.Join(err, settings.Close()); err != nil {
		t.Fatal(err)
	}
	project, images := load(t, dir), standIns(t)
	services := up(t, ctx, project, images, network, "relay", "prometheus", "ui", "archive")
	if out, code := services["relay"].exec(t, "/apixo-relay", "check"); code != 0 {
		t.Errorf("check: exit code %d\n%s", code, out)
	}

	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, "secrets", name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	transport := &http.Transport{DialContext: network.Dial}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	token := read("webhook-tokens")
	if status, body := deliver(t, client, token); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	replicated(t, ctx, connect(t, network, dir, "operator", read("operator-password")))
	consumed(t, ctx, connect(t, network, dir, "consumer", read("consumer-password")))
	if _, err := nats.Connect("tls://nats-1:4222", options(t, network, dir, "consumer", "not-the-password")...); err == nil {
		t.Error("a wrong password opens the broker")
	}
	tail := container(t, project, project.Services["operator"], images, network)
	tail.Args = append(tail.Args[:1], "tail", "--since", "1h", "--count", "1")
	if out, code := tail.Output(t); code != 0 || !strings.Contains(out, "task_of_compose") {
		t.Errorf("tail: exit code %d\n%s", code, out)
	}
	watched(t, ctx, client)
	looked(t, ctx, client, token, read("ui-tokens"))
	archived(t, ctx, client, token, services["archive"])

	// A token is taken up when it is written into its file.
	const next = "the-next-token-of-compose"
	if err := os.WriteFile(filepath.Join(dir, "secrets", "webhook-tokens"), []byte(token+","+next+"\n"), 0); err != nil {
		t.Fatal(err)
	}
	for {
		status, body := deliver(t, client, next)
		if status == http.StatusOK {
			break
		}
		pause(t, ctx, "the new token does not open: "+body)
	}
}

// deliver sends the webhook as APIXO does.
func deliver(t *testing.T, client *http.Client, token string) (status int, body string) {
	t.Helper()
	r, err := client.Post("http://relay:8720/webhook/apixo/"+token, "application/json", strings.NewReader(webhook))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func options(t *testing.T, network *engine.Network, dir, user, password string) []nats.Option {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, "secrets", "tls", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return []nats.Option{
		nats.SetCustomDialer(dialer{network}), nats.SkipHostLookup(), nats.Secure(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}),
		nats.UserInfo(user, password),
	}
}

// dialer is the network as the NATS client takes it.
type dialer struct{ *engine.Network }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.Network.Dial(context.Background(), network, address)
}
func (dialer) SkipTLSHandshake() bool { return false }

func connect(t *testing.T, network *engine.Network, dir, user, password string) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect("tls://nats-2:4222", options(t, network, dir, user, password)...)
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// replicated waits until each of three servers has the event.
func replicated(t *testing.T, ctx context.Context, js jetstream.JetStream) {
	t.Helper()
	for {
		stream, err := js.Stream(ctx, "APIXO")
		if err != nil {
			t.Fatal(err)
		}
		info := stream.CachedInfo()
		if info.State.Msgs != 1 || info.Config.Replicas != 3 {
			t.Fatalf("%d messages, %d replicas", info.State.Msgs, info.Config.Replicas)
		}
		current := 1 // the leader
		for _, peer := range info.Cluster.Replicas {
			if peer.Current && peer.Lag == 0 {
				current++
			}
		}
		if current == 3 {
			return
		}
		pause(t, ctx, "not every replica gets the event")
	}
}

// consumed reads the event as a service does.
func consumed(t *testing.T, ctx context.Context, js jetstream.JetStream) {
	t.Helper()
	consumer, err := js.CreateOrUpdateConsumer(ctx, "APIXO", jetstream.ConsumerConfig{
		Durable: "my-service", FilterSubject: "apixo.task.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(30 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	event, err := schema.DecodeMessage(msg.Headers(), msg.Data())
	if err != nil || event.ID != "task_of_compose" {
		t.Errorf("%+v, %v", event, err)
	}
	if err := msg.DoubleAck(ctx); err != nil {
		t.Error(err)
	}
}

// watched waits until Prometheus has scraped the relay, and looks for its alerts.
func watched(t *testing.T, ctx context.Context, client *http.Client) {
	t.Helper()
	get := func(path string, answer any) {
		r, err := client.Get("http://prometheus:9090/api/v1/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if err := json.NewDecoder(r.Body).Decode(answer); err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", path, r.Status, err)
		}
	}
	const query = `apixo_relay_webhooks_total{job="apixo-relay",outcome="published"} > 0`
	for {
		var found struct{ Data struct{ Result []any } }
		if get("query?query="+url.QueryEscape(query), &found); len(found.Data.Result) > 0 {
			break
		}
		pause(t, ctx, "Prometheus does not get the relay's metrics")
	}
	var rules struct {
		Data struct{ Groups []struct{ Name string } }
	}
	get("rules", &rules)
	if !slices.ContainsFunc(rules.Data.Groups, func(g struct{ Name string }) bool { return g.Name == "apixo-relay" }) {
		t.Errorf("Prometheus has the groups of rules %v", rules.Data.Groups)
	}
}

// pause is the time between two looks at what tells nobody when it changes. When no
// time is left, the problem is what the test failed by.
func pause(t *testing.T, ctx context.Context, problem string) {
	t.Helper()
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		t.Fatal(problem)
	}
}
