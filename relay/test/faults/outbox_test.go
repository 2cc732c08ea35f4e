//go:build system

package faults

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

const withOutbox = "RELAY_OUTBOX=true"

// away is a server that has not been started yet.
func (b *bench) away() *rig.Server {
	b.Helper()
	s, err := b.NewServer(rig.JetStream)
	b.must(err)
	return s
}

// kept posts a webhook that must go to the outbox.
func (b *bench) kept(s *rig.Sender, id, state string) rig.Answer {
	b.Helper()
	a, err := s.Post(b.ctx, id, state)
	b.must(err)
	if a.Status != http.StatusOK || a.TaskID != id || a.Stream != "APIXO_OUTBOX" {
		b.Fatalf("%s got %+v", id, a)
	}
	return a
}

// forwarded waits until the broker has everything.
func (b *bench) forwarded(r *rig.Relay) {
	b.Helper()
	b.must(r.AwaitForwarded(b.ctx))
}

// arrived is closed when so many events have come to the broker, as a bystander
// learns of it.
func (b *bench) arrived(s *rig.Server, n int) <-chan struct{} {
	b.Helper()
	done := make(chan struct{})
	conn := b.js(s.URL()).Conn()
	_, err := conn.Subscribe("apixo.task.>", func(*nats.Msg) {
		if n--; n == 0 {
			close(done)
		}
	})
	b.must(err)
	b.must(conn.Flush())
	return done
}

// The relay dies in the middle of forwarding: what the broker had acknowledged,
// and what it had only been sent, is sent again and stored once.
func TestRelayKilledWhileForwarding(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	p := b.proxy(s)
	p.Set(rig.Refuse)
	r := b.relay(p.URL(), withOutbox)
	load := r.StartLoad(b.ctx, "task", rig.Pace{})
	b.must(load.AwaitAccepted(b.ctx, 3000))
	o := load.Stop()
	b.onlyProblems(o)
	for _, n := range []int{1, 700} {
		arrived := b.arrived(s, n)
		p.Set(rig.Pass)
		select {
		case <-arrived:
		case <-b.ctx.Done():
			t.Fatal("too little is forwarded")
		}
		r.Kill()
		p.Set(rig.Refuse)
		b.must(r.Restart(b.ctx))
		if !strings.Contains(r.Log(), "webhooks wait in the outbox from an earlier run") {
			t.Error("this should be the case that some are left")
		}
	}
	p.Set(rig.Pass)
	b.forwarded(r)
	if stored := b.stored(s.URL()); len(stored) != len(o.Accepted) {
		t.Errorf("%d are stored of %d", len(stored), len(o.Accepted))
	}
	b.settle(r.Sender, s.URL(), o)
}

// Both die in the middle of forwarding, and with them what was on the way.
func TestRelayAndBrokerKilledWhileForwarding(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	p := b.proxy(s)
	p.Set(rig.Refuse)
	r := b.relay(p.URL(), withOutbox)
	load := r.StartLoad(b.ctx, "task", rig.Pace{})
	b.must(load.AwaitAccepted(b.ctx, 1000))
	arrived := b.arrived(s, 1)
	p.Set(rig.Pass)
	<-arrived
	p.Set(rig.Hold) // the proxy takes what comes after, and the broker never gets it
	b.must(load.AwaitAccepted(b.ctx, 200))
	r.Kill()
	o := load.Stop()
	b.onlyProblems(o, "reset", "refused", "closed")
	s.Kill()
	p.Set(rig.Refuse)
	p.Set(rig.Pass)
	b.must(s.Start(b.ctx))
	b.must(r.Restart(b.ctx))
	b.forwarded(r)
	b.settle(r.Sender, s.URL(), o)
}

// The broker comes and goes, and no sender learns of it.
func TestBrokerKilledUnderLoadWithOutbox(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	r := b.relay(s.URL(), withOutbox)
	load := r.StartLoad(b.ctx, "task", rig.Pace{})
	for range 3 {
		b.must(load.AwaitAccepted(b.ctx, 500))
		s.Kill()
		b.must(load.AwaitAccepted(b.ctx, 500))
		b.must(s.Start(b.ctx))
	}
	b.must(load.AwaitAccepted(b.ctx, 500))
	o := load.Stop()
	b.onlyProblems(o)
	b.forwarded(r)
	b.settle(r.Sender, s.URL(), o)
}

// Whoever sends one webhook after the other finds them stored in this order,
// wherever the broker was meanwhile.
func TestOrderIsKept(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	r := b.relay(s.URL(), withOutbox)
	var ids []string
	send := func(n int) (places map[string]int) {
		places = make(map[string]int)
		for range n {
			id := taskID(len(ids))
			a, err := r.Post(b.ctx, id, "success")
			b.must(err)
			if a.Status != http.StatusOK {
				t.Fatalf("%s got %+v", id, a)
			}
			ids = append(ids, id)
			places[a.Stream]++
		}
		return places
	}
	send(20)
	for range 3 {
		s.Kill()
		if places := send(100); places["APIXO_OUTBOX"] != 100 {
			t.Fatalf("this should be the case that the broker is away: %v", places)
		}
		r.SkipLog()
		b.must(s.Start(b.ctx))
		back := make(chan error, 1)
		go func() {
			_, err := r.AwaitMessage(b.ctx, "connected to the broker again")
			back <- err
		}()
		for waiting := true; waiting; {
			select {
			case err := <-back:
				b.must(err)
				waiting = false
			default:
				send(1)
			}
		}
		// Until the broker itself answers again, if it catches up with this sender.
		for i := 0; i < 300 && send(1)["APIXO"] == 0; i++ {
		}
		b.forwarded(r)
		if places := send(20); places["APIXO"] != 20 {
			t.Errorf("with nothing left in the outbox, webhooks went to %v", places)
		}
	}
	stored := b.stored(s.URL())
	last := uint64(0)
	for _, id := range ids {
		if len(stored[id]) != 1 || stored[id][0] <= last {
			t.Fatalf("%s is at %d, and the one before it at %d", id, stored[id], last)
		}
		last = stored[id][0]
	}
	b.Logf("%d in order", len(ids))
}

// What is no webhook and what contradicts goes to the quarantine once, through
// the outbox and a sudden end of the relay.
func TestQuarantineThroughTheOutbox(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	r := b.relay(s.URL(), withOutbox)
	b.accepted(r.Sender, "task_1")
	s.Kill()
	for range 2 {
		bad, err := r.PostBody(b.ctx, "no JSON")
		b.must(err)
		if bad.Status != http.StatusBadRequest || bad.Problem() != "not-json" || bad.Quarantined.Stream != "APIXO_OUTBOX" {
			t.Errorf("what is no JSON got %+v", bad)
		}
		b.kept(r.Sender, "task_1", "failed") // contradicts what the broker has
		b.kept(r.Sender, "task_2", "failed")
		if a := b.kept(r.Sender, "task_2", "success"); !a.Duplicate || !a.Conflict {
			t.Errorf("what contradicts the outbox got %+v", a)
		}
		r.Kill()
		b.must(r.Restart(b.ctx))
	}
	b.must(s.Start(b.ctx))
	b.forwarded(r)
	if stored := b.stored(s.URL()); len(stored) != 2 || len(stored.Twice()) > 0 || len(stored.Missing([]string{"task_1", "task_2"})) > 0 {
		t.Errorf("stored %v", stored)
	}
	stream, err := b.js(s.URL()).Stream(b.ctx, "APIXO_QUARANTINE")
	b.must(err)
	info, err := stream.Info(b.ctx, jetstream.WithSubjectFilter(">"))
	b.must(err)
	if n := info.State.Subjects; n["apixo.quarantine.rejected"] != 1 || n["apixo.quarantine.conflict"] != 2 {
		t.Errorf("the quarantine has %v", n)
	}
	first, err := stream.GetMsg(b.ctx, 1)
	b.must(err)
	second, err := stream.GetMsg(b.ctx, 2)
	b.must(err)
	third, err := stream.GetMsg(b.ctx, 3)
	b.must(err)
	if s := fmt.Sprint(first.Subject, second.Subject, third.Subject); s != "apixo.quarantine.rejectedapixo.quarantine.conflictapixo.quarantine.conflict" {
		t.Errorf("the order in the quarantine is %s", s)
	}
}

// isPrompt checks an answer's time.
func (b *bench) isPrompt(a rig.Answer, budget time.Duration) {
	b.Helper()
	if a.Took > budget+spare {
		b.Errorf("%s was answered after %s, more than %s", a.TaskID, a.Took, budget)
	}
}
