package check_test

import (
	"context"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// look checks with an environment in which nothing but what a test names is set.
func look(t *testing.T, environ ...string) check.Report {
	t.Helper()
	return lookWith(t, check.Options{}, environ...)
}

func lookWith(t *testing.T, o check.Options, environ ...string) check.Report {
	t.Helper()
	transport := httpclient.NewTransport(1, nil, nil)
	defer transport.CloseIdleConnections()
	if o.Transport == nil {
		o.Transport = transport
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	o.Environ = append([]string{"RELAY_ADMIN_ADDR=off", "RELAY_DATA_DIR=" + t.TempDir()}, environ...)
	return check.Run(t.Context(), o)
}

// through is a look with a delivery.
func through(t *testing.T, callback string, environ ...string) check.Report {
	t.Helper()
	u, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	return lookWith(t, check.Options{CallbackURL: u}, environ...)
}

// named are the checks of one name.
func named(r check.Report, name string) (found []check.Check) {
	for _, c := range r.Checks {
		if c.Name == name {
			found = append(found, c)
		}
	}
	return found
}

// expect wants a check of that name and status whose fact or remedy holds a text.
func expect(t *testing.T, r check.Report, name string, status check.Status, text string) {
	t.Helper()
	if !slices.ContainsFunc(named(r, name), func(c check.Check) bool {
		return c.Status == status && strings.Contains(c.Fact+" → "+c.Remedy, text)
	}) {
		t.Errorf("there is no %s of %s with %q in\n%s", status, name, text, printed(r))
	}
	if status == check.Fail && r.OK {
		t.Errorf("a report in which %s fails is OK", name)
	}
}

// only wants nothing but these names to be other than ok.
func only(t *testing.T, r check.Report, names ...string) {
	t.Helper()
	for _, c := range r.Checks {
		if c.Status != check.OK && !slices.Contains(names, c.Name) {
			t.Errorf("%s is %s:\n%s", c.Name, c.Status, printed(r))
			return
		}
	}
}

func printed(r check.Report) string {
	var b strings.Builder
	_ = r.WriteText(&b, false)
	return b.String()
}

// wellFormed wants each name once at least, in its order, and a remedy wherever
// something is to be done.
func wellFormed(t *testing.T, r check.Report) {
	t.Helper()
	order := []string{
		check.Configuration, check.Senders, check.Certificate, check.API, check.Disk, check.Store, check.Descriptors, check.Tracing, check.Broker, check.Version, check.JetStream, check.Permissions,
		check.Stream, check.Quarantine, check.Expected, check.Retention, check.Window, check.Replicas, check.Payload, check.Archive, check.Clock, check.Relay, check.Delivery, check.Strangers,
	}
	at := -1
	for _, c := range r.Checks {
		i := slices.Index(order, c.Name)
		optional := i == at+2 && order[at+1] == check.Archive
		if i < at || i > at+1 && !optional {
			t.Errorf("%s is out of its place in\n%s", c.Name, printed(r))
		}
		at = max(at, i)
		if c.Fact == "" || (c.Remedy == "") != (c.Status == check.OK || c.Status == check.Skip) {
			t.Errorf("%+v has the wrong words", c)
		}
	}
	if at < slices.Index(order, check.Relay) {
		t.Errorf("the report ends too soon:\n%s", printed(r))
	}
}

// makeStreams makes the relay's streams, changed as a test likes; nil for as they are.
func makeStreams(t *testing.T, js jetstream.JetStream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	for name, subject := range map[string]string{"APIXO": "apixo.task.>", "APIXO_QUARANTINE": "apixo.quarantine.>"} {
		cfg := jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Discard: jetstream.DiscardNew, Duplicates: time.Hour, AllowDirect: true}
		if change != nil {
			change(&cfg)
		}
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
}

// withStreams is a broker with the relay's streams.
func withStreams(t *testing.T, change func(*jetstream.StreamConfig)) (*server.Server, jetstream.JetStream) {
	t.Helper()
	s := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, s.ClientURL())
	makeStreams(t, js, change)
	return s, js
}

// state is what a stream holds.
func state(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamState {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State
}

// startRelay runs a relay on free ports, and returns the environment with which it
// and its broker are found.
func startRelay(t *testing.T, environ ...string) (r *relay.Relay, found []string) {
	t.Helper()
	environ = append([]string{"RELAY_DATA_DIR=" + t.TempDir()}, environ...)
	cfg, err := config.Load(append([]string{"RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0", "RELAY_EMBEDDED_ADDR=127.0.0.1:0"}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	r, err = relay.Start(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Stop(context.Background()) })
	found = append(environ, "RELAY_LISTEN_ADDR="+r.Addr(), "RELAY_ADMIN_ADDR="+r.AdminAddr())
	if cfg.UsesEmbedded() {
		found = append(found, "RELAY_EMBEDDED_ADDR="+strings.TrimPrefix(r.BrokerURL(), "nats://"))
	}
	return r, found
}
