package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// removedRows are faults of somebody who takes a running relay's files away.
var removedRows = []Row{
	{
		Name: "store-removed", Fault: "somebody takes away the store of a running relay", aside: true,
		Injected: "RELAY_DATA_DIR, what is in it, the store in it or a stream's folder is removed or moved away under a relay with RELAY_EMBEDDED_SYNC=always, with interval, and with an outbox whose broker is away; what comes afterwards must not get 200, and the relay must call itself unhealthy and unready and end with 1; then it is started again",
		run:      storeRemoved,
	},
}

// removals are ways of taking a store away: from the data folder of a relay, whose store
// is in the second folder and has a stream of that name.
var removals = []struct {
	name string
	do   func(data, store, stream string) error
}{
	{"the folder is removed", func(data, _, _ string) error { return os.RemoveAll(data) }},
	{"the stream is removed", func(_, store, stream string) error {
		return os.RemoveAll(filepath.Join(store, "$G", "streams", stream))
	}},
	{"the folder is moved away", func(data, _, _ string) error { return os.Rename(data, data+".moved") }},
	{"its contents are removed", func(data, _, _ string) error {
		entries, err := os.ReadDir(data)
		for _, entry := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(data, entry.Name())))
		}
		return err
	}},
	{"the store is moved away", func(_, store, _ string) error { return os.Rename(store, store+".moved") }},
}

// storeRemoved is not about what was stored, which is gone, but about what comes
// afterwards: nobody may be told that it is stored.
func storeRemoved(t *trial) {
	kinds := []string{"always", "interval", "outbox"}
	n := t.times(2, 2*len(removals)) * len(kinds)
	for i := range n {
		t.round(i, n)
		t.removed(i, kinds[i%len(kinds)], i/len(kinds)%len(removals))
	}
}

// removed takes the store of one relay away.
func (t *trial) removed(round int, kind string, how int) {
	parent, err := os.MkdirTemp("", "relay-faults-")
	t.must(err)
	defer os.RemoveAll(parent)
	data := filepath.Join(parent, "data")
	store, name, environ := filepath.Join(data, "jetstream"), stream, []string{
		"RELAY_DATA_DIR=" + data, "RELAY_PUBLISH_TIMEOUT=" + ioBudget.String(),
	}
	var broker *rig.Server
	if kind == "outbox" {
		broker = t.server(rig.JetStream)
		broker.Kill()
		store, name = filepath.Join(data, "outbox", "jetstream"), "APIXO_OUTBOX"
		environ = append(environ, "NATS_URL="+broker.URL(), "RELAY_OUTBOX=true")
	} else {
		environ = append(environ, "RELAY_EMBEDDED_SYNC="+kind)
	}
	r := t.embedded(environ...)
	load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", round), busy)
	t.must(load.AwaitAccepted(t.ctx, 200))
	o := load.Stop()
	t.only(o)
	t.answered(o.Sent(), len(o.Accepted), o.Slowest)

	t.must(removals[how].do(data, store, name))
	what := kind + ", " + removals[how].name
	load = r.StartLoad(t.ctx, fmt.Sprintf("later_%d", round), rig.Pace{})
	ctx, cancel := context.WithTimeout(t.ctx, endsWithin)
	defer cancel()
	if err := errors.Join(r.AwaitUnhealthy(ctx, data), r.AwaitNotReady(ctx, data)); err != nil {
		t.fail("%s: %s", what, err)
	}
	code, err := r.Wait(ctx)
	t.must(err)
	if code != 1 {
		t.fail("%s: the relay ended with %d, and not with 1", what, code)
	}
	o = load.Stop()
	t.answered(o.Sent(), len(o.Accepted), o.Slowest)
	t.within(o, ioBudget)
	t.only(o, append(killed, "broker-unavailable", "broker-error", "stream-missing", "draining")...)
	if n := len(o.Accepted); n > 0 {
		t.result.Lost.End += n
		t.fail("%s: %d webhooks got 200 after that", what, n)
	}

	start := time.Now()
	t.must(r.Restart(t.ctx))
	t.must(r.AwaitReady(t.ctx))
	fresh, o := r.Deliver(t.ctx, wave(fmt.Sprintf("again_%d", round), 50), 8)
	t.recovered(time.Since(start))
	t.only(o)
	url := r.Broker
	if broker != nil {
		t.must(broker.Start(t.ctx))
		t.must(r.AwaitForwarded(t.ctx))
		url = broker.URL()
	}
	stored, err := rig.Audit(t.ctx, url, stream)
	t.must(err)
	t.answered(len(fresh), len(o.Accepted), o.Slowest)
	if missing := stored.Missing(o.IDs()); len(missing) > 0 {
		t.fail("%s: %d webhooks that came after a restart are not stored, such as %s", what, len(missing), missing[0])
	}
	r.Kill()
	if broker != nil {
		broker.Kill()
	}
}
