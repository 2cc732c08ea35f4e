package faults

import (
	"slices"
	"sync"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// stormRows are faults of senders that repeat themselves.
var stormRows = []Row{
	{
		Name: "duplicate-storm", Fault: "one task comes 10,000 times",
		Injected: "one id over 500 connections (short form: 2,000 times over 200), amid 64 connections with fresh ones; one broker that fsyncs",
		run:      stormAtOneBroker,
	},
	{
		Name: "duplicate-storm-cluster", Fault: "one task comes 10,000 times to two relays at once",
		Injected: "one id over 500 connections (short form: 2,000 times over 200), half of them to each relay, amid 64 connections with fresh ones; three brokers, R3",
		run:      stormAtCluster,
	},
}

func stormAtOneBroker(t *trial) {
	s := t.server(fsynced)
	r := t.relay(s.URL())
	t.must(r.AwaitReady(t.ctx))
	load := r.StartLoad(t.ctx, "fresh", busy)
	t.must(load.AwaitAccepted(t.ctx, 200))
	t.storm(load, r)
	t.audit(s.URL())
}

func stormAtCluster(t *trial) {
	c := t.cluster()
	var relays [2]*rig.Relay
	for i := range relays {
		relays[i] = t.relay(c.Servers[i].URL(), replicated)
		t.must(relays[i].AwaitReady(t.ctx))
	}
	load := relays[0].StartLoad(t.ctx, "fresh", busy)
	t.must(load.AwaitAccepted(t.ctx, 200))
	t.storm(load, relays[:]...)
	t.audit(c.URL())
}

// storm sends one task to relays again and again, amid a load, which it ends.
func (t *trial) storm(load *rig.Load, relays ...*rig.Relay) {
	repeats, connections := t.times(2000, 10_000), t.times(200, 500)
	ids := slices.Repeat([]string{"task_repeated"}, repeats/len(relays))
	answers := make([][]rig.Answer, len(relays))
	outcomes := make([]rig.Outcome, len(relays))
	var all sync.WaitGroup
	for i, r := range relays {
		all.Go(func() { answers[i], outcomes[i] = r.Deliver(t.ctx, ids, connections/len(relays)) })
	}
	t.must(load.AwaitAccepted(t.ctx, 100)) // others are served meanwhile
	all.Wait()
	o := load.Stop()
	t.count(o)
	t.only(o)
	firsts := 0
	for i, o := range outcomes {
		t.count(o)
		t.only(o)
		for _, a := range answers[i] {
			if a.Status == 200 && !a.Duplicate {
				firsts++
			}
			if a.Conflict {
				t.fail("a repeat of the same was called a conflict")
			}
		}
	}
	if firsts != 1 { // nothing went wrong by which the first answer could have been lost
		t.fail("%d answers said that the repeated task was stored for the first time", firsts)
	}
}
