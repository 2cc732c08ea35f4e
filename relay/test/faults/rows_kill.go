package faults

import (
	"fmt"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// killRows are faults of the relay itself.
var killRows = []Row{
	{
		Name: "relay-killed", Fault: "the relay dies, embedded broker",
		Injected: "SIGKILL at a random moment under 128 connections without a pause, and started again on what it left",
		run:      relayKilled,
	},
	{
		Name: "relay-killed-outbox", Fault: "the relay dies, external broker and outbox", aside: true,
		Injected: "SIGKILL at a random moment: while the broker is there, while it is away, and while the outbox is being forwarded to it",
		run:      relayWithOutboxKilled,
	},
	{
		Name: "relay-frozen", Fault: "the relay stands still, and goes on", aside: true,
		Injected: "SIGSTOP for up to 6 s under 128 connections, embedded and external broker in turns, so that tries are overdue when it wakes; then it is killed in the moment of its waking, or not",
		run:      relayFrozen,
	},
}

// impatient makes a relay with an outbox give up on a broker after a second, so that
// more rounds fit into the same time.
const impatient = "RELAY_PUBLISH_TIMEOUT=2s"

// busy is a load that keeps group commit at work.
var busy = rig.Pace{Workers: 128}

func relayKilled(t *trial) {
	const perStore = 50 // rounds: after a kill the broker reads all that is stored
	n := t.times(12, 500)
	var r *rig.Relay
	for i := range n {
		if i%perStore == 0 {
			if r != nil {
				t.audit(r.Broker)
				r.Kill()
			}
			r = t.embedded()
		}
		t.round(i, n)
		load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), busy)
		t.must(load.AwaitAccepted(t.ctx, 1))
		t.sleep(t.between(0, 300*time.Millisecond))
		t.addFsyncs(r)
		r.Kill()
		died := time.Now()
		o := load.Stop()
		t.only(o, killed...)
		t.count(o)
		t.must(r.Restart(t.ctx))
		t.returns(r.Sender, o, died)
	}
	t.audit(r.Broker)
	t.tellFsyncs()
}

// addFsyncs takes note of how many webhooks shared an fsync.
func (t *trial) addFsyncs(r *rig.Relay) {
	webhooks, err := r.Metric(t.ctx, "apixo_relay_fsync_webhooks_sum")
	t.must(err)
	fsyncs, err := r.Metric(t.ctx, "apixo_relay_fsync_webhooks_count")
	t.must(err)
	t.synced, t.fsyncs = t.synced+webhooks, t.fsyncs+fsyncs
}

func (t *trial) tellFsyncs() {
	t.note("%.1f webhooks shared an fsync on the average", t.synced/max(1, t.fsyncs))
}

func relayWithOutboxKilled(t *trial) {
	s := t.server(rig.JetStream)
	r := t.relay(s.URL(), "RELAY_OUTBOX=true", impatient)
	n := t.times(6, 100)
	for i := range n {
		t.round(i, n)
		load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), busy)
		t.must(load.AwaitAccepted(t.ctx, 100))
		if i%3 > 0 {
			s.Kill()
			t.must(load.AwaitAccepted(t.ctx, 100)) // by the outbox
			t.sleep(t.between(0, 200*time.Millisecond))
		}
		if i%3 == 2 {
			t.must(s.Start(t.ctx))
			_, err := r.AwaitMessage(t.ctx, "connected to the broker again")
			t.must(err)
		}
		t.sleep(t.between(0, 200*time.Millisecond))
		r.Kill()
		died := time.Now()
		o := load.Stop()
		t.only(o, append(killed, "broker-unavailable")...)
		t.count(o)
		if i%3 == 1 {
			t.must(s.Start(t.ctx))
		}
		t.must(r.Restart(t.ctx))
		t.returns(r.Sender, o, died)
		t.must(r.AwaitForwarded(t.ctx))
	}
	t.audit(s.URL())
}

func relayFrozen(t *trial) {
	s := t.server(rig.JetStream)
	relays := []*rig.Relay{t.embedded(), t.relay(s.URL())}
	n := t.times(4, 40)
	rounds := make([][][]rig.Receipt, len(relays))
	for i := range n {
		t.round(i, n)
		r := relays[i%2]
		load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), busy)
		t.must(load.AwaitAccepted(t.ctx, 100))
		t.sleep(t.between(0, 200*time.Millisecond))
		t.must(r.Freeze())
		t.sleep(t.between(0, 6*time.Second))
		t.must(r.Thaw())
		woken := time.Now()
		dies := i%4 >= 2
		if dies {
			t.sleep(t.between(0, 20*time.Millisecond))
			r.Kill()
		} else {
			t.recovers(load, woken)
		}
		o := load.Stop()
		t.count(o)
		if dies {
			t.only(o, killed...)
			t.must(r.Restart(t.ctx))
		} else {
			t.only(o, "broker-unavailable")
		}
		t.returns(r.Sender, o, woken)
		rounds[i%2] = append(rounds[i%2], t.rounds...)
		t.rounds = nil
	}
	for i, r := range relays {
		t.rounds = rounds[i]
		t.audit(r.Broker)
	}
}
