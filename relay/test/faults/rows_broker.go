package faults

import (
	"fmt"
	"slices"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// brokerRows are faults of a single broker.
var brokerRows = slices.Concat([]Row{
	{
		Name: "broker-restarted", Fault: "the broker dies, and comes again",
		Injected: "SIGKILL of nats-server at a random moment under 128 connections, and started again on the same store after up to 0.3 s; half of the rounds with a broker that fsyncs",
		run:      brokerRestarted,
	},
	{
		Name: "broker-frozen", Fault: "the broker stands still", aside: true,
		Injected: "SIGSTOP of nats-server under 32 connections, for up to 1.5 s and for 4 to 7 s in turns, with a budget of 3 s",
		run:      brokerFrozen,
	},
	{
		Name: "network-silent", Fault: "the network to the broker swallows everything, or is cut", aside: true,
		Injected: "for up to 5 s, and at times for 18 s, with a budget of 3 s: both directions held, the answers alone held, or every connection refused; what was held is delivered late or lost with the connection",
		run:      networkSilent,
	},
}, lateRows, stormRows, repeatRows, fullRows, scheduleRows)

func brokerRestarted(t *trial) {
	n := t.times(4, 100)
	for half, config := range []string{rig.JetStream, fsynced} {
		s := t.server(config)
		r := t.relay(s.URL())
		load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", half), busy)
		for i := range n / 2 {
			t.round(half*n/2+i, n)
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
		t.within(o, budget)
		t.again(r.Sender, o)
		t.audit(s.URL())
		r.Kill()
		s.Kill()
	}
}

func brokerFrozen(t *trial) {
	const budget = 3 * time.Second
	s := t.server(rig.JetStream)
	r := t.relay(s.URL(), "RELAY_PUBLISH_TIMEOUT="+budget.String())
	n := t.times(2, 20)
	for i := range n {
		t.round(i, n)
		load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), rig.Pace{})
		t.must(load.AwaitAccepted(t.ctx, 100))
		t.sleep(t.between(0, 200*time.Millisecond))
		t.must(s.Freeze())
		var expected []string
		d := t.between(200*time.Millisecond, 1500*time.Millisecond)
		if i%2 > 0 { // longer than the budget
			expected = append(expected, "broker-unavailable")
			d = t.between(4*time.Second, 7*time.Second)
		}
		t.sleep(d)
		t.must(s.Thaw())
		t.recovers(load, time.Now())
		t.must(load.AwaitAccepted(t.ctx, 100))
		o := load.Stop()
		t.count(o)
		t.only(o, expected...)
		t.within(o, budget)
		if o.Slowest < min(d, budget)/2 {
			t.fail("the broker stood still for %s, and nobody waited longer than %s", d, o.Slowest)
		}
		if refused := len(o.Open) > 0; refused != (d > budget) {
			t.fail("the broker stood still for %s, and %d were refused", d, len(o.Open))
		}
		t.again(r.Sender, o)
	}
	t.audit(s.URL())
}

// silences are the ways in which a network can fail, and those in which it is
// there again.
var silences = []struct {
	mode rig.Mode
	cut  bool // with what was held
}{{rig.Hold, false}, {rig.HoldAnswers, true}, {rig.Refuse, false}, {rig.Hold, true}, {rig.HoldAnswers, false}}

func networkSilent(t *trial) {
	const budget = 3 * time.Second
	s := t.server(rig.JetStream)
	p := t.proxy(s)
	r := t.relay(p.URL(), "RELAY_PUBLISH_TIMEOUT="+budget.String())
	n := t.times(5, 25)
	for i := range n {
		t.round(i, n)
		load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), rig.Pace{})
		t.must(load.AwaitAccepted(t.ctx, 100))
		t.sleep(t.between(0, 200*time.Millisecond))
		silence := silences[i%len(silences)]
		p.Set(silence.mode)
		switch silence.mode {
		case rig.Hold:
			t.must(p.AwaitHeld(t.ctx))
		case rig.HoldAnswers:
			t.must(p.AwaitHeldAnswers(t.ctx))
		default:
			t.refuses(load, "broker-unavailable", 1)
		}
		if i%12 == 11 {
			t.sleep(18 * time.Second) // until the connection has been called dead, and new ones get nowhere
		} else {
			t.sleep(t.between(0, 5*time.Second))
		}
		if silence.cut {
			p.Set(rig.Refuse)
		}
		p.Set(rig.Pass)
		t.recovers(load, time.Now())
		t.must(load.AwaitAccepted(t.ctx, 100))
		o := load.Stop()
		t.count(o)
		t.only(o, "broker-unavailable")
		t.within(o, budget)
		t.again(r.Sender, o)
	}
	t.audit(s.URL())
}
