package faults

import (
	"fmt"
	"net/http"
	"syscall"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// forged is a row in which somebody is faster than APIXO.
type forged struct {
	*trial
	relay        *rig.Relay
	known, other *rig.Sender // with the token, over connections of their own
	unknown      *rig.Sender // without
	stored       map[string]stored
	kept         keptBodies
}

// stored is what an answer says of a task, and which state is stored there.
type stored struct {
	rig.Receipt
	state string
}

func forgedFirst(t *trial) {
	r := t.embedded("RELAY_WEBHOOK_TOKENS=" + firstToken)
	f := &forged{
		trial: t, relay: r, stored: make(map[string]stored), kept: make(keptBodies),
		known: r.Vary(inPath(firstToken)), unknown: r.Sender,
		other: t.NewSender(r.URL()).Vary(asBearer(firstToken)),
	}
	load := f.known.StartLoad(t.ctx, "fresh", rig.Pace{Workers: 16})
	n := t.times(2, 20)
	for i := range n {
		t.round(i, n)
		t.goesOn(load, 100)
		before, at := f.tasks(i, "before"), f.tasks(i, "right_before")
		f.forge(before)
		if i%2 == 0 {
			r.Kill()
		} else {
			t.must(r.Signal(syscall.SIGTERM))
			_, err := r.Wait(t.ctx)
			t.must(err)
		}
		t.must(r.Restart(t.ctx))
		f.deliverReal(before)
		f.forge(at)
		f.deliverReal(at)
		f.deliverReal(at) // once more, as APIXO does: it is kept once
		f.together(f.tasks(i, "together"))
	}
	o := load.Stop()
	t.count(o)
	t.only(o, append(killed, "draining")...)
	t.again(f.known, o)
	t.compare(f.look())
	t.note("%d real ones came after a forged one or with it, and %d bodies are kept in the quarantine", len(f.stored), len(f.kept))
}

// tasks are ids of one kind in one round.
func (f *forged) tasks(round int, kind string) []string {
	ids := make([]string, 25)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s_%d_%d", kind, round, i)
	}
	return ids
}

// forge sends failures before the real ones, which are successes, without a
// token and with it.
func (f *forged) forge(ids []string) {
	var nobodys, forgeries []*delivery
	for _, id := range ids {
		nobodys = append(nobodys, &delivery{sender: f.unknown, body: rig.Webhook(id, "failed", 1), id: id})
		forgeries = append(forgeries, &delivery{sender: f.other, body: rig.Webhook(id, "failed", 0), id: id})
	}
	f.deliver(8, nobodys)
	for _, d := range nobodys {
		if d.answer.Status != http.StatusUnauthorized {
			f.fail("a forgery without a token got %+v", d.answer)
		}
	}
	f.deliver(8, forgeries)
	for _, d := range forgeries {
		if a := d.answer; a.Status != http.StatusOK || a.Duplicate || a.Stream != stream {
			f.fail("the first delivery of %s got %+v", d.id, a)
			continue
		}
		f.is(d, "failed")
	}
}

// is notes what is stored of a task.
func (f *forged) is(d *delivery, state string) {
	f.stored[d.id] = stored{rig.Receipt{ID: d.id, Stream: d.answer.Stream, Sequence: d.answer.Sequence}, state}
}

// deliverReal sends the real ones after the forged ones.
func (f *forged) deliverReal(ids []string) {
	var all []*delivery
	for _, id := range ids {
		all = append(all, &delivery{sender: f.known, body: rig.Webhook(id, "success", 0), id: id})
	}
	f.deliver(8, all)
	for _, d := range all {
		f.contradicts(d)
	}
}

// contradicts holds an answer against that to a delivery that differs from the
// one that was stored.
func (f *forged) contradicts(d *delivery) {
	if a := d.answer; a.Status != http.StatusOK || !a.Duplicate || !a.Conflict || a.Sequence != f.stored[d.id].Sequence {
		f.fail("%s, which contradicts the one stored at %d, got %+v", d.id, f.stored[d.id].Sequence, a)
	}
	f.kept.conflict(d.body, d.id)
}

// together sends two forged ones and two real ones of each task at once. One of
// them is the first, and whatever differs from that is kept.
func (f *forged) together(ids []string) {
	var all []*delivery
	for _, id := range ids {
		for _, s := range []*rig.Sender{f.known, f.other} {
			for _, state := range []string{"success", "failed"} {
				all = append(all, &delivery{sender: s, body: rig.Webhook(id, state, 0), id: id, called: state})
			}
		}
	}
	f.deliver(len(all), all)
	for _, d := range all {
		if d.answer.Status != http.StatusOK || d.answer.Duplicate {
			continue
		}
		if first, ok := f.stored[d.id]; ok {
			f.fail("two deliveries of %s were called the first one, at %d and at %d", d.id, first.Sequence, d.answer.Sequence)
		}
		f.is(d, d.called)
	}
	for _, d := range all {
		first := f.stored[d.id]
		switch {
		case first.Sequence == 0:
			f.fail("no delivery of %s was the first one: %+v", d.id, d.answer)
		case d.called != first.state:
			f.contradicts(d)
		case d.answer.Status != http.StatusOK || d.answer.Conflict || d.answer.Sequence != first.Sequence:
			f.fail("%s, which tells the same as what is stored at %d, got %+v", d.id, first.Sequence, d.answer)
		}
	}
}

// look reads both streams, holds them against the answers, and returns what is
// stored in the first.
func (f *forged) look() rig.Stored {
	all, err := rig.Audit(f.ctx, f.relay.Broker, stream)
	f.must(err)
	s, err := f.js(f.relay.Broker).Stream(f.ctx, stream)
	f.must(err)
	var accepted []rig.Receipt
	for id, want := range f.stored {
		accepted = append(accepted, want.Receipt)
		msg, err := s.GetMsg(f.ctx, want.Sequence)
		if err != nil || msg.Subject != "apixo.task."+want.state {
			f.fail("%s is not stored as it came first, %q, at %d: %v", id, want.state, want.Sequence, err)
		}
	}
	f.rounds = append(f.rounds, accepted)
	f.quarantineHolds(f.relay.Broker, f.kept)
	return all
}
