package faults

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// laggingRows are faults of replicas, of which one lags behind or none answers, while
// what is stored has to be looked at.
var laggingRows = []Row{
	{
		Name: "deleted-lagging-replica", Fault: "events are deleted, and come again by way of a replica that has them still", aside: true,
		Injected: "SIGSTOP of a server that does not lead (R3), to which the relay is connected; 1,000 webhooks come by way of another relay, and 200 earlier events a round are deleted; SIGCONT up to 300 ms after all their webhooks were sent again",
		run:      deletedBesideLagging,
	},
	{
		Name: "conflicts-leader-frozen", Fault: "contradicting results come while the leader of three brokers stands still", aside: true,
		Injected: "100 tasks, then what contradicts them over 16 connections without a pause; meanwhile SIGSTOP for 1 to 2.5 s and for 10 to 14 s in turns of the server that leads the stream (R3); the relay is connected to another one, with a budget of 6 s",
		run:      conflictsAtFrozenLeader,
	},
}

func deletedBesideLagging(t *trial) {
	c := t.cluster()
	relays, leader, others := t.replicas(c)
	r, behind := relays[1], others[0]
	js, near := t.js(leader.URL()), t.js(behind.URL())
	origin, err := js.Stream(t.ctx, stream)
	t.must(err)
	stale, err := near.Stream(t.ctx, stream)
	t.must(err)
	n, deleted, misled := t.times(3, 15), 0, 0
	for i := range n {
		t.round(i, n)
		ids := wave(fmt.Sprintf("task_%d", i), tasksDeleted)
		answers, o := r.Deliver(t.ctx, ids, 32)
		t.only(o)
		t.answered(o.Sent(), len(o.Accepted), o.Slowest)
		t.must(c.AwaitCurrent(t.ctx, js, stream, behind))
		t.must(behind.Freeze())
		// It learns of the deletions after all this.
		_, fresh := relays[0].Deliver(t.ctx, wave(fmt.Sprintf("fresh_%d", i), 1000), 64)
		t.only(fresh)
		t.count(fresh)
		t.deleteAtOnce(origin, answers)
		deleted += len(ids)
		var both sync.WaitGroup
		both.Go(func() { answers, o = r.Deliver(t.ctx, ids, len(ids)) })
		var had int
		gone := answers
		both.Go(func() { had = t.had(stale, gone) })
		t.sleep(t.between(0, 300*time.Millisecond))
		t.must(behind.Thaw())
		both.Wait()
		misled += had
		// A machine with too much to do can leave it frozen until the connection counts as
		// lost.
		t.only(o, away...)
		t.count(o)
		t.must(c.AwaitCurrent(t.ctx, js, stream, behind))
		t.must(r.AwaitReady(t.ctx))
		t.again(r.Sender, o)
		t.audit(c.URL())
		before := make(map[string]uint64)
		for i, a := range answers {
			before[ids[i]] = a.Sequence
		}
		t.repeats(r.Sender, ids, before)
	}
	t.note("%s events were deleted; the replica that lagged behind handed out %s of them", Thousands(deleted), Thousands(misled))
	t.audit(c.URL())
}

// deleteAtOnce deletes events, all at the same time: who waits for them may not have long.
func (t *trial) deleteAtOnce(s jetstream.Stream, events []rig.Answer) {
	errs := make([]error, len(events))
	var all sync.WaitGroup
	for i, a := range events {
		all.Go(func() { errs[i] = s.DeleteMsg(t.ctx, a.Sequence) })
	}
	all.Wait()
	t.must(errors.Join(errs...))
}

// had asks whoever answers first for events, and returns how many there were. What gets
// no answer was not there.
func (t *trial) had(s jetstream.Stream, events []rig.Answer) int {
	var n atomic.Int64
	var all sync.WaitGroup
	for _, a := range events {
		all.Go(func() {
			if _, err := s.GetMsg(t.ctx, a.Sequence); err == nil {
				n.Add(1)
			}
		})
	}
	all.Wait()
	return int(n.Load())
}

func conflictsAtFrozenLeader(t *trial) {
	const budget = 6 * time.Second
	c := t.cluster()
	n, waited, conflicts := t.times(2, 6), 0, 0
	kept := make(keptBodies)
	for i := range n {
		t.round(i, n)
		relays, leader, _ := t.replicas(c, "RELAY_PUBLISH_TIMEOUT="+budget.String())
		r := relays[1]
		ids := wave(fmt.Sprintf("task_%d", i), 100)
		firsts, o := r.Deliver(t.ctx, ids, 16)
		t.only(o)
		t.count(o)
		s := &contradictions{trial: t, sender: r.Sender, ids: ids, firsts: firsts, stop: make(chan struct{})}
		s.start(16)
		t.sleep(t.between(100*time.Millisecond, 300*time.Millisecond))
		t.must(leader.Freeze())
		d := t.between(time.Second, 2500*time.Millisecond)
		if i%2 > 0 {
			d = t.between(10*time.Second, 14*time.Second)
		}
		t.sleep(d)
		t.must(leader.Thaw())
		since := time.Now()
		for refused := "first"; refused != ""; {
			a, err := r.Post(t.ctx, ids[0], "failed")
			t.must(err)
			if refused = a.Problem(); refused != "" && refused != "broker-unavailable" {
				t.fail("after the leader goes on, a contradiction met %q", refused)
			}
		}
		t.recovered(time.Since(since))
		s.end(budget)
		waited, conflicts = waited+s.refused, conflicts+s.conflicts
		// Whatever was refused comes again.
		all := make([]*delivery, len(ids))
		for i, id := range ids {
			all[i] = &delivery{sender: r.Sender, body: rig.Webhook(id, "failed", 0), id: id}
			kept.conflict(all[i].body, id)
		}
		t.deliver(16, all)
		for i, d := range all {
			if !s.isConflict(i, d.answer) {
				t.fail("%s, which contradicts what is stored at %d, got %+v in the end", d.id, firsts[i].Sequence, d.answer)
			}
		}
		for _, r := range relays {
			r.Kill()
		}
	}
	t.note("%s contradictions were answered as such, and %s refused while there was no leader", Thousands(conflicts), Thousands(waited))
	t.audit(c.URL())
	t.quarantineHolds(c.URL(), kept)
}

// contradictions are what contradicts stored events, again and again.
type contradictions struct {
	*trial
	sender  *rig.Sender
	ids     []string
	firsts  []rig.Answer
	stop    chan struct{}
	sending sync.WaitGroup

	mu        sync.Mutex
	slowest   time.Duration
	conflicts int
	refused   int
	wrong     []string
}

// start sends them over so many connections until end is called.
func (s *contradictions) start(workers int) {
	for w := range workers {
		s.sending.Go(func() {
			for i := w; ; i += workers {
				select {
				case <-s.stop:
					return
				default:
				}
				task := i % len(s.ids)
				a, err := s.sender.Post(s.ctx, s.ids[task], "failed")
				s.mu.Lock()
				if err != nil {
					s.wrong = append(s.wrong, rig.NoAnswer(err))
				} else {
					s.judge(task, a)
				}
				s.mu.Unlock()
			}
		})
	}
}

// judge holds an answer against what it has to be: that of a conflict, or the refusal of
// a broker without a leader.
func (s *contradictions) judge(task int, a rig.Answer) {
	s.slowest = max(s.slowest, a.Took)
	switch {
	case a.Problem() == "broker-unavailable":
		s.refused++
	case s.isConflict(task, a):
		s.conflicts++
	default:
		s.wrong = append(s.wrong, fmt.Sprintf("%s, which contradicts what is stored at %d, got %+v", s.ids[task], s.firsts[task].Sequence, a))
	}
}

func (s *contradictions) isConflict(task int, a rig.Answer) bool {
	return a.Status == http.StatusOK && a.Duplicate && a.Conflict && a.Sequence == s.firsts[task].Sequence
}

// end stops sending, and tells what was wrong.
func (s *contradictions) end(budget time.Duration) {
	close(s.stop)
	s.sending.Wait()
	s.answered(s.conflicts+s.refused+len(s.wrong), s.conflicts, s.slowest)
	s.within(rig.Outcome{Slowest: s.slowest}, budget)
	for _, w := range s.wrong {
		s.fail("%s", w)
	}
}
