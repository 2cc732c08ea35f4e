package faults

import (
	"fmt"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// partitionRows are faults of the network between brokers.
var partitionRows = []Row{
	{
		Name: "leader-isolated", Fault: "the leader is cut off from the other brokers, with a relay on its side", idle: true,
		Injected: "everything between the stream's leader (R3) and the two others is swallowed, until they have another leader and up to 6 s more, then delivered late or cut; one relay stays connected to the old leader, the other to a server of the majority; with a budget of 6 s; in the end the one that was cut off last has to lead again",
		run:      leaderIsolated,
	},
}

func leaderIsolated(t *trial) {
	const budget = 6 * time.Second
	c, err := t.NewDivisibleCluster(t.ctx, 3, rig.JetStream)
	t.must(err)
	t.must(c.Start(t.ctx, c.Servers...))
	n := t.times(2, 6)
	var (
		refused  [2]int
		isolated *rig.Server
	)
	for i := range n {
		t.round(i, n)
		relays, leader, others := t.replicas(c, "RELAY_PUBLISH_TIMEOUT="+budget.String())
		loads := t.couple(relays, fmt.Sprintf("task_%d", i))
		loads.awaitAccepted(t, 50)
		t.sleep(t.between(0, 200*time.Millisecond))
		majority := t.js(others[0].URL())
		isolated = leader
		c.Isolate(leader)
		next, _, err := c.Leader(t.ctx, majority, stream)
		for err == nil && next == leader { // nobody of the majority has noticed yet
			t.sleep(50 * time.Millisecond)
			next, _, err = c.Leader(t.ctx, majority, stream)
		}
		t.must(err)
		t.refuses(loads.own(0), "broker-unavailable", 1)
		t.must(loads.own(1).AwaitAccepted(t.ctx, 50))
		t.sleep(t.between(0, 6*time.Second))
		c.Heal(leader, i%2 > 0)
		loads.recovers(t, time.Now())
		loads.awaitAccepted(t, 50)
		loads.stop(t, budget, [2][]string{away, away})
		for i, r := range relays {
			refused[i] += loads.refused[i]
			r.Kill()
		}
	}
	t.note("the relay on the old leader's side refused %d, the other one %d", refused[0], refused[1])
	// What it had taken in alone is gone, and what the others took in is there.
	healed := time.Now()
	t.must(c.Lead(t.ctx, t.js(c.URL()), stream, isolated))
	t.note("it took %s until the one that had been cut off could lead again", time.Since(healed).Round(time.Second))
	t.audit(c.URL())
}
