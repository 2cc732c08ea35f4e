package faults

import (
	"time"

	"github.com/apixo-relay/apixo-relay/relay/internal/rig"
)

// brokerRows are faults of a single broker.
var brokerRows = []Row{
	{
		Name: "broker-restarted", Fault: "the broker dies, and comes again",
		Injected: "SIGKILL of nats-server under 32 connections; started again on the same store after up to 0.3 s",
		run:      brokerRestarted,
	},
}

func brokerRestarted(t *trial) {
	s := t.server(rig.JetStream)
	r := t.relay(s.URL())
	load := r.StartLoad(t.ctx, "task", rig.Pace{})
	n := t.times(8, 100)
	for i := range n {
		t.round(i, n)
		t.must(load.AwaitAccepted(t.ctx, 100))
		t.sleep(t.between(0, 200*time.Millisecond))
		s.Kill()
		t.sleep(t.between(0, 300*time.Millisecond))
		t.must(s.Start(t.ctx))
		t.recovers(load, time.Now())
	}
	o := load.Stop()
	t.count(o)
	t.only(o, "broker-unavailable")
	t.within(o, 20*time.Second)
	t.again(r.Sender, o)
	t.audit(s.URL())
}
