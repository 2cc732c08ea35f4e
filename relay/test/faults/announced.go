package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// expectedBucket is where the relay looks for announced tasks.
const expectedBucket = "APIXO_EXPECTED"

// announced are a row's tasks that were announced.
type announced struct {
	*trial
	api     *statusAPI
	bucket  jetstream.KeyValue
	post    *rig.Sender // of announcements
	ids     []string
	unknown map[string]bool // those of which the API knows nothing, so that they are given up
}

// announcements are for tasks of which the API tells. A relay has to be given by
// [announced.at] before the first of them.
func (t *trial) announcements(a *statusAPI) *announced {
	return &announced{trial: t, api: a, unknown: make(map[string]bool)}
}

// expecting makes a relay look after announced tasks, and ask for them after that time.
func (a *statusAPI) expecting(after time.Duration, more ...string) []string {
	return a.environ(append([]string{"RELAY_EXPECT=true", "RELAY_EXPECT_AFTER=" + after.String()}, more...)...)
}

// at has the next announcements made to a relay and to the broker at an address.
func (n *announced) at(r *rig.Relay, url string) {
	n.post = n.NewSender(strings.Replace(r.URL(), "/webhook/apixo", "/expect", 1))
	n.must(r.AwaitReady(n.ctx))
	js := n.js(url)
	for begin := time.Now(); ; {
		var err error
		if n.bucket, err = js.KeyValue(n.ctx, expectedBucket); err == nil {
			return
		}
		if time.Since(begin) > patient {
			n.must(fmt.Errorf("the bucket is not there %s after the relay was ready: %w", patient, err))
		}
		n.pause(err)
	}
}

// pause is before another look at a broker, which tells only those who ask. It ends the
// row when its time has come, with the last look's error.
func (t *trial) pause(err error) {
	select {
	case <-time.After(50 * time.Millisecond):
	case <-t.ctx.Done():
		t.must(errors.Join(context.Cause(t.ctx), err))
	}
}

// announce announces tasks in the three ways that there are: by a new key, by a key that
// may be there, and by a request to the relay.
func (n *announced) announce(ids []string) {
	n.ids = append(n.ids, ids...)
	errs := make([]error, len(ids))
	next := make(chan int)
	var announcing sync.WaitGroup
	for range 16 {
		announcing.Go(func() {
			for i := range next {
				for begin := time.Now(); ; passes(n.ctx, 50*time.Millisecond) {
					errs[i] = n.announceBy(i%3, ids[i])
					if errs[i] == nil || n.ctx.Err() != nil || time.Since(begin) > announcePatience {
						break
					}
				}
			}
		})
	}
	for i := range ids {
		next <- i
	}
	close(next)
	announcing.Wait()
	n.must(errors.Join(errs...))
}

// announcePatience is for an announcement that meets a bucket without a leader: producers
// repeat it then.
const announcePatience = 30 * time.Second

// announceBy announces a task in one of the ways.
func (n *announced) announceBy(way int, id string) error {
	value := []byte(`{"model":"nano-banana"}`)
	ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
	defer cancel()
	switch way {
	case 0:
		_, err := n.bucket.Create(ctx, id, value)
		if errors.Is(err, jetstream.ErrKeyExists) {
			return nil // the acknowledgement of the try before was lost
		}
		return err
	case 1:
		_, err := n.bucket.Put(ctx, id, value)
		return err
	}
	a, err := n.post.PostBody(ctx, fmt.Sprintf(`{"taskId":%q,"model":"nano-banana"}`, id))
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("the announcement of %s got %+v", id, a)
	}
	return err
}

// settle waits until no announced task is left, so long at the most.
func (n *announced) settle(within time.Duration) {
	begin := time.Now()
	for {
		keys, err := n.bucket.Keys(n.ctx)
		if errors.Is(err, jetstream.ErrNoKeysFound) {
			return
		}
		if err == nil && time.Since(begin) > within {
			n.fail("%d of %d announced tasks are not settled after %s, such as %s", len(keys), len(n.ids), within, strings.Join(keys[:min(3, len(keys))], ", "))
			return
		}
		n.pause(err)
	}
}

// tally looks what has become of all tasks that were announced, and holds it against what
// has to, and so every 200. It returns the longest time from a task's end to its event.
func (n *announced) tally(urls ...string) (longest time.Duration) {
	stored, at, missing := make(rig.Stored), make(map[string]time.Time), make(map[string]int)
	for _, url := range urls {
		there, err := rig.Audit(n.ctx, url, stream)
		n.must(err)
		times, err := rig.StoredAt(n.ctx, url, stream)
		n.must(err)
		kept, err := rig.Quarantine(n.ctx, url, quarantine)
		n.must(err)
		for id, sequences := range there {
			stored[id], at[id] = append(stored[id], sequences...), times[id]
		}
		for _, k := range kept {
			if k.Subject != "apixo.quarantine.missing" {
				n.fail("the quarantine holds at %d, under %s, what should not be there: %q", k.Sequence, k.Subject, k.Start)
			}
			missing[k.Task]++
		}
	}
	n.compare(stored)
	once, twice, never, givenUp := 0, 0, 0, 0
	example := ""
	for _, id := range n.ids {
		events := len(stored[id])
		switch {
		case events > 1 || missing[id] > 1:
			twice++
			n.fail("%s ended as %d events, and %d times as one that is missing", id, events, missing[id])
		case n.unknown[id] && missing[id] == 1 && events == 0:
			givenUp++
		case events == 1 && missing[id] == 0 && !n.unknown[id]:
			once++
			longest = max(longest, at[id].Sub(n.api.ends(id)))
		default:
			never++
			example = fmt.Sprintf("%s ended as %d events, and %d times as one that is missing", id, events, missing[id])
		}
	}
	if never > 0 {
		n.fail("%d announced tasks did not end as they had to: %s", never, example)
	}
	if overlaps := n.api.overlaps(); overlaps > 0 {
		n.fail("%d requests were made while another was under way for the same task", overlaps)
	}
	told := fmt.Sprintf("%s announced: %s ended as one event, %d twice, %d missing", Thousands(len(n.ids)), Thousands(once), twice, givenUp+never)
	if givenUp > 0 {
		told += fmt.Sprintf(" (%d of them unknown to the API, and told so)", givenUp)
	}
	n.note("%s; %s requests; %.2f s from a task's end to its event at the longest", told, Thousands(n.api.requests()), longest.Seconds())
	return longest
}

// reaches waits until a metric of a relay's is at least so much.
func (t *trial) reaches(r *rig.Relay, name string, want int) {
	for begin := time.Now(); ; {
		got, err := r.Metric(t.ctx, name)
		switch {
		case err == nil && int(got) >= want:
			return
		case time.Since(begin) > patient:
			t.fail("this should be the case that %s reaches %d, and it is %v: %v", name, want, got, err)
			return
		}
		t.pause(err)
	}
}

// passes lets time pass, unless the context ends before.
func passes(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
