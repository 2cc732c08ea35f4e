package faults

import (
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/internal/rig"
)

func TestBrokerKilledUnderLoad(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	r := b.relay(s.URL())
	load := r.StartLoad(b.ctx, "task", rig.Pace{})
	for range 3 {
		b.must(load.AwaitAccepted(b.ctx, 1000))
		s.Kill()
		b.must(s.Start(b.ctx))
	}
	b.must(load.AwaitAccepted(b.ctx, 1000))
	o := load.Stop()
	b.onlyProblems(o, "broker-unavailable")
	b.settle(r.Sender, s.URL(), o)
}

// The relay dies with webhooks in flight, and another one takes over.
func TestRelayKilledUnderLoad(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	first, second := b.relay(s.URL()), b.relay(s.URL())
	load := first.StartLoad(b.ctx, "task", rig.Pace{})
	b.must(load.AwaitAccepted(b.ctx, 1000))
	first.Kill()
	o := load.Stop()
	b.onlyProblems(o, "reset", "refused", "closed")
	b.settle(second.Sender, s.URL(), o)
}

// With the embedded broker the relay's death is the broker's too.
func TestRelayWithItsBrokerKilledUnderLoad(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	data := "RELAY_DATA_DIR=" + t.TempDir()
	first, err := b.StartRelay(b.ctx, data)
	b.must(err)
	load := first.StartLoad(b.ctx, "task", rig.Pace{})
	b.must(load.AwaitAccepted(b.ctx, 1000))
	first.Kill()
	o := load.Stop()
	b.onlyProblems(o, "reset", "refused", "closed")
	second, err := b.StartRelay(b.ctx, data)
	b.must(err)
	b.settle(second.Sender, second.Broker, o)
}

func TestBrokerNeverThereAtStart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s, err := b.NewServer(b.ctx, rig.JetStream)
	b.must(err)
	r := b.relay(s.URL())
	b.refused(r.Sender, "task_1", "broker-unavailable", time.Second)
	b.notReady(r, "no connection")
	b.must(s.Start(b.ctx))
	b.ready(r)
	if a := b.accepted(r.Sender, "task_1"); a.Duplicate || a.Sequence != 1 {
		t.Errorf("the repeat got %+v", a)
	}
}
