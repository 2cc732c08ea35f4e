package cluster

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// three starts the cluster as it is shipped.
func three(t *testing.T, p *programs) *bench {
	t.Helper()
	config, accounts := shipped(t, "nats-server.conf"), allUsers(t)
	hosts := []string{p.host(), p.host(), p.host()}
	b := &bench{programs: p, replicas: 3}
	for i, host := range hosts {
		config := replaced(t, config, `"0.0.0.0:6222"`, `"`+host+`:6222"`,
			"nats-1:", hosts[0]+":", "nats-2:", hosts[1]+":", "nats-3:", hosts[2]+":")
		s := newServer(t, p, fmt.Sprintf("nats-%d", i+1), host, config, accounts)
		s.start(t)
		b.servers = append(b.servers, s)
	}
	return b
}

// The cluster as it is shipped does all that relay, consumers and operators do, while
// servers come and go, streams are made again and passwords change, and nobody tries
// anything that is not allowed.
func TestCluster(t *testing.T) {
	t.Parallel()
	p := newPrograms(t, 3)
	b := three(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range b.servers {
		// What README.md of this folder and of the repository promise for a 200.
		_, config, err := get(ctx, "http://"+s.host+":8222/jsz")
		must(err)
		if !strings.Contains(config, `"sync_always": true`) {
			t.Errorf("%s acknowledges before it syncs: %s", s.name, config)
		}
	}
	// The operator's page is beside three servers in the tests of Compose and Kubernetes.
	for _, d := range slices.Concat(eventDeeds, expectDeeds) {
		if err := d.do(t, ctx, b); err != nil {
			t.Fatalf("%s: %s: %v", d.user, d.name, err)
		}
	}
	r, err := b.serve(t, ctx, "relay")
	must(err)
	out, err := b.command(ctx, "relay", []string{"RELAY_WEBHOOK_PATH=/webhook/apixo"}, "send", "--url", r.Webhooks, "--count", "20", "--concurrency", "4")
	must(err)
	if !strings.Contains(out, "20 delivered, 0 failed") {
		t.Errorf("send says\n%s", out)
	}

	// An operator deletes the streams, and the relay, which may make them, does.
	_, js := b.connect(t, "operator")
	must(js.DeleteStream(ctx, "APIXO"))
	must(js.DeleteStream(ctx, "APIXO_QUARANTINE"))
	must(post(ctx, r, webhook(b.task(), "success"), http.StatusOK, `"duplicate":false`))
	must(b.ready(ctx, r))

	// The stream's leader is stopped; another server leads, and webhooks are stored.
	for range 2 {
		leader := b.leader(t, ctx, js)
		leader.stop(t)
		must(post(ctx, r, webhook(b.task(), "success"), http.StatusOK, `"duplicate":false`))
		leader.start(t)
		b.current(t, ctx, js)
	}
	must(b.says(ctx, "operator", "this user may do all that the relay does", "check"))

	// A password is changed in the file of each server: who is connected with the old
	// one is thrown out, and nobody else.
	consumer, _ := b.connect(t, "consumer")
	thrownOut := consumer.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	for _, s := range b.servers {
		accounts := replaced(t, allUsers(t), "$CONSUMER_PASSWORD", "another-one")
		s.write(t, "accounts.conf", accounts)
		s.reload(t)
	}
	select {
	case <-thrownOut:
	case <-ctx.Done():
		t.Error("who is connected with the old password stays so")
	}
	must(post(ctx, r, webhook(b.task(), "success"), http.StatusOK, `"duplicate":false`))
	if _, err := b.command(ctx, "consumer", nil, "check"); err == nil || !strings.Contains(err.Error(), "does not let this command in") {
		t.Errorf("with the old password the consumer gets %v", err)
	}
	b.stranger(t)
	if lines := b.violations(t); len(lines) > 0 {
		t.Errorf("somebody tried what is not allowed:\n%s", strings.Join(lines, ""))
	}
}

// Clients take no server for the right one that another authority answers for.
func TestAuthority(t *testing.T) {
	t.Parallel()
	p, strangers := newPrograms(t, 1), newPrograms(t, 1)
	b := one(t, p, allUsers(t), p.host())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for what, ca := range map[string]string{"an authority of its own": strangers.ca(), "the system's authorities": ""} {
		if out, err := b.command(ctx, "operator", []string{"NATS_CA=" + ca}, "tail", "--since", "1h", "--count", "1"); err == nil || !strings.Contains(err.Error(), "is not trusted") {
			t.Errorf("a client with %s gets %v\n%s", what, err, out)
		}
	}
}

// stranger is a server with these passwords and a certificate of another authority: it
// does not become one of the cluster, though it takes any other's.
func (b *bench) stranger(t *testing.T) {
	t.Helper()
	strangers := newPrograms(t, 1)
	host := strangers.host()
	config := replaced(t, shipped(t, "nats-server.conf"), "verify: true", "insecure: true", `"0.0.0.0:6222"`, `"`+host+`:6222"`,
		"nats-1:", b.servers[0].host+":", "nats-2:", b.servers[1].host+":", "nats-3:", b.servers[2].host+":")
	s := newServer(t, strangers, "nats-4", host, config, allUsers(t))
	from := b.servers[0].log.len()
	s.start(t)
	b.servers[0].log.await(t, from, "TLS route handshake error", b.servers[0].exited)
}

// leader is the server that leads the stream of events.
func (b *bench) leader(t *testing.T, ctx context.Context, js jetstream.JetStream) *server {
	t.Helper()
	var leader *server
	b.look(t, ctx, js, "APIXO", "has no leader", func(c *jetstream.ClusterInfo) bool {
		i := slices.IndexFunc(b.servers, func(s *server) bool { return s.name == c.Leader })
		if i >= 0 {
			leader = b.servers[i]
		}
		return i >= 0
	})
	return leader
}

// current waits until every server has all that is stored.
func (b *bench) current(t *testing.T, ctx context.Context, js jetstream.JetStream) {
	t.Helper()
	for _, stream := range []string{"APIXO", "APIXO_QUARANTINE"} {
		b.look(t, ctx, js, stream, "does not become current", func(c *jetstream.ClusterInfo) bool {
			return c.Leader != "" && len(c.Replicas) == 2 && !slices.ContainsFunc(c.Replicas, func(p *jetstream.PeerInfo) bool {
				return !p.Current || p.Offline || p.Lag > 0
			})
		})
	}
}

// look asks about a stream until it is as wanted: nobody tells when that changes.
func (b *bench) look(t *testing.T, ctx context.Context, js jetstream.JetStream, name, problem string, wanted func(*jetstream.ClusterInfo) bool) {
	t.Helper()
	for {
		asked, cancel := context.WithTimeout(ctx, 5*time.Second)
		stream, err := js.Stream(asked, name)
		cancel()
		if err == nil && stream.CachedInfo().Cluster != nil && wanted(stream.CachedInfo().Cluster) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the stream %s %s: %v", name, problem, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
