package faults

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/hostile"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// hostileRows are bodies, ids, queries and headers that no sender should send.
var hostileRows = []Row{
	{
		Name: "hostile", Fault: "hostile bodies, ids, queries, headers, framing and senders",
		Injected: "a corpus with the answer to each, every case on a connection of its own, in random order on 16 of them at once beside good webhooks",
		run:      hostileRequests,
	},
	{
		Name: "fuzzed", Fault: "webhooks changed at random",
		Injected: "random changes of valid webhooks, in bytes, members, ids, nesting, query, headers and the bytes of the request's head, from 8 connections by the clock; each answer is held against a reader of JSON that is not the relay's",
		run:      fuzzed,
	},
}

func hostileRequests(t *trial) {
	r := t.embedded(hostile.Environ()...)
	holdAgainst(t, r, r.Vary(inPath(hostile.Token)), hostile.New().Cases)
}

// holdAgainst sends cases, the same in all rounds, beside good webhooks, and then looks
// at all that has come of them.
func holdAgainst(t *trial, r *rig.Relay, good *rig.Sender, cases []hostile.Case) {
	load := good.StartLoad(t.ctx, "fresh", rig.Pace{Workers: 8})
	n := t.times(2, 10)
	h := &hostility{trial: t, stored: make(map[uint64]string), kept: make(keptBodies)}
	for i := range n {
		t.round(i, n)
		h.provoke(r.Sender, cases)
		t.goesOn(load, 100)
	}
	t.must(r.Healthy(t.ctx))
	t.must(r.Ready(t.ctx))
	o := load.Stop()
	t.count(o)
	t.only(o)
	t.within(o, 20*time.Second)
	all := t.audit(r.Broker)
	fresh := make(map[string]bool)
	for _, id := range o.IDs() {
		fresh[id] = true
	}
	for id, at := range all {
		if !fresh[id] && h.stored[at[0]] != id {
			t.fail("the stream holds %q at %d, of which no answer told", id, at[0])
		}
		delete(h.stored, at[0])
	}
	for sequence, id := range h.stored {
		t.fail("%q got 200 and is not stored at %d", id, sequence)
	}
	t.quarantineHolds(r.Broker, h.kept)
	t.note("%d cases, %d distinct bodies in the quarantine", h.cases, len(h.kept))
	if strings.Contains(r.Log(), hostile.Mark) || strings.Contains(r.Log(), hostile.Token) {
		t.fail("what came from outside is in the log as it came")
	}
}

// hostility is what the answers to a corpus tell.
type hostility struct {
	*trial
	mu     sync.Mutex
	cases  int
	stored map[uint64]string // task ids, by the sequence that a 200 named
	kept   keptBodies
}

// provoke sends all cases and holds the answers against what they have to be.
func (h *hostility) provoke(s *rig.Sender, cases []hostile.Case) {
	h.rand.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
	next := make(chan hostile.Case)
	var sending sync.WaitGroup
	for range 16 {
		sending.Go(func() {
			for c := range next {
				method, _, _ := strings.Cut(c.Request, " ")
				answers, err := s.Raw(h.ctx, c.Request, method)
				h.judge(c, answers, err)
			}
		})
	}
	for _, c := range cases {
		next <- c
	}
	close(next)
	sending.Wait()
}

// judge holds the answers to one case against what they have to be.
func (h *hostility) judge(c hostile.Case, answers []rig.Answer, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cases++
	if err != nil || len(answers) != len(c.Want) {
		h.fail("%s: %d answers, %v; %d are due", c.Name, len(answers), err, len(c.Want))
		return
	}
	bodies := c.Bodies
	for i, a := range answers {
		got := strings.TrimSuffix(fmt.Sprintf("%d %s", a.Status, a.Problem()), " ")
		head := strings.HasPrefix(c.Request, "HEAD ") && strings.HasPrefix(c.Want[i], got)
		if got != c.Want[i] && !head {
			h.fail("%s: the answer is %+v, and %s is due", c.Name, a, c.Want[i])
			return
		}
		h.answered(1, 0, a.Took)
		switch {
		case a.Status == 200:
			h.answered(0, 1, 0)
			// A later round's good webhooks are repeats of an earlier one's.
			if !strings.Contains(bodies[0], a.TaskID) {
				h.fail("%s: the answer is about the task %q", c.Name, a.TaskID)
			}
			h.stored[a.Sequence] = a.TaskID
			bodies = bodies[1:]
		case a.Problem() == "not-json", a.Problem() == "not-a-result", a.Problem() == "unsupported-media-type":
			if a.Quarantined.Stream != quarantine || a.Quarantined.Sequence == 0 {
				h.fail("%s: the answer does not say where it is kept: %+v", c.Name, a)
			}
			h.kept.rejected(bodies[0])
			bodies = bodies[1:]
		case a.Quarantined.Stream != "":
			h.fail("%s: kept, and should not be: %+v", c.Name, a)
		}
	}
}
