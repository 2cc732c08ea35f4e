package faults

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// lateRows are faults in which an acknowledgement, or the event itself, comes too
// late or never.
var lateRows = []Row{
	{
		Name: "acknowledgement-lost", Fault: "the broker stores, and its acknowledgement never comes", aside: true,
		Injected: "the broker's answers to 32 webhooks at once are held and lost with the connection: as soon as one is stored, or after the budget of 3 s; then all are sent again",
		run:      acknowledgementLost,
	},
	{
		Name: "stored-after-503", Fault: "a webhook is refused, and stored afterwards", aside: true,
		Injected: "what the relay sends is held under 128 connections, until all have been refused (budget 3 s), and delivered then; all are sent again, before that by another relay or after it, with other webhooks beside",
		run:      storedAfterRefusal,
	},
}

// wave are ids that are delivered together.
func wave(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s_%d", prefix, i)
	}
	return ids
}

// awaitStored waits until a stream holds more than it did, or what is delivered
// has been answered, and returns how much it holds then.
func (t *trial) awaitStored(js jetstream.JetStream, before uint64, answered <-chan struct{}) uint64 {
	s, err := js.Stream(t.ctx, stream)
	t.must(err)
	for {
		info, err := s.Info(t.ctx)
		t.must(err)
		if info.State.Msgs > before {
			return info.State.Msgs
		}
		select {
		case <-answered:
			return before
		case <-time.After(5 * time.Millisecond): // the broker tells only those who ask
		case <-t.ctx.Done():
			t.must(context.Cause(t.ctx))
		}
	}
}

// repeats sends once more what the broker has, and checks that each is called a
// duplicate at the sequence of before, where it is known.
func (t *trial) repeats(s *rig.Sender, ids []string, before map[string]uint64) {
	answers, o := s.Deliver(t.ctx, ids, 32)
	t.count(o)
	t.only(o)
	wrong, example := 0, ""
	for i, a := range answers {
		if want := before[ids[i]]; a.Status == 200 && (!a.Duplicate || a.Conflict || want != 0 && a.Sequence != want) {
			wrong++
			example = fmt.Sprintf("%s, which is stored at %d, got %+v", ids[i], want, a)
		}
	}
	if wrong > 0 {
		t.fail("%d repeats were not answered as such: %s", wrong, example)
	}
}

// repeated adds what became of webhooks that had got no 200 and were sent again:
// each must have been accepted now.
func (t *trial) repeated(o rig.Outcome) {
	t.only(o)
	t.count(o)
}

// sequences are those that the answers named.
func sequences(accepted []rig.Receipt) map[string]uint64 {
	all := make(map[string]uint64, len(accepted))
	for _, r := range accepted {
		all[r.ID] = r.Sequence
	}
	return all
}

func acknowledgementLost(t *trial) {
	const budget = 3 * time.Second
	s := t.server(rig.JetStream)
	js := t.js(s.URL())
	p := t.proxy(s)
	r := t.relay(p.URL(), "RELAY_PUBLISH_TIMEOUT="+budget.String())
	n := t.times(4, 24)
	stored, late := uint64(0), 0 // as of the last look; those that were refused and are there
	for i := range n {
		t.round(i, n)
		t.must(r.AwaitReady(t.ctx))
		ids := wave(fmt.Sprintf("task_%d", i), 32)
		p.Set(rig.HoldAnswers)
		var (
			o         rig.Outcome
			delivered = make(chan struct{})
		)
		go func() {
			defer close(delivered)
			_, o = r.Deliver(t.ctx, ids, len(ids))
		}()
		if t.awaitStored(js, stored, delivered) == stored {
			t.fail("this should be the case that webhooks are stored without an acknowledgement, and none was")
		}
		t.must(p.AwaitHeldAnswers(t.ctx))
		tooLate := i%2 > 0
		if tooLate {
			<-delivered
		}
		r.SkipLog()
		p.Set(rig.Refuse)
		p.Set(rig.Pass)
		cut := time.Now()
		if tooLate {
			_, err := r.AwaitMessage(t.ctx, "connected to the broker again")
			t.must(err)
			t.only(o, "broker-unavailable")
			if len(o.Accepted) > 0 {
				t.fail("%d webhooks got 200 without an acknowledgement", len(o.Accepted))
			}
		} else {
			<-delivered
			t.recovered(time.Since(cut))
			t.only(o) // the relay asks again, and learns where they are
		}
		t.count(o)
		t.within(o, budget)
		t.repeats(r.Sender, o.IDs(), sequences(o.Accepted))
		_, again := r.Deliver(t.ctx, o.Open, 32)
		t.repeated(again)
		late += again.Duplicates
		stored = uint64((i + 1) * len(ids))
	}
	if late == 0 {
		t.fail("this should be the case that webhooks are stored that were refused, and none was")
	}
	t.note("%d were refused after they had been stored, and were called duplicates when they came again", late)
	t.audit(s.URL())
}

// fsynced is a broker that fsyncs before it acknowledges.
const fsynced = "jetstream { store_dir: DIR, sync_interval: always }\n"

func storedAfterRefusal(t *trial) {
	const budget = 3 * time.Second
	s := t.server(fsynced)
	p := t.proxy(s)
	r := t.relay(p.URL(), "RELAY_PUBLISH_TIMEOUT="+budget.String())
	beside := t.relay(s.URL())
	n := t.times(2, 18)
	late := 0
	for i := range n {
		t.round(i, n)
		t.must(r.AwaitReady(t.ctx))
		others := beside.StartLoad(t.ctx, fmt.Sprintf("beside_%d", i), rig.Pace{Workers: 8, Pause: 5 * time.Millisecond})
		load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), rig.Pace{Workers: 128})
		t.must(load.AwaitAccepted(t.ctx, 200))
		p.Set(rig.Hold)
		t.must(p.AwaitHeld(t.ctx))
		o := load.Stop()
		t.count(o)
		t.only(o, "broker-unavailable")
		t.within(o, budget)

		// Some come back to another relay while they are still on their way.
		early := o.Open[:0]
		if i%2 > 0 {
			early = o.Open[:len(o.Open)/2]
		}
		_, first := beside.Deliver(t.ctx, early, 32)
		t.repeated(first)
		p.Set(rig.Pass)
		landed := time.Now()
		fresh := r.StartLoad(t.ctx, fmt.Sprintf("fresh_%d", i), busy)
		answers, again := r.Deliver(t.ctx, o.Open[len(early):], 32)
		t.repeated(again)
		t.recovers(fresh, landed)
		for _, a := range answers {
			if a.Duplicate {
				late++
			}
		}
		t.repeats(r.Sender, o.Open, sequences(append(first.Accepted, again.Accepted...)))
		for _, l := range []*rig.Load{fresh, others} {
			o := l.Stop()
			t.count(o)
			t.only(o)
		}
	}
	if late == 0 {
		t.fail("this should be the case that webhooks are stored after their refusal: none were")
	}
	t.note("%d were stored after their refusal", late)
	t.audit(s.URL())
}
