//go:build system

package faults

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// storing tells when the broker has stored something, as an interested
// bystander learns of it.
func (b *bench) storing(s *rig.Server) <-chan *nats.Msg {
	b.Helper()
	heard := make(chan *nats.Msg, 100)
	conn := b.js(s.URL()).Conn()
	_, err := conn.ChanSubscribe("apixo.task.>", heard)
	b.must(err)
	b.must(conn.Flush())
	return heard
}

// Failed but stored: the acknowledgement never comes, and there is no time for
// another try.
func TestAcknowledgementLost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	p := b.proxy(s)
	r := b.relay(p.URL(), "RELAY_PUBLISH_TIMEOUT=3s")
	p.Set(rig.HoldAnswers)
	b.refused(r.Sender, "task_1", "broker-unavailable", 3*time.Second)
	if stored := b.stored(s.URL()); len(stored["task_1"]) != 1 {
		t.Fatalf("this should be the case that it is stored: %v", stored)
	}
	p.Set(rig.Refuse)
	p.Set(rig.Pass)
	_, err := r.AwaitMessage(b.ctx, "connected to the broker again")
	b.must(err)
	if again := b.accepted(r.Sender, "task_1"); !again.Duplicate || again.Sequence != 1 {
		t.Errorf("the repeat got %+v", again)
	}
	if stored := b.stored(s.URL()); len(stored) != 1 || len(stored.Twice()) > 0 {
		t.Errorf("stored %v", stored)
	}
}

// Failed and not stored: the webhook itself never reaches the broker.
func TestPublishLost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	p := b.proxy(s)
	r := b.relay(p.URL(), "RELAY_PUBLISH_TIMEOUT=3s")
	p.Set(rig.Hold)
	b.refused(r.Sender, "task_1", "broker-unavailable", 3*time.Second)
	p.Set(rig.Refuse)
	p.Set(rig.Pass)
	_, err := r.AwaitMessage(b.ctx, "connected to the broker again")
	b.must(err)
	if stored := b.stored(s.URL()); len(stored) != 0 {
		t.Fatalf("this should be the case that nothing is stored: %v", stored)
	}
	if again := b.accepted(r.Sender, "task_1"); again.Duplicate || again.Sequence != 1 {
		t.Errorf("the repeat got %+v", again)
	}
}

// The connection is lost with the acknowledgement: the relay asks again over the
// next one, finds the event, and knows it for its own.
func TestConnectionLostWithTheAcknowledgement(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	p := b.proxy(s)
	r := b.relay(p.URL())
	stores := b.storing(s)
	p.Set(rig.HoldAnswers)
	type result struct {
		rig.Answer
		error
	}
	answered := make(chan result, 1)
	go func() {
		a, err := r.Post(b.ctx, "task_1", "success")
		answered <- result{a, err}
	}()
	select {
	case <-stores:
	case <-b.ctx.Done():
		t.Fatal("nothing reached the broker")
	}
	p.Set(rig.Refuse)
	p.Set(rig.Pass)
	got := <-answered
	b.must(got.error)
	if got.Status != 200 || got.Sequence != 1 || got.Duplicate {
		t.Errorf("the answer is %+v", got.Answer)
	}
	_, err := r.AwaitMessage(b.ctx, "connected to the broker again")
	b.must(err)
	if again := b.accepted(r.Sender, "task_1"); !again.Duplicate || again.Sequence != 1 {
		t.Errorf("the repeat got %+v", again)
	}
	if stored := b.stored(s.URL()); len(stored) != 1 || len(stored.Twice()) > 0 {
		t.Errorf("stored %v", stored)
	}
}
