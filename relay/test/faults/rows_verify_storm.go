package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// verifyStormRows are so many forged webhooks that not each can be asked for.
var verifyStormRows = []Row{
	{
		Name: "forged-storm", Fault: "a storm of forged webhooks, with RELAY_VERIFY=enforce", aside: true,
		Injected: "128 connections without a pause, half of them with one body, the others with fresh ids of no task, for 3 s (30 s in the full form), with RELAY_API_RATE=20/s; beside them webhooks of an honest sender, which come again until they are accepted",
		run:      forgedStorm,
	},
}

func forgedStorm(t *trial) {
	const perSecond = 20
	v := t.verifies("enforce", fmt.Sprintf("RELAY_API_RATE=%d/s", perSecond))
	t.must(v.relay.AwaitReady(t.ctx))
	begin := time.Now()
	lasts := t.duration(3*time.Second, 30*time.Second)
	storming := make(chan map[string]int)
	go func() { storming <- v.storm(begin.Add(lasts)) }()
	deliveries := v.deliverHonest(v.tasks(0, "honest", task{}))
	answers := <-storming
	meanwhile := 0
	for _, d := range deliveries {
		last := d.Attempts[len(d.Attempts)-1]
		t.answered(len(d.Attempts), 0, last.Took)
		if !d.Accepted() {
			t.fail("the webhook of an honest sender was not accepted: %+v", last)
			continue
		}
		t.answered(0, 1, 0)
		t.rounds = append(t.rounds, []rig.Receipt{{ID: d.ID, Stream: last.Stream, Sequence: last.Sequence}})
		if d.Ended.Before(begin.Add(lasts)) {
			meanwhile++
		}
	}
	sent := 0
	for answer, n := range answers {
		sent += n
		if answer != "422 not-confirmed" && answer != "503 not-verified" {
			t.fail("%d forged ones got %q", n, answer)
		}
	}
	t.answered(sent, 0, 0)
	requests, ofOne := v.api.requests(), v.api.fake.Asked()[forgedOften]
	var said []string
	for _, answer := range slices.Sorted(maps.Keys(answers)) {
		said = append(said, Thousands(answers[answer])+" got "+answer)
	}
	t.note("%s forged webhooks in %s (%s) made %d requests, %d of them for the one body; %d of %d honest ones were accepted meanwhile, and all in the end",
		Thousands(sent), lasts, strings.Join(said, ", "), requests, ofOne, meanwhile, len(deliveries))
	// The answers to others may take the place of the one that is remembered.
	if most := 2 + requests/100; ofOne > most {
		t.fail("%d requests were made for the task of one body", ofOne)
	}
	t.keepsRate(v.api, perSecond)
	t.audit(v.relay.Broker)
}

// forgedOften is the task of the one body that comes again and again.
const forgedOften = "forged_often"

// storm sends forged webhooks over 128 connections until a time, and returns the answers.
func (v *verified) storm(until time.Time) map[string]int {
	v.api.know(forgedOften, task{})
	answers := make(map[string]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	for worker := range 128 {
		all.Go(func() {
			for i := 0; time.Now().Before(until) && v.ctx.Err() == nil; i++ {
				id := forgedOften
				if worker%2 > 0 {
					id = fmt.Sprintf("forged_%d_%d", worker, i)
				}
				a, err := v.other.Post(v.ctx, id, "failed")
				answer := fmt.Sprintf("%d %s", a.Status, a.Problem())
				if err != nil {
					answer = rig.NoAnswer(err)
				}
				mu.Lock()
				answers[answer]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return answers
}

// deliverHonest sends the real webhooks of tasks, each until it is accepted.
func (v *verified) deliverHonest(ids []string) []rig.Delivery {
	pauses := make([]time.Duration, 200)
	for i := range pauses {
		pauses[i] = 200 * time.Millisecond
	}
	deliveries := make([]rig.Delivery, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() { deliveries[i] = v.real.DeliverWithRetries(v.ctx, id, pauses) })
	}
	all.Wait()
	return deliveries
}
