//go:build system && unix

package faults

import (
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// Failed but stored: what a stalled broker was told it stores when it goes on,
// and the sender's repeat finds it.
func TestStalledBrokerThatGoesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	r := b.relay(s.URL(), "RELAY_PUBLISH_TIMEOUT=3s")
	b.accepted(r.Sender, "task_before")
	b.must(s.Freeze())
	b.refused(r.Sender, "task_late", "broker-unavailable", 3*time.Second)
	b.must(s.Thaw())
	if again := b.accepted(r.Sender, "task_late"); !again.Duplicate {
		t.Errorf("the repeat of what was stored late got %+v", again)
	}
	if again := b.accepted(r.Sender, "task_after"); again.Duplicate {
		t.Errorf("a new webhook got %+v", again)
	}
	stored := b.stored(s.URL())
	if len(stored) != 3 || len(stored.Twice()) > 0 {
		t.Errorf("stored %v", stored)
	}
}

// Failed and not stored: the stalled broker dies with what it was told.
func TestStalledBrokerThatDies(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	r := b.relay(s.URL(), "RELAY_PUBLISH_TIMEOUT=3s")
	b.accepted(r.Sender, "task_before")
	b.must(s.Freeze())
	b.refused(r.Sender, "task_lost", "broker-unavailable", 3*time.Second)
	s.Kill()
	b.must(s.Start(b.ctx))
	_, err := r.AwaitMessage(b.ctx, "connected to the broker again")
	b.must(err)
	if again := b.accepted(r.Sender, "task_lost"); again.Duplicate {
		t.Errorf("the repeat of what was never stored got %+v", again)
	}
	if again := b.accepted(r.Sender, "task_before"); !again.Duplicate || again.Sequence != 1 {
		t.Errorf("the repeat of what was stored before got %+v", again)
	}
	stored := b.stored(s.URL())
	if len(stored) != 2 || len(stored.Twice()) > 0 {
		t.Errorf("stored %v", stored)
	}
}

// A network that swallows everything and closes nothing: there is an answer in
// time, the connection is called dead, and a new one is made by itself.
func TestHalfOpenConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	p := b.proxy(s)
	r := b.relay(p.URL(), "RELAY_PUBLISH_TIMEOUT=3s")
	b.accepted(r.Sender, "task_before")
	p.Set(rig.Hold)
	b.refused(r.Sender, "task_held", "broker-unavailable", 3*time.Second)
	b.must(r.AwaitNotReady(b.ctx, "no connection"))
	b.refused(r.Sender, "task_away", "broker-unavailable", 3*time.Second)
	p.Set(rig.Refuse) // and with it all that was held is lost
	p.Set(rig.Pass)
	_, err := r.AwaitMessage(b.ctx, "connected to the broker again")
	b.must(err)
	for _, id := range []string{"task_held", "task_away"} {
		if a := b.accepted(r.Sender, id); a.Duplicate {
			t.Errorf("%s was never stored, and got %+v", id, a)
		}
	}
	if stored := b.stored(s.URL()); len(stored) != 3 || len(stored.Twice()) > 0 {
		t.Errorf("stored %v", stored)
	}
}
