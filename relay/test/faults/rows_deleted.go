package faults

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// deletedRows are faults of an operator who takes events out of the stream while the
// broker still remembers their ids.
var deletedRows = []Row{
	{
		Name: "event-deleted", Fault: "an operator deletes events that are repeated afterwards",
		Injected: "single deletes and purges, up to four times amid a storm of repeats over 64 connections to one relay and to two, beside fresh webhooks; then once more, and nothing, nats-server or the relays are started anew before the repeats and after them, and 'backfill' brings some back",
		run:      deletedExternal,
	},
	{
		Name: "event-deleted-embedded", Fault: "the same with the embedded broker", aside: true,
		Injected: "single deletes and purges amid repeats; SIGKILL or SIGTERM of the relay before the repeats and after them",
		run:      deletedEmbedded,
	},
}

func deletedExternal(t *trial) {
	s := t.server(rig.JetStream)
	d := &deletions{trial: t, relays: []*rig.Relay{t.relay(s.URL()), t.relay(s.URL())}, broker: s.URL}
	d.restart = func(round int) {
		switch round / 2 % 3 {
		case 1:
			s.Kill()
			t.must(s.Start(t.ctx))
			for _, r := range d.relays {
				_, err := r.AwaitMessage(t.ctx, "connected to the broker again")
				t.must(err)
			}
		case 2:
			for _, r := range d.relays {
				t.end(r.Process, t.rand.IntN(2) == 0)
				t.must(r.Restart(t.ctx))
			}
		}
		for _, r := range d.relays {
			t.must(r.AwaitReady(t.ctx))
		}
	}
	d.run(t.times(6, 30))
}

func deletedEmbedded(t *trial) {
	r := t.embedded()
	d := &deletions{trial: t, relays: []*rig.Relay{r}, broker: func() string { return r.Broker }}
	d.restart = func(round int) {
		if round%3 > 0 {
			t.end(r.Process, round%3 == 1)
			t.must(r.Restart(t.ctx))
		}
		t.must(r.AwaitReady(t.ctx))
	}
	d.run(t.times(3, 15))
}

// deletions are events that are deleted, and come again.
type deletions struct {
	*trial
	relays  []*rig.Relay
	broker  func() string
	restart func(round int)
	deleted int
}

// tasksDeleted is how many tasks come in a round.
const tasksDeleted = 200

func (d *deletions) run(rounds int) {
	d.restart(0) // which waits until they are ready
	for i := range rounds {
		d.round(i, rounds)
		relays, purges := d.relays[:1+i%len(d.relays)], i%3 == 2
		ids := wave(fmt.Sprintf("task_%d", i), tasksDeleted)
		load := d.relays[0].StartLoad(d.ctx, fmt.Sprintf("fresh_%d", i), rig.Pace{Workers: 8})
		_, o := d.relays[0].Deliver(d.ctx, ids, 64)
		d.only(o)
		d.answered(o.Sent(), len(o.Accepted), o.Slowest)
		d.storm(relays, ids, purges)
		o = load.Stop()
		d.only(o)
		if purges { // which take away what is fresh, too
			d.answered(o.Sent(), len(o.Accepted), o.Slowest)
		} else {
			d.count(o)
		}
		d.there("after the storm", relays, ids)

		d.delete(ids, purges)
		d.restart(i)
		d.there("after a restart", relays, ids)
		d.restart(i)
		d.there("after another", relays, ids)
		d.delete(ids, purges)
		d.backfill(ids)
	}
	d.note("%s events were deleted", Thousands(d.deleted))
}

// everyoneSends sends tasks to relays at once.
func (d *deletions) everyoneSends(relays []*rig.Relay, ids []string) []rig.Outcome {
	outcomes := make([]rig.Outcome, len(relays))
	var all sync.WaitGroup
	for i, r := range relays {
		all.Go(func() { _, outcomes[i] = r.Deliver(d.ctx, ids, 64/len(relays)) })
	}
	all.Wait()
	return outcomes
}

// storm repeats tasks while their events are deleted.
func (d *deletions) storm(relays []*rig.Relay, ids []string, purge bool) {
	repeats := slices.Repeat(ids, d.times(5, 10))
	d.rand.Shuffle(len(repeats), func(i, j int) { repeats[i], repeats[j] = repeats[j], repeats[i] })
	done := make(chan []rig.Outcome, 1)
	go func() { done <- d.everyoneSends(relays, repeats) }()
	for range d.times(2, 4) {
		d.sleep(d.between(0, 100*time.Millisecond))
		d.delete(ids, purge)
	}
	for _, o := range <-done {
		d.only(o)
		d.answered(o.Sent(), len(o.Accepted), o.Slowest)
	}
}

// delete deletes the events of a third of the tasks, or purges the stream.
func (d *deletions) delete(ids []string, purge bool) {
	js := d.js(d.broker())
	defer js.Conn().Close()
	s, err := js.Stream(d.ctx, stream)
	d.must(err)
	if purge {
		d.must(s.Purge(d.ctx))
		d.deleted += len(ids)
		return
	}
	stored, err := rig.Audit(d.ctx, d.broker(), stream)
	d.must(err)
	for _, id := range ids {
		for _, sequence := range stored[id] {
			if d.rand.IntN(3) > 0 {
				continue
			}
			if err := s.DeleteMsg(d.ctx, sequence); err != nil {
				d.must(fmt.Errorf("event %d cannot be deleted: %w", sequence, err))
			}
			d.deleted++
		}
	}
}

// there repeats the tasks: every 200 has to be true, and where it says.
func (d *deletions) there(when string, relays []*rig.Relay, ids []string) {
	failures := len(d.result.Failures)
	for _, o := range d.everyoneSends(relays, ids) {
		d.only(o)
		d.count(o)
	}
	if d.audit(d.broker()); len(d.result.Failures) > failures {
		d.fail("so it was %s", when)
	}
}

// backfill brings back what the status API still tells, and changes nothing then.
func (d *deletions) backfill(ids []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	d.must(err)
	api := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, rig.Webhook(r.URL.Query().Get("taskId"), "success", 0))
	})}
	go func() { _ = api.Serve(l) }()
	defer api.Close()
	for range 2 {
		code, said, err := d.relays[0].Command(d.ctx, []string{
			"NATS_URL=" + d.broker(), "APIXO_API_KEY=key-of-the-rig", "APIXO_BASE_URL=http://" + l.Addr().String(),
		}, append([]string{"backfill", "--model", "nano-banana"}, ids...)...)
		d.must(err)
		if code != 0 {
			d.fail("backfill ended with %d: %s", code, lastLine(said))
		}
		stored, err := rig.Audit(d.ctx, d.broker(), stream)
		d.must(err)
		if missing := stored.Missing(ids); len(missing) > 0 {
			d.fail("after backfill %d tasks are not there, such as %s", len(missing), missing[0])
		}
		d.compare(stored)
	}
}
