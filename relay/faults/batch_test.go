package faults

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/internal/rig"
)

// awaitBatches waits until webhooks have shared batches: so many, on the average,
// an acknowledgement.
func (b *bench) awaitBatches(r *rig.Relay, load *rig.Load, average float64) {
	b.Helper()
	for {
		b.must(load.AwaitAccepted(b.ctx, 200))
		messages, err := r.Metric(b.ctx, "apixo_relay_publish_batch_size_sum")
		b.must(err)
		acks, err := r.Metric(b.ctx, "apixo_relay_publish_batch_size_count")
		b.must(err)
		if messages >= average*acks {
			return
		}
	}
}

// loads are several loads at once, of 32 webhooks each.
func (b *bench) loads(s *rig.Sender, n int, prefix string) (loads []*rig.Load) {
	for i := range n {
		loads = append(loads, s.StartLoad(b.ctx, fmt.Sprintf("%s_%d", prefix, i), rig.Pace{}))
	}
	return loads
}

func outcomeOf(loads []*rig.Load) (all rig.Outcome) {
	all.Problems = make(map[string]int)
	for _, l := range loads {
		o := l.Stop()
		all.Accepted = append(all.Accepted, o.Accepted...)
		all.Open = append(all.Open, o.Open...)
		for problem, n := range o.Problems {
			all.Problems[problem] += n
		}
		all.Duplicates += o.Duplicates
		all.Slowest = max(all.Slowest, o.Slowest)
	}
	return all
}

// A kill in the middle of batches loses nothing that was accepted, whether the
// broker had it staged, half stored, or stored.
func TestKilledInTheMiddleOfBatches(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	data := "RELAY_DATA_DIR=" + t.TempDir()
	for round := range 5 {
		r, err := b.StartRelay(b.ctx, data)
		b.must(err)
		loads := b.loads(r.Sender, 4, fmt.Sprintf("task_%d", round))
		b.awaitBatches(r, loads[0], 2)
		r.Kill()
		o := outcomeOf(loads)
		b.onlyProblems(o, "reset", "refused", "closed")
		next, err := b.StartRelay(b.ctx, data)
		b.must(err)
		b.settle(next.Sender, next.Broker, o)
		next.Kill()
	}
}

// The same with a broker of its own, which fsyncs, and whose death the relay
// survives.
func TestBrokerKilledInTheMiddleOfBatches(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.serverWith(`jetstream { store_dir: DIR, sync_interval: always }`)
	r := b.relay(s.URL())
	loads := b.loads(r.Sender, 4, "task")
	for range 3 {
		b.awaitBatches(r, loads[0], 2)
		s.Kill()
		b.must(s.Start(b.ctx))
	}
	b.must(loads[0].AwaitAccepted(b.ctx, 200))
	o := outcomeOf(loads)
	b.onlyProblems(o, "broker-unavailable")
	b.settle(r.Sender, s.URL(), o)
}

// A storm of one task's repeats, amid fresh ones that share batches: one event
// for each, and every answer is a 200.
func TestStormOfRepeatsAmidBatches(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r, err := b.StartRelay(b.ctx, "RELAY_DATA_DIR="+t.TempDir())
	b.must(err)
	b.storm(r, r, r.Broker, 2)
}

func TestStormOfRepeatsAmidBatchesOnACluster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c, err := b.NewCluster(b.ctx, 3, rig.JetStream)
	b.must(err)
	b.must(c.Start(b.ctx, c.Servers...))
	// Nothing is fsynced there, so that a batch is only tried now and then.
	b.storm(b.on(c.Servers[0]), b.on(c.Servers[1]), c.URL(), 1.0001)
}

// storm sends it to two relays, which may be one.
func (b *bench) storm(one, other *rig.Relay, url string, average float64) {
	b.Helper()
	b.ready(one)
	b.ready(other)
	loads := b.loads(one.Sender, 2, "fresh")
	b.awaitBatches(one, loads[0], average)
	var repeats sync.WaitGroup
	var mu sync.Mutex
	firsts := 0
	for worker := range 50 {
		s := one.Sender
		if worker%2 > 0 {
			s = other.Sender
		}
		repeats.Go(func() {
			for range 40 {
				a, err := s.Post(b.ctx, "task_repeated", "success")
				if err != nil || a.Status != 200 || a.Conflict {
					b.Errorf("a repeat got %+v, %v", a, err)
					return
				}
				if !a.Duplicate {
					mu.Lock()
					firsts++
					mu.Unlock()
				}
			}
		})
	}
	repeats.Wait()
	b.must(loads[0].AwaitAccepted(b.ctx, 200))
	o := outcomeOf(loads)
	b.onlyProblems(o)
	if firsts != 1 {
		b.Errorf("%d answers said that the repeated task was stored for the first time", firsts)
	}
	b.settle(one.Sender, url, o)
	if o.Slowest > 10*time.Second {
		b.Errorf("a fresh webhook took %s amid the repeats", o.Slowest)
	}
}
