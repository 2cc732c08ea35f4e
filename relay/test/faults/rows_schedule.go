package faults

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// scheduleRows are outages that the sender's retries have to bridge.
var scheduleRows = []Row{
	{
		Name: "broker-away-13m", Fault: "the broker is away for 13 minutes, and APIXO keeps to its schedule", idle: true,
		Injected: "SIGKILL of nats-server, started again after 13 min; a webhook each second in the first 3 min and the last 140 s, repeated after 30 s, 2 min and 10 min; short form: all of that 60 times as fast",
		run:      func(t *trial) { t.outage() },
	},
	{
		Name: "broker-away-13m-outbox", Fault: "the same, with the outbox", idle: true,
		Injected: "as above, and RELAY_OUTBOX=true",
		run:      func(t *trial) { t.outage("RELAY_OUTBOX=true") },
	},
}

// outage takes the broker away for longer than APIXO has patience with the first
// webhooks. Their last attempt comes 12.5 min after the first one.
func (t *trial) outage(environ ...string) {
	scale := time.Duration(t.times(60, 1))
	pauses := make([]time.Duration, len(rig.Schedule))
	last := time.Duration(0) // from the first attempt to the last
	for i, pause := range rig.Schedule {
		pauses[i] = pause / scale
		last += pauses[i]
	}
	away := 13 * time.Minute / scale

	s := t.server(rig.JetStream)
	r := t.relay(s.URL(), environ...)
	t.must(r.AwaitReady(t.ctx))
	s.Kill()
	outbox := len(environ) > 0
	if !outbox { // the first webhooks wait for the broker; that time is not counted
		a, err := r.Post(t.ctx, "task_waiting", "success")
		t.must(err)
		t.answered(1, 0, a.Took)
		if a.Problem() != "broker-unavailable" {
			t.fail("a webhook without a broker got %+v", a)
		}
	}
	begin := time.Now()
	ctx, cancel := context.WithCancel(t.ctx)
	var (
		all        sync.WaitGroup
		mu         sync.Mutex
		deliveries []rig.Delivery
	)
	arrive := func(from, to time.Duration) {
		t.sleep(time.Until(begin.Add(from)))
		for i := 0; time.Since(begin) < to; i++ {
			id := fmt.Sprintf("task_%d_%d", from, i)
			all.Go(func() {
				d := r.DeliverWithRetries(ctx, id, pauses)
				mu.Lock()
				defer mu.Unlock()
				deliveries = append(deliveries, d)
			})
			t.sleep(time.Second / min(scale, 10))
		}
	}
	defer all.Wait() // also when the row is ended early
	defer cancel()
	arrive(0, 3*time.Minute/scale)
	arrive(away-140*time.Second/scale, away) // their third attempt finds it
	t.must(s.Start(t.ctx))
	started := time.Now()
	t.must(r.AwaitReady(t.ctx))
	back := time.Now()
	t.recovered(back.Sub(started))
	all.Wait()
	if outbox {
		t.must(r.AwaitForwarded(t.ctx))
	}

	var accepted rig.Outcome
	var after [4]int // how many attempts, those that were accepted
	abandoned := 0
	for _, d := range deliveries {
		final := d.Attempts[len(d.Attempts)-1]
		accepted.Slowest = max(accepted.Slowest, final.Took)
		if d.Accepted() {
			accepted.Accepted = append(accepted.Accepted, rig.Receipt{ID: d.ID, Stream: final.Stream, Sequence: final.Sequence})
			after[len(d.Attempts)-1]++
			continue
		}
		accepted.Open = append(accepted.Open, d.ID)
		abandoned++
		if d.Ended.After(back) {
			t.fail("%s was given up after %d attempts, the last of which ended when the broker was back", d.ID, len(d.Attempts))
		}
		for _, a := range d.Attempts {
			if a.Problem() != "broker-unavailable" {
				t.fail("%s was answered with %d %s while the broker was away", d.ID, a.Status, a.Problem())
			}
		}
	}
	t.count(accepted)
	stored := t.audit(s.URL())
	switch {
	case outbox && after[0] != len(deliveries):
		t.fail("%d of %d webhooks did not get 200 at their first attempt, in spite of the outbox", len(deliveries)-after[0], len(deliveries))
	case outbox:
		t.note("all were accepted at the first attempt")
	// In the short form the relay is back too late for the second attempt.
	case after[0] > 0 || after[1] == 0 && t.full || after[2] == 0 || after[3] == 0 || abandoned == 0:
		t.fail("this should be the case that some webhooks need each of the attempts, and some cannot be saved: %v, %d", after, abandoned)
	default:
		t.note("accepted at the second attempt %d, third %d, fourth %d; given up after four 503s %d, which are those of the first %s of the outage",
			after[1], after[2], after[3], abandoned, (back.Sub(begin) - last).Round(10*time.Millisecond))
	}
	for _, id := range accepted.Open {
		if len(stored[id]) > 0 {
			t.fail("%s got no 200 from a broker that was away, and is stored", id)
		}
	}
}
