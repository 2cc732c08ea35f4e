package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// leafFile is a shipped file for leaf nodes.
func leafFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(relaytest.Deploy("nats", "leaf", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// hubChanges are what README.md of the leaf node has in store for a server of the cluster: a
// line in jetstream, one at the end of its configuration, and a user.
func hubChanges(t *testing.T) (domain, include, user string) {
	t.Helper()
	_, section, _ := strings.Cut(leafFile(t, "README.md"), "## In the cluster")
	section, _, _ = strings.Cut(section, "## At the edge")
	found := regexp.MustCompile("(?s)\n```\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(found) != 3 {
		t.Fatalf("README.md has %d changes for the cluster", len(found))
	}
	return found[0][1], found[1][1], found[2][1]
}

// takeLeafNodes changes a server of the cluster as README.md of the leaf node says, and
// restarts it.
func (b *bench) takeLeafNodes(t *testing.T, s *server) {
	t.Helper()
	domain, include, user := hubChanges(t)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	s.write(t, "nats-server.conf", replaced(t, read("nats-server.conf"), "jetstream {\n", "jetstream {\n"+domain)+include)
	others, accounts, _ := strings.Cut(read("accounts.conf"), "APIXO {")
	s.write(t, "accounts.conf", others+"APIXO {"+strings.Replace(accounts, "users: [", "users: [\n"+user, 1))
	s.write(t, "leafnodes.conf", replaced(t, leafFile(t, "leafnodes.conf"), "0.0.0.0", s.host, "/etc/nats/tls", b.tls))
	s.write(t, "relay-permissions.conf", leafFile(t, "relay-permissions.conf"))
	s.environ = []string{"LEAF_PASSWORD=" + password("leaf")}
	s.stop(t)
	s.start(t)
}

// leaf starts a leaf node of a cluster, with another configuration where that changes it,
// and waits until it is linked.
func (b *bench) leaf(t *testing.T, ctx context.Context, name, host string, change ...string) *bench {
	t.Helper()
	s := serverAt(t, b.programs, name, host)
	s.write(t, "nats-server.conf", replaced(t, leafFile(t, "nats-server.conf"), append(change,
		`"127.0.0.1:4222"`, `"`+host+`:4222"`, `"127.0.0.1:8222"`, `"`+host+`:8222"`, "/etc/nats/tls", b.tls)...))
	s.write(t, "relay-permissions.conf", leafFile(t, "relay-permissions.conf"))
	for i := range 3 {
		// A single server is named three times, which it warns of.
		at := b.servers[i%len(b.servers)].host
		s.environ = append(s.environ, fmt.Sprintf("HUB_%d=tls://leaf:%s@%s:7422", i+1, password("leaf"), at))
	}
	s.start(t)
	l := &bench{programs: b.programs, servers: []*server{s}, replicas: b.replicas, hub: b}
	l.linked(t, ctx, nil)
	return l
}

// linked waits until a leaf node is linked to a server of its cluster which is not that
// one, and returns the server.
func (b *bench) linked(t *testing.T, ctx context.Context, not *server) *server {
	t.Helper()
	for {
		_, said, err := get(ctx, "http://"+b.servers[0].host+":8222/leafz")
		var leafz struct {
			Leafs []struct {
				Name string `json:"name"`
			} `json:"leafs"`
		}
		if err == nil {
			err = json.Unmarshal([]byte(said), &leafz)
		}
		if err == nil && len(leafz.Leafs) == 1 {
			i := slices.IndexFunc(b.hub.servers, func(s *server) bool { return s.name == leafz.Leafs[0].Name })
			if i >= 0 && b.hub.servers[i] != not {
				return b.hub.servers[i]
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s is not linked: %v\n%s", b.servers[0].name, err, said)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
