package faults

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// expectedRows are webhooks that never come, of tasks that were announced.
var expectedRows = slices.Concat([]Row{
	{
		Name: "webhooks-lost", Fault: "all four deliveries of webhooks fail, and their tasks were announced", idle: true,
		Injected: "a port at which nobody listens, or a proxy that cuts, through APIXO's whole schedule; tasks that end up to a minute after they were announced, in all three ways; then the webhooks come after all. Short form: all of that 60 times as fast",
		run:      webhooksLost,
	},
	{
		Name: "reconcile-killed", Fault: "the relay dies while it asks for announced tasks", idle: true,
		Injected: "SIGKILL amid the requests to the status API or right after them, embedded and external broker in turns, started again at once; no webhook comes",
		run:      reconcileKilled,
	},
	{
		Name: "reconcile-cluster", Fault: "the leader of three brokers dies while two relays ask for announced tasks", aside: true,
		Injected: "SIGKILL of the server that leads the bucket, or the stream, in turns (R3), amid the requests of both relays, of which one is connected to the leader; started again up to 1 s later; the API takes 0.2 s for an answer; no webhook comes",
		run:      reconcileCluster,
	},
	{
		Name: "api-away", Fault: "the status API is away for an hour, and webhooks are lost meanwhile", idle: true,
		Injected: "a quarter of an hour each: 503, its port closed, no answer, and 429 with Retry-After; RELAY_EXPECT_AFTER=1m; other webhooks come beside. All of that 10 times as fast, short form: 600 times, with RELAY_EXPECT_AFTER=1s",
		run:      apiAway,
	},
}, outstandingRows)

// lag is how much later than due something may be in the full form, on a machine with
// others at work.
const lag = 5 * time.Second

func webhooksLost(t *trial) {
	const most = 90 * time.Second // from a task's end to its event
	scale := time.Duration(t.times(60, 1))
	after := time.Minute / scale
	a := t.statusAPI(0)
	r := t.embedded(a.expecting(after)...)
	tasks := t.announcements(a)
	tasks.at(r, r.Broker)
	unused, err := t.UnusedAddr()
	t.must(err)
	_, path, _ := strings.Cut(strings.TrimPrefix(r.URL(), "http://"), "/")
	p, err := t.NewProxy(t.ctx, strings.TrimSuffix(strings.TrimPrefix(r.URL(), "http://"), "/"+path))
	t.must(err)
	p.Set(rig.Refuse)
	senders := []*rig.Sender{
		t.NewSender("http://" + unused + "/" + path),
		t.NewSender("http://" + strings.TrimPrefix(p.URL(), "nats://") + "/" + path),
	}
	pauses := make([]time.Duration, len(rig.Schedule))
	for i, pause := range rig.Schedule {
		pauses[i] = pause / scale
	}

	ids := wave("task", 120)
	for _, id := range ids {
		a.know(id, task{ends: time.Now().Add(t.between(0, after))})
	}
	tasks.announce(ids)
	deliveries := make([]rig.Delivery, len(ids))
	ctx, cancel := context.WithCancel(t.ctx)
	var delivering sync.WaitGroup
	defer delivering.Wait() // also when the row is ended early
	defer cancel()
	for i, id := range ids {
		delivering.Go(func() {
			passes(ctx, time.Until(a.ends(id)))
			deliveries[i] = senders[i%2].DeliverWithRetries(ctx, id, pauses)
		})
	}
	tasks.settle(t.inTime(most/scale + lag))
	delivering.Wait()
	for _, d := range deliveries {
		t.answered(len(d.Attempts), 0, 0)
		if len(d.Attempts) != len(pauses)+1 || d.Accepted() {
			t.fail("this should be the case that no webhook comes through: %+v", d)
		}
	}
	if got, err := r.Metric(t.ctx, "apixo_relay_recovered_total"); err != nil || int(got) != len(ids) {
		t.fail("%v of %d tasks were counted as recovered: %v", got, len(ids), err)
	}
	t.repeats(r.Sender, ids, nil)
	if longest := tasks.tally(r.Broker); longest > t.inTime(most/scale)+lag {
		t.fail("a task's event came %s after its end; %s are promised for tasks of up to a minute", longest, most)
	}
}

func reconcileKilled(t *trial) {
	const perRound = 30
	a := t.statusAPI(20 * time.Millisecond)
	s := t.server(rig.JetStream)
	environ := a.expecting(time.Second)
	relays := []*rig.Relay{t.embedded(environ...), t.relay(s.URL(), environ...)}
	tasks := t.announcements(a)
	n := t.times(2, 60)
	for i := range n {
		t.round(i, n)
		r := relays[i%2]
		tasks.at(r, r.Broker)
		ids := wave(fmt.Sprintf("task_%d", i), perRound)
		for _, id := range ids {
			a.know(id, task{ends: time.Now()})
		}
		tasks.announce(ids)
		t.awaitRequests(a, 1+t.rand.IntN(perRound))
		t.sleep(t.between(0, 40*time.Millisecond))
		r.Kill()
		t.must(r.Restart(t.ctx))
	}
	for _, r := range relays {
		tasks.at(r, r.Broker)
		tasks.settle(time.Minute)
	}
	tasks.tally(relays[0].Broker, s.URL())
	t.requestsBound(a, len(tasks.ids), n*perRound/2)
}

// requestsBound checks that no more requests were made than these, and some more for what
// was under way when a fault began.
func (t *trial) requestsBound(a *statusAPI, due, more int) {
	if got := a.requests(); got > due+more {
		t.fail("%d requests were made, where %d should be enough, and %d more for what a fault broke off", got, due, more)
	}
}

func reconcileCluster(t *trial) {
	const perRound = 60
	c := t.cluster()
	a := t.statusAPI(200 * time.Millisecond)
	relays, _, _ := t.replicas(c, a.expecting(time.Second)...)
	tasks := t.announcements(a)
	tasks.at(relays[1], c.URL())
	n := t.times(1, 12)
	for i := range n {
		t.round(i, n)
		ids := wave(fmt.Sprintf("task_%d", i), perRound)
		for _, id := range ids {
			a.know(id, task{ends: time.Now().Add(t.between(0, 2*time.Second))})
		}
		tasks.announce(ids)
		t.awaitRequests(a, 1+t.rand.IntN(perRound/2))
		led := []string{"KV_" + expectedBucket, stream}[i%2]
		leader, _, err := c.Leader(t.ctx, t.js(c.URL()), led)
		t.must(err)
		leader.Kill()
		t.sleep(t.between(0, time.Second))
		t.must(c.Start(t.ctx, leader))
		for _, r := range relays {
			t.must(r.AwaitReady(t.ctx))
		}
	}
	tasks.settle(time.Minute)
	tasks.tally(c.URL())
}

func apiAway(t *trial) {
	scale := time.Duration(t.times(600, 10))
	after := max(time.Second, time.Minute/scale)
	quarter := 15 * time.Minute / scale
	a := t.statusAPI(0)
	r := t.embedded(a.expecting(after)...)
	tasks := t.announcements(a)
	tasks.at(r, r.Broker)
	beside := r.StartLoad(t.ctx, "beside", rig.Pace{Workers: 2, Pause: 50 * time.Millisecond})
	for i, trouble := range []func(){
		func() { a.give(fakeapi.Error(http.StatusServiceUnavailable, "maintenance")) },
		a.close,
		a.hang,
		func() { a.give(fakeapi.RetryAfter(http.StatusTooManyRequests, "1")) },
	} {
		t.round(i, 4)
		if i == 2 {
			t.must(a.open(t.ctx))
		}
		trouble()
		ids := wave(fmt.Sprintf("task_%d", i), 20)
		for _, id := range ids {
			a.know(id, task{ends: time.Now()})
		}
		tasks.announce(ids)
		t.sleep(quarter)
	}
	t.must(r.Ready(t.ctx))
	t.goesOn(beside, 1)
	before := a.requests()
	back := time.Now()
	a.give(nil)
	tasks.settle(t.duration(time.Minute, 10*time.Minute))
	t.recovered(time.Since(back))
	o := beside.Stop()
	t.only(o)
	t.count(o)
	t.note("%d of the requests while the API was away", before)
	tasks.tally(r.Broker)
}
