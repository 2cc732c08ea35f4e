//go:build system && unix

package faults

import (
	"testing"
	"time"
)

// A quorum is lost by two followers, and the leader, which has not noticed yet
// or has stepped down, is the one that the relay asks.
func TestQuorumLostAroundTheLeader(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.cluster()
	const budget = 6 * time.Second
	r := b.on(c.leader, "RELAY_PUBLISH_TIMEOUT="+budget.String())
	b.accepted(r.Sender, "task_before")
	for _, s := range c.others {
		b.must(s.Freeze())
	}
	// The leader takes it in and cannot commit it.
	b.refused(r.Sender, "task_early", "broker-unavailable", budget)
	b.must(c.leader.AwaitText(b.ctx, "APIXO' has NO quorum"))
	b.refused(r.Sender, "task_late", "broker-unavailable", budget)
	for _, s := range c.others {
		b.must(s.Thaw())
	}
	_, _, err := c.Leader(b.ctx, c.js, "APIXO")
	b.must(err)
	b.ready(r) // the cluster needs another leader besides the stream's, to answer for what is stored
	for _, id := range []string{"task_early", "task_late", "task_after"} {
		b.accepted(r.Sender, id)
	}
	stored := b.stored(c.URL())
	if len(stored) != 4 || len(stored.Twice()) > 0 {
		t.Errorf("stored %v", stored)
	}
}

// Readiness says what a sender would be told.
func TestQuorumLostIsNotReady(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.cluster()
	r := b.on(c.leader, "RELAY_PUBLISH_TIMEOUT=6s")
	for _, s := range c.others {
		b.must(s.Freeze())
	}
	b.must(c.leader.AwaitText(b.ctx, "APIXO' has NO quorum"))
	b.refused(r.Sender, "task_1", "broker-unavailable", 6*time.Second)
	b.notReady(r, "APIXO")
	for _, s := range c.others {
		b.must(s.Thaw())
	}
	b.ready(r)
	b.accepted(r.Sender, "task_1")
}

// One follower stands still: nobody notices.
func TestFollowerStalled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.cluster()
	r := b.on(c.others[0])
	load := r.StartLoad(b.ctx, "task", calm)
	b.must(load.AwaitAccepted(b.ctx, 100))
	b.must(c.others[1].Freeze())
	b.must(load.AwaitAccepted(b.ctx, 500))
	b.must(c.others[1].Thaw())
	b.must(load.AwaitAccepted(b.ctx, 100))
	o := load.Stop()
	b.onlyProblems(o)
	b.settle(r.Sender, c.URL(), o)
	if o.Slowest > 10*time.Second { // half of the budget, on a machine that may be busy
		t.Errorf("the slowest answer took %s, though two of three servers were there all the time", o.Slowest)
	}
}

// The leader stands still: the others elect another one, and the old one finds
// itself deposed when it goes on.
func TestLeaderStalled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.cluster()
	r := b.on(c.others[0])
	load := r.StartLoad(b.ctx, "task", calm)
	b.must(load.AwaitAccepted(b.ctx, 200))
	b.must(c.leader.Freeze())
	b.must(load.AwaitAccepted(b.ctx, 500))
	b.must(c.leader.Thaw())
	b.must(load.AwaitAccepted(b.ctx, 500))
	o := load.Stop()
	b.onlyProblems(o)
	b.settle(r.Sender, c.URL(), o)
}

// The server that stands still is the one that the relay is connected to: the
// connection is called dead in time for the webhooks that wait.
func TestLeaderAndConnectionStalled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.cluster()
	r := b.on(c.leader)
	load := r.StartLoad(b.ctx, "task", calm)
	b.must(load.AwaitAccepted(b.ctx, 200))
	b.must(c.leader.Freeze())
	b.must(load.AwaitAccepted(b.ctx, 500))
	b.must(c.leader.Thaw())
	b.must(load.AwaitAccepted(b.ctx, 500))
	o := load.Stop()
	b.onlyProblems(o, "broker-unavailable")
	b.settle(r.Sender, c.URL(), o)
}
