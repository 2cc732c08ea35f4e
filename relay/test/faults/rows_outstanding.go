package faults

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// outstandingRows are many announced tasks at once.
var outstandingRows = []Row{
	{
		Name: "expected-1000", Fault: "1,000 announced tasks are outstanding, and some of their webhooks do not come", idle: true,
		Injected: "as many as an account may have; they end within 3 min, when the webhooks of 830 come, 10 of them before their tasks are announced; 30 come while the API is asked for their tasks, 130 are lost, and 10 tasks are unknown to the API; RELAY_EXPECT_AFTER=1m, RELAY_API_RATE=50/s. Short form: 20 times as fast",
		run:      outstanding,
	},
}

func outstanding(t *trial) {
	const (
		all, unknown, lost, during, early = 1000, 10, 130, 30, 10
		perSecond                         = 50
	)
	scale := time.Duration(t.times(20, 1))
	after := time.Minute / scale
	a := t.statusAPI(0)
	s := t.server(rig.JetStream)
	r := t.relay(s.URL(), a.expecting(after, fmt.Sprintf("RELAY_API_RATE=%d/s", perSecond))...)
	tasks := t.announcements(a)
	tasks.at(r, s.URL())

	ids := wave("task", all)
	silent, asked, coming := ids[:unknown+lost], ids[unknown+lost:unknown+lost+during], ids[unknown+lost+during:]
	for _, id := range silent[:unknown] {
		tasks.unknown[id] = true
	}
	for _, id := range silent[unknown:] {
		a.know(id, task{ends: time.Now().Add(t.between(0, 3*after))})
	}
	var (
		mu       sync.Mutex
		came     = rig.Outcome{Problems: make(map[string]int)}
		sequence = make(map[string]uint64)
	)
	deliver := func(id string) {
		answer, err := r.Post(t.ctx, id, "success")
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil || answer.Status != http.StatusOK:
			came.Open = append(came.Open, id)
			came.Problems[fmt.Sprintf("%d %s %v", answer.Status, answer.Detail, err)]++
		case sequence[id] == 0:
			sequence[id] = answer.Sequence
			if answer.Duplicate {
				came.Duplicates++
			}
			came.Accepted = append(came.Accepted, rig.Receipt{ID: id, Stream: answer.Stream, Sequence: answer.Sequence})
		}
		came.Slowest = max(came.Slowest, answer.Took)
	}
	for _, id := range asked {
		a.know(id, task{ends: time.Now().Add(t.between(0, after)), asked: func() { deliver(id) }})
	}
	for _, id := range coming {
		a.know(id, task{ends: time.Now().Add(t.between(after/2, after*9/10))})
	}
	for _, id := range coming[:early] {
		deliver(id)
	}
	tasks.announce(ids)
	begin := time.Now()
	t.reaches(r, "apixo_relay_expected_tasks", all-early)
	t.note("all were outstanding at once, %.2f s after their announcement", time.Since(begin).Seconds())
	var arriving sync.WaitGroup
	for _, id := range coming[early:] {
		arriving.Go(func() {
			passes(t.ctx, time.Until(a.ends(id)))
			deliver(id)
		})
	}
	arriving.Wait()
	tasks.settle(20 * after)
	t.count(came)
	t.only(came)
	recovered, err := r.Metric(t.ctx, "apixo_relay_recovered_total")
	t.must(err)
	if n := int(recovered); n < lost || n > lost+came.Duplicates {
		t.fail("%d tasks were counted as recovered, where %d webhooks were lost and %d came later than that", n, lost, came.Duplicates)
	}
	t.reaches(r, "apixo_relay_missing_total", unknown)
	tasks.tally(s.URL())

	due := 3*unknown + early
	for _, id := range ids[unknown : unknown+lost+during] {
		due += asksBefore(a.ends(id).Sub(begin), after)
	}
	t.requestsBound(a, due, t.times(due, due/5))
	t.keepsRate(a, perSecond)
}

// asksBefore is how often a task has to be asked for that ends so long after its
// announcement.
func asksBefore(ends, after time.Duration) (n int) {
	wait := after
	for at := time.Duration(0); n == 0 || at < ends; n++ {
		at += wait
		wait = min(wait*3/2, max(5*time.Minute, after))
	}
	return n
}
