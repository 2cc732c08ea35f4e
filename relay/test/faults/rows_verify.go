package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// verifyRows are forged webhooks that are held against the status API.
var verifyRows = []Row{
	{
		Name: "forged-enforced", Fault: "forged calls by one who has the token, with RELAY_VERIFY=enforce",
		Injected: "first deliveries with another outcome, of tasks that have not ended and of none, before a restart of the relay (SIGKILL and SIGTERM in turns), right before the real ones, and at the same moment on other connections; and real ones while the API is away",
		run:      forgedEnforced,
	},
	{
		Name: "forged-flagged", Fault: "the same with RELAY_VERIFY=flag",
		Injected: "first deliveries with another outcome, of tasks that have not ended and of none, before a restart of the relay (SIGKILL and SIGTERM in turns), and after the real ones; real ones without a model, and while the API is away",
		run:      forgedFlagged,
	},
}

// model brings the model in the callback URL's query, and the token.
func model(r *http.Request) {
	inPath(firstToken)(r)
	r.URL.RawQuery = "model=nano-banana"
}

// verified is a row in which webhooks are held against the status API.
type verified struct {
	*trial
	api         *statusAPI
	relay       *rig.Relay
	real, other *rig.Sender // over connections of their own
	kept        keptBodies
	want        map[string]string // what the events of tasks say in their attribute verified
}

func (t *trial) verifies(mode string, more ...string) *verified {
	a := t.statusAPI(time.Millisecond)
	a.beside = "fresh"
	r := t.embedded(a.environ(append([]string{"RELAY_VERIFY=" + mode, "RELAY_WEBHOOK_TOKENS=" + firstToken}, more...)...)...)
	return &verified{
		trial: t, api: a, relay: r, kept: make(keptBodies), want: make(map[string]string),
		real: r.Vary(model), other: t.NewSender(r.URL()).Vary(model),
	}
}

// hasty makes more rounds fit into the same time, and leaves a busy machine enough for an
// answer.
var hasty = []string{"RELAY_API_RATE=10000/m", "RELAY_VERIFY_TIMEOUT=3s"}

// tasks are ids of one kind in one round.
func (v *verified) tasks(round int, kind string, known task) []string {
	ids := wave(fmt.Sprintf("%s_%d", kind, round), 20)
	for _, id := range ids {
		v.api.know(id, known)
	}
	return ids
}

// send delivers webhooks of these tasks, and hands each answer over.
func (v *verified) send(s *rig.Sender, ids []string, state string, look func(*delivery)) {
	var all []*delivery
	for _, id := range ids {
		all = append(all, &delivery{sender: s, body: rig.Webhook(id, state, 0), id: id, called: state})
	}
	v.deliver(8, all)
	for _, d := range all {
		look(d)
	}
}

// stored expects the first 200 of a task, whose event says in verified what is to be said.
func (v *verified) stored(says string) func(*delivery) {
	return func(d *delivery) {
		if a := d.answer; a.Status != http.StatusOK || a.Duplicate {
			v.fail("%s of %s got %+v, and is the first one to be stored", d.called, d.id, a)
			return
		}
		v.rounds = append(v.rounds, []rig.Receipt{{ID: d.id, Stream: d.answer.Stream, Sequence: d.answer.Sequence}})
		v.want[d.id] = d.called + " " + says
	}
}

// refused expects a problem, by its status and name, after which nothing is stored.
func (v *verified) refused(status int, name string) func(*delivery) {
	return func(d *delivery) {
		if a := d.answer; a.Status != status || a.Problem() != name {
			v.fail("%s of %s got %+v, and %d %s was due", d.called, d.id, a, status, name)
		}
		if status == http.StatusUnprocessableEntity {
			v.kept.notConfirmed(d.body, d.id)
		}
	}
}

// away sends real webhooks while the API is away, and hands each answer over. What is
// known of the API afterwards, and for how long it is not asked therefore, ends with the relay.
func (v *verified) away(round int, look func(*delivery)) (ids []string) {
	ids = v.tasks(round, "away", task{})[:8] // as many as are sent at once: each waits for the API
	v.api.give(fakeapi.Error(http.StatusServiceUnavailable, "maintenance"))
	v.send(v.real, ids, "success", look)
	v.api.give(nil)
	return ids
}

// restart ends the relay in one of two ways, and starts it again.
func (v *verified) restart(i int) {
	if i%2 == 0 {
		v.relay.Kill()
	} else {
		v.must(v.relay.Signal(syscall.SIGTERM))
		_, err := v.relay.Wait(v.ctx)
		v.must(err)
	}
	v.must(v.relay.Restart(v.ctx))
}

func forgedEnforced(t *trial) {
	v := t.verifies("enforce", hasty...)
	load := v.real.StartLoad(t.ctx, "fresh", rig.Pace{Workers: 4, Pause: 100 * time.Millisecond})
	contradicted := v.refused(http.StatusUnprocessableEntity, "not-confirmed")
	open := v.refused(http.StatusServiceUnavailable, "not-verified")
	n := t.times(2, 20)
	for i := range n {
		t.round(i, n)
		t.goesOn(load, 5)
		before, at := v.tasks(i, "before", task{}), v.tasks(i, "right_before", task{})
		pending := v.tasks(i, "pending", task{ends: time.Now().Add(time.Hour)})
		v.send(v.other, before, "failed", contradicted)
		v.send(v.other, wave(fmt.Sprintf("none_%d", i), 20), "success", contradicted)
		v.send(v.other, pending, "failed", open)
		away := v.away(i, open)
		v.restart(i)
		v.send(v.real, away, "success", v.stored("true"))
		v.send(v.real, before, "success", v.stored("true"))
		v.send(v.other, at, "failed", contradicted)
		v.send(v.real, at, "success", v.stored("true"))
		v.tasks(i, "pending", task{})
		v.send(v.other, pending, "failed", contradicted)
		v.send(v.real, pending, "success", v.stored("true"))
		v.together(v.tasks(i, "together", task{}))
	}
	o := load.Stop()
	t.count(o)
	t.only(o, append(killed, "draining", "not-verified")...)
	t.again(v.real, o)
	v.look()
	t.note("%d real ones came after a forged one or with it and were stored, and %d bodies are kept in the quarantine; %s requests", len(v.want), len(v.kept), Thousands(v.api.requests()))
}

// together sends forged ones and real ones of each task at once: the real one is stored,
// and the forged one refused or, if it comes later, kept as one that contradicts.
func (v *verified) together(ids []string) {
	var all []*delivery
	for _, id := range ids {
		for _, state := range []string{"failed", "success"} {
			for _, s := range []*rig.Sender{v.other, v.real} {
				all = append(all, &delivery{sender: s, body: rig.Webhook(id, state, 0), id: id, called: state})
			}
		}
	}
	v.deliver(len(all), all)
	for _, d := range all {
		switch a := d.answer; {
		case d.called == "success" && !a.Duplicate:
			v.stored("true")(d)
		case d.called == "success":
			if a.Status != http.StatusOK || a.Conflict {
				v.fail("the real one of %s got %+v", d.id, a)
			}
		case a.Status == http.StatusOK && a.Conflict:
			v.kept.conflict(d.body, d.id)
		default:
			v.refused(http.StatusUnprocessableEntity, "not-confirmed")(d)
		}
	}
}

// look reads both streams and holds them against the answers, and the events against what
// they have to say.
func (v *verified) look() {
	v.audit(v.relay.Broker)
	s, err := v.js(v.relay.Broker).Stream(v.ctx, stream)
	v.must(err)
	seqs, err := rig.Audit(v.ctx, v.relay.Broker, stream)
	v.must(err)
	for id, want := range v.want {
		if len(seqs[id]) == 0 {
			continue // which the audit has told
		}
		msg, err := s.GetMsg(v.ctx, seqs[id][0])
		v.must(err)
		var event struct {
			Verified string
			Data     struct{ State string }
		}
		v.must(json.Unmarshal(msg.Data, &event))
		if got := event.Data.State + " " + event.Verified; got != want {
			v.fail("the event of %s says %q, and %q was due", id, got, want)
		}
	}
	v.quarantineHolds(v.relay.Broker, v.kept)
}

func forgedFlagged(t *trial) {
	v := t.verifies("flag", hasty...)
	load := v.real.StartLoad(t.ctx, "fresh", rig.Pace{Workers: 4, Pause: 100 * time.Millisecond})
	contradicts := func(d *delivery) {
		if a := d.answer; a.Status != http.StatusOK || !a.Duplicate || !a.Conflict {
			v.fail("%s of %s, which contradicts what is stored, got %+v", d.called, d.id, a)
		}
		v.kept.conflict(d.body, d.id)
	}
	n := t.times(2, 20)
	for i := range n {
		t.round(i, n)
		t.goesOn(load, 5)
		before, real := v.tasks(i, "before", task{}), v.tasks(i, "real", task{})
		pending := v.tasks(i, "pending", task{ends: time.Now().Add(time.Hour)})
		v.send(v.other, before, "failed", v.stored("false"))
		v.send(v.other, wave(fmt.Sprintf("none_%d", i), 20), "success", v.stored("false"))
		v.send(v.other, pending, "failed", v.stored("unknown"))
		v.send(v.relay.Vary(inPath(firstToken)), v.tasks(i, "without_model", task{}), "success", v.stored("unknown"))
		v.away(i, v.stored("unknown"))
		v.restart(i)
		v.send(v.real, before, "success", contradicts)
		v.send(v.real, real, "success", v.stored("true"))
		v.send(v.other, real, "failed", contradicts)
	}
	o := load.Stop()
	t.count(o)
	t.only(o, append(killed, "draining")...)
	t.again(v.real, o)
	v.look()
	t.note("the events of %d tasks say what they have to, and %d bodies are kept in the quarantine; %s requests", len(v.want), len(v.kept), Thousands(v.api.requests()))
}
