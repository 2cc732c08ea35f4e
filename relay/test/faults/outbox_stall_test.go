//go:build system && unix

package faults

import (
	"sync"
	"testing"
	"time"
)

// A broker that stands still costs the first webhooks their patience, and those
// after them nothing. What it was told it stores when it goes on, and once.
func TestStalledBrokerWithOutbox(t *testing.T) {
	for budget, first := range map[time.Duration]time.Duration{20 * time.Second: 5 * time.Second, 3 * time.Second: 1500 * time.Millisecond} {
		t.Run(budget.String(), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			s := b.server()
			r := b.relay(s.URL(), withOutbox, "RELAY_PUBLISH_TIMEOUT="+budget.String())
			b.accepted(r.Sender, "task_before")
			b.must(s.Freeze())
			var together sync.WaitGroup
			for i := range 10 {
				together.Go(func() {
					a, err := r.Post(b.ctx, taskID(i), "success")
					if err != nil || a.Status != 200 || a.Stream != "APIXO_OUTBOX" {
						t.Errorf("%s got %+v, %v", taskID(i), a, err)
					}
					b.isPrompt(a, first+time.Second)
				})
			}
			together.Wait()
			for i := range 20 {
				b.isPrompt(b.kept(r.Sender, taskID(5+i), "success"), time.Second)
			}
			b.must(s.Thaw())
			b.forwarded(r)
			stored := b.stored(s.URL())
			if len(stored) != 26 || len(stored.Twice()) > 0 {
				t.Errorf("stored %v", stored)
			}
			if a := b.accepted(r.Sender, "task_0"); !a.Duplicate {
				t.Errorf("the repeat got %+v", a)
			}
		})
	}
}

// A broker that stands still and then dies with what it was told.
func TestStalledBrokerThatDiesWithOutbox(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	r := b.relay(s.URL(), withOutbox, "RELAY_PUBLISH_TIMEOUT=3s")
	b.accepted(r.Sender, "task_before")
	b.must(s.Freeze())
	for i := range 20 {
		b.kept(r.Sender, taskID(i), "success")
	}
	s.Kill()
	b.must(s.Start(b.ctx))
	b.forwarded(r)
	stored := b.stored(s.URL())
	if len(stored) != 21 || len(stored.Twice()) > 0 {
		t.Errorf("stored %v", stored)
	}
}
