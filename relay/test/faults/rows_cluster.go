package faults

import (
	"fmt"
	"slices"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// clusterRows are faults of three brokers.
var clusterRows = slices.Concat([]Row{
	{
		Name: "leader-killed", Fault: "the leader of three brokers dies, again and again", aside: true,
		Injected: "SIGKILL of the server that leads the stream (R3), to which one of two relays is connected; both get their own webhooks and the same ones; started again up to 1 s later, or that long after the two others accept again",
		run:      leaderKilled,
	},
	{
		Name: "leader-frozen", Fault: "the leader of three brokers stands still", aside: true,
		Injected: "SIGSTOP of the server that leads the stream (R3), to which one of two relays is connected: for 1 to 2.5 s and for 10 to 14 s in turns, with a budget of 6 s",
		run:      leaderFrozen,
	},
	{
		Name: "quorum-lost", Fault: "two of three brokers are away", aside: true,
		Injected: "SIGKILL or SIGSTOP of two servers, with and without the stream's leader (R3), until both of two relays have refused, and up to 3 s more; with a budget of 6 s",
		run:      quorumLost,
	},
}, partitionRows)

// replicated makes a relay's streams survive one of three servers.
const replicated = "RELAY_STREAM_REPLICAS=3"

// couple is two relays under load, which get webhooks of their own and the same ones.
type couple struct {
	relays [2]*rig.Relay
	loads  []*rig.Load // of each relay: its own, and those that both get

	refused [2]int // by each relay, once the loads have been stopped
}

// couple starts loads for two relays.
func (t *trial) couple(relays [2]*rig.Relay, prefix string) *couple {
	c := &couple{relays: relays}
	pace := rig.Pace{Workers: 8, Pause: 20 * time.Millisecond}
	for i, r := range relays {
		c.loads = append(c.loads,
			r.StartLoad(t.ctx, fmt.Sprintf("%s_%d", prefix, i), pace),
			r.StartLoad(t.ctx, prefix+"_both", pace))
	}
	return c
}

// away are the refusals of a relay that may not find a broker within its budget.
var away = []string{"broker-unavailable"}

// own is a relay's own load.
func (c *couple) own(relay int) *rig.Load { return c.loads[2*relay] }

// awaitAccepted waits until all loads have more webhooks accepted.
func (c *couple) awaitAccepted(t *trial, n int) {
	for _, l := range c.loads {
		t.must(l.AwaitAccepted(t.ctx, n))
	}
}

// recovers waits until both relays accept again, and notes how long that took.
func (c *couple) recovers(t *trial, since time.Time) {
	for i := range c.relays {
		t.recovers(c.own(i), since)
	}
}

// stop ends the loads, and sends what was not accepted by one relay to the other:
// that is where the sender's repeat may end up. It returns the longest time to an
// answer, which must be inside the budget. For each relay it is said what its
// refusals may be.
func (c *couple) stop(t *trial, budget time.Duration, problems [2][]string) (slowest time.Duration) {
	for i, l := range c.loads {
		o := l.Stop()
		t.only(o, problems[i/2]...)
		t.within(o, budget)
		t.count(o)
		slowest = max(slowest, o.Slowest)
		c.refused[i/2] += len(o.Open)
		t.again(c.relays[1-i/2].Sender, o)
	}
	return slowest
}

// replicas are two relays at a cluster, each connected to a server of its own, of
// which the first one leads the stream.
func (t *trial) replicas(c *rig.Cluster, environ ...string) (relays [2]*rig.Relay, leader *rig.Server, others []*rig.Server) {
	environ = append(environ, replicated)
	first := t.relay(c.URL(), environ...)
	t.must(first.AwaitReady(t.ctx))
	leader, others, err := c.Leader(t.ctx, t.js(c.URL()), stream)
	t.must(err)
	for i, s := range []*rig.Server{leader, others[0]} {
		relays[i] = t.relay(s.URL(), environ...)
		t.must(relays[i].AwaitReady(t.ctx))
	}
	code, err := first.Stop(t.ctx)
	t.must(err)
	if code != 0 {
		t.fail("a relay that was told to end did so with exit code %d", code)
	}
	return relays, leader, others
}

func leaderKilled(t *trial) {
	c := t.cluster()
	n := t.times(2, 20)
	for i := range n {
		t.round(i, n)
		relays, leader, _ := t.replicas(c)
		loads := t.couple(relays, fmt.Sprintf("task_%d", i))
		loads.awaitAccepted(t, 50)
		t.sleep(t.between(0, 200*time.Millisecond))
		leader.Kill()
		died := time.Now()
		if i%2 == 0 { // two servers can do without it
			loads.recovers(t, died)
		}
		t.sleep(t.between(0, time.Second))
		t.must(c.Start(t.ctx, leader))
		if i%2 != 0 {
			loads.recovers(t, died)
		}
		loads.awaitAccepted(t, 50)
		// To whom the connection stays, an election is a slow answer.
		loads.stop(t, 20*time.Second, [2][]string{away, nil})
		for _, r := range relays {
			r.Kill()
		}
	}
	t.audit(c.URL())
}

func leaderFrozen(t *trial) {
	const budget = 6 * time.Second
	c := t.cluster()
	n := t.times(2, 6)
	for i := range n {
		t.round(i, n)
		relays, leader, _ := t.replicas(c, "RELAY_PUBLISH_TIMEOUT="+budget.String())
		long := i%2 > 0
		loads := t.couple(relays, fmt.Sprintf("task_%d", i))
		loads.awaitAccepted(t, 50)
		t.must(leader.Freeze())
		d := t.between(time.Second, 2500*time.Millisecond)
		if long {
			d = t.between(10*time.Second, 14*time.Second)
		}
		t.sleep(d)
		t.must(leader.Thaw())
		loads.recovers(t, time.Now())
		loads.awaitAccepted(t, 50)
		var expected [2][]string
		if long {
			expected = [2][]string{away, away}
		}
		if slowest := loads.stop(t, budget, expected); slowest < time.Second {
			t.fail("the leader stood still for %s, and nobody waited longer than %s", d, slowest)
		}
		for _, r := range relays {
			r.Kill()
		}
	}
	t.audit(c.URL())
}

func quorumLost(t *trial) {
	const budget = 6 * time.Second
	c := t.cluster()
	js := t.js(c.URL())
	var relays [2]*rig.Relay
	for i := range relays {
		relays[i] = t.relay(c.URL(), replicated, "RELAY_PUBLISH_TIMEOUT="+budget.String())
		t.must(relays[i].AwaitReady(t.ctx))
	}
	n := t.times(2, 8)
	for i := range n {
		t.round(i, n)
		loads := t.couple(relays, fmt.Sprintf("task_%d", i))
		loads.awaitAccepted(t, 50)
		leader, others, err := c.Leader(t.ctx, js, stream)
		t.must(err)
		t.rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		gone := others
		if i%4 == 0 || i%4 == 3 {
			gone = []*rig.Server{leader, others[0]}
		}
		killed := i%2 == 0
		for _, s := range gone {
			if killed {
				s.Kill()
			} else {
				t.must(s.Freeze())
			}
		}
		for i := range relays {
			t.refuses(loads.own(i), "broker-unavailable", 1)
		}
		t.sleep(t.between(0, 3*time.Second))
		if killed {
			t.must(c.Start(t.ctx, gone...))
		} else {
			for _, s := range gone {
				t.must(s.Thaw())
			}
		}
		loads.recovers(t, time.Now())
		loads.awaitAccepted(t, 50)
		loads.stop(t, budget, [2][]string{away, away})
	}
	t.audit(c.URL())
}
