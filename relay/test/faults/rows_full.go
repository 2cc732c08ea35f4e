package faults

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// fullRows are faults of a broker without room.
var fullRows = []Row{
	{
		Name: "stream-full", Fault: "the stream is full",
		Injected: "RELAY_STREAM_MAX_BYTES=262144 reached under 32 connections, until 200 more were refused; then the limit of the stream is raised",
		run:      streamFull,
	},
	{
		Name: "account-full", Fault: "the broker's account is full",
		Injected: "max_file of the account, 262144 bytes, reached under 32 connections, until 200 more were refused; then it is raised by a reload",
		run:      accountFull,
	},
	{
		Name: "server-full", Fault: "the broker itself is full",
		Injected: "max_file_store of the server, 262144 bytes, reached under 32 connections, until 200 more were refused; then it is raised by a reload",
		run:      serverFull,
	},
}

func streamFull(t *trial) {
	s := t.server(rig.JetStream)
	t.fill(s, func(js jetstream.JetStream) {
		all, err := js.Stream(t.ctx, stream)
		t.must(err)
		config := all.CachedInfo().Config
		config.MaxBytes = 1 << 30
		_, err = js.UpdateStream(t.ctx, config)
		t.must(err)
	}, "RELAY_STREAM_MAX_BYTES=262144")
}

func accountFull(t *trial) {
	const config = rig.JetStream + `
		accounts { relay: { users: [ { user: relay, password: relay } ], jetstream: { max_file: 262144 } } }
		no_auth_user: relay
	`
	s := t.server(config)
	t.fill(s, func(jetstream.JetStream) {
		t.must(s.Reload(t.ctx, strings.Replace(config, "262144", "1GB", 1)))
	})
}

func serverFull(t *trial) {
	const config = "jetstream { store_dir: DIR, max_file_store: 262144 }\n"
	s := t.server(config)
	t.fill(s, func(jetstream.JetStream) {
		t.must(s.Reload(t.ctx, strings.Replace(config, "262144", "1GB", 1)))
	})
}

// fill sends webhooks until there is no room, and some more, and then makes room.
func (t *trial) fill(s *rig.Server, makeRoom func(jetstream.JetStream), environ ...string) {
	js := t.js(s.URL())
	r := t.relay(s.URL(), environ...)
	t.must(r.AwaitReady(t.ctx))
	load := r.StartLoad(t.ctx, "task", rig.Pace{Pause: 5 * time.Millisecond})
	t.must(load.AwaitAccepted(t.ctx, 100))
	t.refuses(load, "stream-full", 200)
	o := load.Stop()
	t.only(o, "stream-full")
	t.within(o, 20*time.Second)
	t.count(o)
	kept, err := rig.Audit(t.ctx, s.URL(), stream)
	t.must(err)
	if len(kept) != len(o.Accepted) || len(kept.Missing(o.IDs())) > 0 {
		t.fail("%d webhooks are stored, and %d got 200", len(kept), len(o.Accepted))
	}
	t.repeats(r.Sender, o.IDs()[:50], sequences(o.Accepted)) // a repeat needs no room

	load = r.StartLoad(t.ctx, "fresh", rig.Pace{})
	t.refuses(load, "stream-full", 1)
	makeRoom(js)
	t.recovers(load, time.Now())
	t.must(load.AwaitAccepted(t.ctx, 500))
	again := load.Stop()
	t.only(again, "stream-full")
	t.count(again)
	t.again(r.Sender, o)
	t.again(r.Sender, again)
	stored := t.audit(s.URL())
	for id, at := range kept {
		if len(stored[id]) != 1 || stored[id][0] != at[0] {
			t.fail("%s was stored at %d, and is at %d now that there is room", id, at, stored[id])
			break
		}
	}
}
