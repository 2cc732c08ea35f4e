package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// shownForStores is a block of the section of README.md about stores at the edge that begins
// so, without what precedes it.
func shownForStores(t *testing.T, begins string) string {
	t.Helper()
	_, section, _ := strings.Cut(leafFile(t, "README.md"), "## A store at the edge")
	m := regexp.MustCompile("(?s)```(?:json)?\n( *" + regexp.QuoteMeta(begins) + ".*?)```").FindStringSubmatch(section)
	if m == nil {
		t.Fatalf("README.md shows no %s", begins)
	}
	return m[1]
}

// storing is the change of a leaf node's configuration that gives it a JetStream of that
// domain, and a user who may use it.
func storing(t *testing.T, domain, dir string) []string {
	t.Helper()
	own := replaced(t, shownForStores(t, "jetstream {"), "north", domain, "/data", dir)
	return []string{
		"max_payload: 1MB\n", "max_payload: 1MB\n" + own, "APIXO {\n", "APIXO {\njetstream: enabled\n",
		"users: [{\n", "users: [{user: " + maker + ", password: " + password(maker) + "}, {\n",
	}
}

// local connects to JetStream of the leaf node itself.
func (b *bench) local(t *testing.T) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect("nats://"+b.servers[0].host+":4222", nats.UserInfo(maker, password(maker)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// A leaf node may have a JetStream of its own: a relay that names the cluster's domain stores
// there. One that names none makes no stream here by mistake, and check says what is wrong.
func TestLeafNodeWithJetStream(t *testing.T) {
	t.Parallel()
	p := newPrograms(t, 2)
	b := one(t, p, allUsers(t), p.host())
	b.takeLeafNodes(t, b.servers[0])
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	l := b.leaf(t, ctx, "north", p.host(), storing(t, "north", t.TempDir())...)
	r, err := l.serve(t, ctx, "relay")
	if err != nil {
		t.Fatal(err)
	}
	if err := post(ctx, r, webhook(b.task(), "success"), http.StatusOK, `"sequence":1,"duplicate":false`); err != nil {
		t.Error(err)
	}
	_, js := b.connect(t, maker)
	if stream, err := js.Stream(ctx, "APIXO"); err != nil || stream.CachedInfo().State.Msgs != 1 {
		t.Errorf("the cluster has not stored it: %v", err)
	}

	// Where it names none, its user may not ask this server, and the cluster stores what it publishes.
	unnamed := relaytest.Start(t, b.relay, l.environ("relay", "NATS_JS_DOMAIN=")...)
	if err := post(ctx, unnamed, webhook(b.task(), "success"), http.StatusOK, `"sequence":2,"duplicate":false`); err != nil {
		t.Error(err)
	}
	const denied = "$JS.API.STREAM.INFO.APIXO"
	if log := unnamed.Log(); !strings.Contains(log, "repeats are taken for plain duplicates") || !strings.Contains(log, denied) {
		t.Errorf("it does not say what it may not do:\n%s", log)
	}
	if _, err := l.command(ctx, "relay", []string{"NATS_JS_DOMAIN="}, "check"); err == nil || !strings.Contains(err.Error(), "allow publishing to "+denied) {
		t.Errorf("check says %v", err)
	}
	if _, err := l.local(t).Stream(ctx, "APIXO"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("there is a stream at the edge: %v", err)
	}
}

// Two sites store by themselves, each knowing nothing of the other, and the cluster copies
// both: of one task it has the event that came first, and of a contradiction no word.
func TestStoresAtTheEdge(t *testing.T) {
	t.Parallel()
	p := newPrograms(t, 3)
	b := one(t, p, allUsers(t), p.host())
	b.takeLeafNodes(t, b.servers[0])
	permissions := shownForStores(t, "permissions {")
	permissions = strings.TrimSuffix(strings.TrimSpace(strings.Replace(permissions, "permissions {", "", 1)), "}")
	// One user for both sites of this test.
	b.servers[0].write(t, "relay-permissions.conf", replaced(t, permissions, "$JS.north.", "$JS.*."))
	b.servers[0].stop(t)
	b.servers[0].start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var relays []*relaytest.Relay
	for _, site := range []string{"north", "south"} {
		// The relay is the maker here: what it may do is tried elsewhere.
		l := b.leaf(t, ctx, site, p.host(), append(storing(t, site, t.TempDir()), `permissions { include "relay-permissions.conf" }`, "")...)
		r, err := l.serve(t, ctx, "relay", "NATS_JS_DOMAIN=", "RELAY_STREAM_REPLICAS=1")
		if err != nil {
			t.Fatal(err)
		}
		relays = append(relays, r)
	}
	same, other, last := b.task(), b.task(), b.task()
	if err := errors.Join(
		post(ctx, relays[0], webhook(same, "success"), http.StatusOK, `"sequence":1,"duplicate":false`),
		post(ctx, relays[1], webhook(same, "success"), http.StatusOK, `"sequence":1,"duplicate":false`),
		post(ctx, relays[0], webhook(other, "success"), http.StatusOK, `"sequence":2,"duplicate":false`),
		post(ctx, relays[1], webhook(other, "failed"), http.StatusOK, `"sequence":2,"duplicate":false`),
		post(ctx, relays[1], webhook(last, "success"), http.StatusOK, `"sequence":3,"duplicate":false`),
	); err != nil {
		t.Fatal(err)
	}
	var cfg jetstream.StreamConfig
	if err := json.Unmarshal([]byte(replaced(t, shownForStores(t, "{"), `"num_replicas": 3`, `"num_replicas": 1`)), &cfg); err != nil {
		t.Fatal(err)
	}
	_, js := b.connect(t, maker)
	stream, err := js.CreateStream(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	copied := func() *jetstream.StreamInfo {
		for {
			info, err := stream.Info(ctx)
			if err != nil {
				t.Fatal(err)
			}
			// All that both have: what is a duplicate here is passed over.
			if info.State.Msgs >= 3 && !slices.ContainsFunc(info.Sources, func(s *jetstream.StreamSourceInfo) bool { return s.Lag > 0 || s.Active < 0 }) {
				return info
			}
			select {
			case <-ctx.Done():
				t.Fatalf("the copy does not become whole: %+v", info.State)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	if info := copied(); info.State.Msgs != 3 {
		t.Errorf("three tasks of two sites are %d events", info.State.Msgs)
	}
	if _, err := js.Stream(ctx, "APIXO"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the cluster has a stream of events: %v", err)
	}
	if lines := b.servers[0].violations(); len(lines) > 0 {
		t.Errorf("more is needed than README.md says:\n%s", strings.Join(lines, ""))
	}
}
