package relay_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/apixo-relay/apixo-relay"

type room struct {
	path    string
	may     []string
	mustNot []string
}

func find(rooms []room, path string) int {
	return slices.IndexFunc(rooms, func(r room) bool { return r.path == path })
}

// rooms says for each package of the product which others it may import, and
// what it must not know: an import path, or the beginning of one that ends in /.
// Arrows run down only, so a room is listed above those that it imports.
var rooms = []room{
	// Consumers and producers, which import the contract and nothing else of the relay.
	{"/schema/examples/go/archived", []string{"/schema"}, nil},
	{"/schema/examples/go/consumer", []string{"/schema"}, nil},
	{"/schema/examples/go/idempotent", []string{"/schema"}, nil},
	{"/schema/examples/go/producer", []string{"/schema"}, nil},
	{"/cmd/apixo-relay", []string{
		"/relay", "/relay/event", "/relay/ops/archive", "/relay/ops/archive/download", "/relay/ops/archive/target", "/relay/ops/fetch", "/relay/admin", "/relay/jsapi", "/relay/ops/expect", "/relay/ops/ui", "/relay/ops/backfill", "/relay/ops/check", "/relay/ops/replay", "/relay/ops/secretarg", "/relay/ops/send", "/relay/ops/streamreader", "/relay/ops/tail", "/relay/ops/tasklist", "/relay/text", "/relay/httpclient",
		"/relay/broker", "/relay/config", "/relay/telemetry", "/relay/timeparse", "/relay/tlsfiles", "/relay/utf8text", "/schema",
	}, nil},
	{"/cmd/relay-bench", []string{"/relay/ops/secretarg", "/relay/ops/send"}, nil},
	{"/cmd/relay-bench/peer", nil, []string{"github.com/nats-io/nats-server/"}},
	{"/cmd/relay-faults", []string{"/relay/test/faults"}, nil},
	{"/relay", []string{"/relay/admin", "/relay/apixo", "/relay/expected", "/relay/httpclient", "/relay/verify", "/relay/broker", "/relay/config", "/relay/descriptors", "/relay/endpoint", "/relay/event", "/relay/outbox", "/relay/publisher", "/relay/receiver", "/relay/reload", "/relay/retry", "/relay/service", "/relay/store", "/relay/telemetry", "/relay/tlsfiles", "/relay/tokens"},
		[]string{"os/signal", "flag", "os", "github.com/nats-io/"}},
	{"/relay/ops/fetch", []string{"/relay/ops/archive/catalog", "/relay/ops/archive/target", "/relay/ops/streamreader", "/relay/ops/tasklist", "/relay/config", "/relay/event", "/relay/jsapi", "/relay/text", "/schema"}, []string{"net/http", "os/signal", "flag"}},
	{"/relay/ops/archive", []string{"/relay/ops/archive/download", "/relay/ops/archive/target", "/relay/ops/streamreader", "/relay/broker", "/relay/config", "/relay/event", "/relay/jsapi", "/relay/jserr", "/relay/retry", "/relay/telemetry", "/relay/text", "/schema"}, []string{"net/http", "os", "flag"}},
	{"/relay/ops/ui", []string{"/relay/ops/archive/catalog", "/relay/ops/archive/target", "/relay/ops/check", "/relay/ops/expect", "/relay/ops/replay", "/relay/ops/streamreader", "/relay/ops/ui/access", "/relay/ops/ui/feed", "/relay/broker", "/relay/config", "/relay/event", "/relay/httpclient", "/relay/jsapi", "/relay/reload", "/relay/text", "/relay/timeparse", "/relay/tlsfiles", "/relay/tokens", "/schema"},
		[]string{"os", "os/signal", "flag"}},
	{"/relay/ops/backfill", []string{"/relay/ops/streamreader", "/relay/ops/tasklist", "/relay/apixo", "/relay/text", "/relay/httpclient", "/relay/broker", "/relay/config", "/relay/event", "/relay/jsapi", "/relay/publisher", "/relay/retry", "/relay/store", "/relay/telemetry", "/relay/utf8text", "/schema"}, []string{"os", "flag"}},
	{"/relay/ops/expect", []string{"/relay/ops/tasklist", "/relay/broker", "/relay/config", "/relay/expected", "/relay/jsapi", "/relay/text", "/schema"}, []string{"net/http", "os", "flag"}},
	{"/relay/ops/check", []string{"/relay/apixo", "/relay/expected", "/relay/text", "/relay/httpclient", "/relay/broker", "/relay/config", "/relay/descriptors", "/relay/event", "/relay/jsapi", "/relay/jserr", "/relay/publisher", "/relay/telemetry", "/relay/tlsfiles", "/schema"}, []string{"os/signal", "flag"}},
	{"/relay/ops/replay", []string{"/relay/ops/streamreader", "/relay/text", "/relay/httpclient", "/relay/broker", "/relay/event", "/relay/jsapi", "/relay/jserr", "/relay/retry", "/schema"}, []string{"os", "flag"}},
	{"/relay/ops/ui/feed", []string{"/relay/ops/streamreader", "/relay/event", "/relay/jsapi", "/relay/retry", "/relay/service", "/schema"}, []string{"net/http", "os", "flag"}},
	{"/relay/ops/archive/catalog", []string{"/relay/ops/archive/target", "/relay/ops/streamreader", "/relay/config", "/relay/event", "/relay/jsapi", "/schema"}, []string{"net/http", "os", "flag"}},
	{"/relay/ops/archive/target/targettest", []string{"/relay/ops/archive/target"}, nil},
	{"/relay/ops/archive/target", []string{"/relay/text"}, []string{"flag", "os/signal"}},
	{"/relay/ops/archive/download", []string{"/relay/config", "/relay/httpclient", "/relay/text", "/schema"}, []string{"github.com/nats-io/", "os", "flag"}},
	{"/relay/ops/tail", []string{"/relay/ops/streamreader", "/relay/text", "/schema"}, []string{"os", "net/http"}},
	{"/relay/ops/send", []string{"/relay/text", "/relay/httpclient"}, []string{"github.com/nats-io/", "os/signal", "flag"}},
	{"/relay/ops/ui/access", []string{"/relay/config", "/relay/text", "/relay/tokens"}, []string{"github.com/nats-io/", "os", "flag"}},
	{"/relay/ops/secretarg", []string{"/relay/config"}, []string{"net/http", "github.com/nats-io/", "os", "flag"}},
	{"/relay/ops/streamreader", []string{"/relay/broker", "/relay/jsapi", "/relay/jserr", "/schema"}, []string{"os", "net/http"}},
	{"/relay/ops/tasklist", []string{"/relay/text", "/relay/utf8text", "/schema"}, []string{"net/http", "github.com/nats-io/", "os", "flag"}},
	{"/relay/receiver", []string{"/relay/verify", "/relay/config", "/relay/event", "/relay/store", "/relay/telemetry", "/relay/tlsfiles", "/relay/tokens", "/schema"}, []string{"github.com/nats-io/"}},
	{"/relay/outbox", []string{"/relay/event", "/relay/store", "/relay/service", "/relay/retry", "/relay/telemetry", "/schema"}, []string{"net/http"}},
	{"/relay/publisher", []string{"/relay/broker", "/relay/config", "/relay/event", "/relay/store", "/relay/service", "/relay/jsapi", "/relay/jserr", "/relay/retry", "/relay/telemetry", "/schema"}, []string{"net/http"}},
	{"/relay/expected", []string{"/relay/apixo", "/relay/broker", "/relay/config", "/relay/event", "/relay/jsapi", "/relay/jserr", "/relay/retry", "/relay/service", "/relay/store", "/relay/telemetry", "/schema"}, []string{"net/http", "os", "flag"}},
	{"/relay/verify", []string{"/relay/apixo", "/relay/event", "/relay/telemetry", "/schema"}, []string{"net/http", "github.com/nats-io/", "os", "flag"}},
	{"/relay/apixo", []string{"/relay/config", "/relay/httpclient", "/relay/text", "/schema"}, []string{"github.com/nats-io/", "os", "flag"}},
	{"/relay/admin", nil, []string{"github.com/nats-io/"}},
	{"/relay/endpoint", nil, []string{"github.com/nats-io/"}},
	{"/relay/broker", []string{"/relay/config", "/relay/descriptors", "/relay/durable", "/relay/tlsfiles"}, []string{"net/http", "github.com/cloudevents/"}},
	{"/relay/service/servicetest", []string{"/relay/service"}, nil},
	{"/relay/service", nil, []string{"net/http", "os", "github.com/nats-io/"}},
	{"/relay/store", []string{"/relay/event"}, []string{"net/http", "github.com/nats-io/", "os"}},
	{"/relay/event", []string{"/relay/config", "/schema"}, []string{"net/http", "github.com/nats-io/", "os"}},
	{"/relay/durable", []string{"/relay/descriptors"}, []string{"net/http", "github.com/nats-io/nats.go"}},
	{"/relay/tlsfiles", nil, []string{"net/http", "github.com/nats-io/"}},
	{"/relay/tokens", nil, []string{"net/http", "os", "github.com/nats-io/"}},
	{"/relay/reload", nil, []string{"net/http", "github.com/nats-io/"}},
	{"/relay/telemetry", []string{"/relay/config", "/schema"}, []string{"github.com/nats-io/"}},
	{"/relay/jsapi", nil, []string{"net/http", "os"}},
	{"/relay/jserr", nil, []string{"net/http", "os"}},
	{"/relay/descriptors", []string{"/relay/config"}, []string{"net", "net/http", "os", "github.com/nats-io/"}},
	{"/relay/config", []string{"/relay/timeparse", "/relay/utf8text"}, []string{"net/http", "github.com/nats-io/", "os/signal"}},
	{"/relay/timeparse", nil, []string{"net/http", "os", "github.com/nats-io/"}},
	{"/relay/utf8text", nil, []string{"net/http", "os", "github.com/nats-io/"}},
	{"/relay/httpclient", []string{"/relay/text", "/relay/retry"}, []string{"github.com/nats-io/", "os/signal", "flag"}},
	{"/relay/text", nil, []string{"net/http", "github.com/nats-io/", "os"}},
	{"/relay/retry", nil, []string{"net/http", "os", "github.com/nats-io/"}},
	{"/relay/test/natstest", []string{"/relay/test/leaktest", "/schema"}, nil},
	{"/relay/test/leaktest", nil, nil},
	{"/schema", nil, []string{"net/http", "github.com/nats-io/", "os", "github.com/cloudevents/"}},
	// For tests only.
	{"/relay/test/faults", []string{"/relay/test/rig", "/relay/test/upgrade", "/relay/test/fakeapi", "/relay/test/disk", "/relay/test/hostile"}, nil},
	{"/relay/test/upgrade/record", []string{"/relay/test/upgrade", "/relay/test/rig"}, []string{"testing"}},
	{"/relay/test/upgrade", []string{"/relay/test/rig"}, []string{"testing"}},
	{"/relay/test/rig", []string{"/relay/test/disk"}, []string{"testing"}},
	{"/relay/test/fakeapi", nil, []string{"testing"}},
	{"/relay/test/hostile", nil, []string{"testing"}},
	{"/relay/test/disk", nil, []string{"testing"}},
	{"/relay/test/relaytest", nil, nil},
	{"/relay/test/testcert", nil, nil},
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func goList(t *testing.T, args ...string) (packages []goPackage) {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	d := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// Which room imports which is a decision, not an accident.
func TestRoomsImportOnlyDownwards(t *testing.T) {
	t.Parallel()
	for _, p := range goList(t, module+"/...") {
		path := strings.TrimPrefix(p.ImportPath, module)
		i := find(rooms, path)
		if i < 0 {
			t.Errorf("%s is no room that the plan knows: give it its place in this test", path)
			continue
		}
		for _, imported := range p.Imports {
			if inner, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(rooms[i].may, inner) {
				t.Errorf("%s must not import %s", path, inner)
			}
			for _, forbidden := range rooms[i].mustNot {
				if imported == forbidden || strings.HasSuffix(forbidden, "/") && strings.HasPrefix(imported, forbidden) {
					t.Errorf("%s must not import %s", path, imported)
				}
			}
		}
		for _, below := range rooms[i].may {
			if find(rooms[:i], below) >= 0 {
				t.Errorf("the plan has an arrow up, from %s to %s", path, below)
			}
		}
	}
}

// A consumer that imports the contract gets a reader of JSON with it, and
// nothing else from outside the standard library.
func TestSchemaPullsInNothingHeavy(t *testing.T) {
	t.Parallel()
	packages := goList(t, module+"/schema")
	for _, dep := range packages[0].Deps {
		domain, _, _ := strings.Cut(dep, "/")
		if strings.Contains(domain, ".") && !strings.HasPrefix(dep, "github.com/go-json-experiment/json/") {
			t.Errorf("schema depends on %s", dep)
		}
		if dep == "net/http" {
			t.Error("schema depends on net/http")
		}
	}
}
