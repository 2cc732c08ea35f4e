package faults

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// mirrorRows are faults of streams beside the relay's that answer in its place: a mirror
// may lag behind it, keep what it has for another time, and have what was removed from it.
var mirrorRows = []Row{
	{
		Name: "conflicts-mirror", Fault: "two different results of each task come at once, and mirrors answer for the stream",
		Injected: "5,000 tasks (short form: 500), a success and a failure of each, to two relays over 64 connections; beside the stream two mirrors with mirror_direct, one of everything, which lags behind under that load, and one that never gets the successes",
		run:      conflictsBesideMirrors,
	},
	{
		Name: "conflicts-mirror-expired", Fault: "contradicting results come after a mirror that answers for the stream has dropped the first ones", aside: true,
		Injected: "a mirror with mirror_direct and a max_age of 1 s; 2,000 tasks (short form: 200), one result of each, and the other one once the mirror is empty",
		run:      conflictsBesideExpired,
	},
	{
		Name: "deleted-mirror", Fault: "events are deleted that a mirror goes on having, and come again",
		Injected: "a mirror with mirror_direct; 200 tasks a round, whose events are deleted singly or by a purge once the mirror has them; then they are repeated, and again",
		run:      deletedBesideMirror,
	},
}

// mirror makes a mirror that answers direct gets, and returns when it has given its
// first answer, about the event at sequence 1.
func (t *trial) mirror(js jetstream.JetStream, name string, change func(*jetstream.StreamConfig)) jetstream.Stream {
	cfg := jetstream.StreamConfig{Name: name, AllowDirect: true, MirrorDirect: true, Mirror: &jetstream.StreamSource{Name: stream}}
	change(&cfg)
	mirror, err := js.CreateStream(t.ctx, cfg)
	t.must(err)
	origin, err := js.Stream(t.ctx, stream)
	t.must(err)
	for t.must(t.ctx.Err()); ; {
		msg, err := origin.GetMsg(t.ctx, 1)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return mirror
		}
		t.must(err)
		if msg.Header.Get(servedBy) == name {
			return mirror
		}
	}
}

// servedBy is the header of the answer to a direct get that names who gave it.
const servedBy = "Nats-Stream"

// awaitState waits until a stream is in some state.
func (t *trial) awaitState(s jetstream.Stream, is func(jetstream.StreamState) bool) {
	for {
		info, err := s.Info(t.ctx)
		t.must(err)
		if is(info.State) {
			return
		}
	}
}

// awaitCopied waits until a mirror has what the stream has.
func (t *trial) awaitCopied(mirror, origin jetstream.Stream) {
	info, err := origin.Info(t.ctx)
	t.must(err)
	t.awaitState(mirror, func(s jetstream.StreamState) bool { return s.LastSeq == info.State.LastSeq })
}

// misled asks whoever answers first for stored events, and returns for how many it was
// not the stream that did. A mirror that does not have one does not say who it is.
func (t *trial) misled(js jetstream.JetStream, sequences []uint64) (n int) {
	origin, err := js.Stream(t.ctx, stream)
	t.must(err)
	for _, sequence := range sequences {
		msg, err := origin.GetMsg(t.ctx, sequence)
		if !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.must(err)
		}
		if err != nil || msg.Header.Get(servedBy) != stream {
			n++
		}
	}
	return n
}

// pairs are tasks of each of which two results come that contradict each other.
type pairs struct {
	*trial
	relays []*rig.Relay
	first  map[string]*delivery // that of each task which was stored
	kept   keptBodies
}

// contradicting makes pairs at a broker of which the first event is stored, a failure.
func (t *trial) contradicting(url string, relays int) *pairs {
	p := &pairs{trial: t, first: make(map[string]*delivery), kept: make(keptBodies)}
	for range relays {
		r := t.relay(url)
		t.must(r.AwaitReady(t.ctx))
		p.relays = append(p.relays, r)
	}
	p.judge([]*delivery{p.send("first", "failed", 0)})
	return p
}

// send is a result of a task that is sent to one of the relays.
func (p *pairs) send(id, state string, relay int) *delivery {
	d := &delivery{sender: p.relays[relay%len(p.relays)].Sender, body: rig.Webhook(id, state, 0), id: id, called: state}
	p.trial.deliver(1, []*delivery{d})
	return d
}

// judge holds answers against each other: one result of each task is its event, and each
// that contradicts it was kept. It returns where the events are.
func (p *pairs) judge(all []*delivery) (sequences []uint64) {
	var accepted []rig.Receipt
	for _, d := range all {
		if d.answer.Status != http.StatusOK || d.answer.Duplicate {
			continue
		}
		if p.first[d.id] != nil {
			p.fail("two results of %s were called the first one: %+v and %+v", d.id, p.first[d.id].answer, d.answer)
		}
		p.first[d.id] = d
		accepted = append(accepted, rig.Receipt{ID: d.id, Stream: d.answer.Stream, Sequence: d.answer.Sequence})
		sequences = append(sequences, d.answer.Sequence)
	}
	p.rounds = append(p.rounds, accepted)
	for _, d := range all {
		first, a := p.first[d.id], d.answer
		switch {
		case first == nil:
			p.fail("no result of %s is stored: %+v", d.id, a)
		case first == d:
		case a.Status != http.StatusOK || !a.Duplicate || a.Sequence != first.answer.Sequence || a.Conflict != (d.called != first.called):
			p.fail("the %s of %s, whose %s is stored at %d, got %+v", d.called, d.id, first.called, first.answer.Sequence, a)
		case a.Conflict:
			p.kept.conflict(d.body, d.id)
		}
	}
	return sequences
}

// end reads both streams, and holds them against the answers.
func (p *pairs) end(url string) {
	p.audit(url)
	p.quarantineHolds(url, p.kept)
}

func conflictsBesideMirrors(t *trial) {
	s := t.server(rig.JetStream)
	p, js := t.contradicting(s.URL(), 2), t.js(s.URL())
	t.mirror(js, "MIRROR", func(*jetstream.StreamConfig) {})
	t.mirror(js, "MIRROR_OF_FAILURES", func(c *jetstream.StreamConfig) { c.Mirror.FilterSubject = "apixo.task.failed" })
	var both []*delivery
	for i, id := range wave("task", t.times(500, 5000)) {
		for j, state := range []string{"success", "failed"} {
			both = append(both, &delivery{sender: p.relays[(i+j)%2].Sender, body: rig.Webhook(id, state, 0), id: id, called: state})
		}
	}
	t.deliver(64, both)
	stored := p.judge(both)
	n := t.misled(js, stored)
	if n == 0 {
		t.fail("this should be the case that mirrors answer, and none did")
	}
	t.note("%s contradictions of %s tasks are kept; of %s direct gets mirrors answered %s", Thousands(len(p.kept)), Thousands(len(both)/2), Thousands(len(stored)), Thousands(n))
	p.end(s.URL())
}

func conflictsBesideExpired(t *trial) {
	s := t.server(rig.JetStream)
	p, js := t.contradicting(s.URL(), 1), t.js(s.URL())
	mirror := t.mirror(js, "MIRROR", func(c *jetstream.StreamConfig) { c.MaxAge = time.Second })
	ids := wave("task", t.times(200, 2000))
	results := func(turn int) (all []*delivery) {
		for i, id := range ids {
			state := []string{"success", "failed"}[(i+turn)%2]
			all = append(all, &delivery{sender: p.relays[0].Sender, body: rig.Webhook(id, state, 0), id: id, called: state})
		}
		return all
	}
	first, second, again := results(0), results(1), results(0)
	t.deliver(32, first)
	stored := p.judge(first)
	t.awaitState(mirror, func(s jetstream.StreamState) bool { return s.Msgs == 0 })
	n := t.misled(js, stored)
	if n == 0 {
		t.fail("this should be the case that the mirror has nothing and answers, and it did not")
	}
	t.deliver(32, second)
	p.judge(second)
	t.deliver(32, again)
	p.judge(again)
	t.note("%s contradictions of %s tasks are kept; of %s direct gets the mirror answered %s", Thousands(len(p.kept)), Thousands(len(ids)), Thousands(len(stored)), Thousands(n))
	p.end(s.URL())
}

func deletedBesideMirror(t *trial) {
	s := t.server(rig.JetStream)
	r, js := t.relay(s.URL()), t.js(s.URL())
	t.must(r.AwaitReady(t.ctx))
	_, o := r.Deliver(t.ctx, []string{"first"}, 1)
	t.count(o)
	mirror := t.mirror(js, "MIRROR", func(*jetstream.StreamConfig) {})
	origin, err := js.Stream(t.ctx, stream)
	t.must(err)
	n, deleted, misled := t.times(4, 20), 0, 0
	for i := range n {
		t.round(i, n)
		ids := wave(fmt.Sprintf("task_%d", i), tasksDeleted)
		answers, o := r.Deliver(t.ctx, ids, 32)
		t.only(o)
		t.answered(o.Sent(), len(o.Accepted), o.Slowest)
		t.awaitCopied(mirror, origin)
		if i%2 == 0 {
			for _, a := range answers {
				t.must(origin.DeleteMsg(t.ctx, a.Sequence))
			}
		} else {
			t.audit(s.URL()) // which the purge takes away as well
			t.must(origin.Purge(t.ctx))
		}
		deleted += len(ids)
		for _, a := range answers { // the stream itself has none of them
			switch _, err := origin.GetMsg(t.ctx, a.Sequence); {
			case err == nil:
				misled++
			case !errors.Is(err, jetstream.ErrMsgNotFound):
				t.must(err)
			}
		}
		answers, o = r.Deliver(t.ctx, ids, 32)
		t.only(o)
		t.count(o)
		if o.Duplicates > 0 {
			t.fail("%d of %d repeats were called duplicates of events that had been deleted", o.Duplicates, len(ids))
		}
		before := make(map[string]uint64)
		for i, a := range answers {
			before[ids[i]] = a.Sequence
		}
		t.repeats(r.Sender, ids, before)
	}
	if misled == 0 {
		t.fail("this should be the case that the mirror hands out what was deleted, and it did not")
	}
	t.note("%s events were deleted; of as many direct gets afterwards %s brought one", Thousands(deleted), Thousands(misled))
	t.audit(s.URL())
}
