//go:build system

package faults

import (
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

func TestBrokerNeverThereAtStart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s, err := b.NewServer(rig.JetStream)
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
