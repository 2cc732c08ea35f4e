package archive

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

var (
	kills = flag.Int("kills", 10, "how often the archive is killed in each test of that")
	seed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of when it is")
)

const (
	// eachKill is how many tasks come for each time that the archive is killed.
	eachKill = 5
	// mostBytes is how much may come from the origin until then.
	mostBytes = 8 << 20
	// mostPause is how long after that, which is for what the archive does with it.
	mostPause = 30 * time.Millisecond
	// eachOutage is after how many kills the broker is killed as well.
	eachOutage = 4
)

// The archive is killed again and again, wherever it is, and sometimes the broker with it. In
// the end each file is there whole and was stored once, and each task is told of once.
func TestKilledAtAnyPoint(t *testing.T) {
	atEach(t, func(_ context.Context, t *testing.T, relay *rig.Relay, o *origin, at place) {
		t.Logf("-seed %d", *seed)
		ctx, cancel := context.WithTimeout(t.Context(), patience+time.Duration(*kills)*5*time.Second)
		defer cancel()
		random := rand.New(rand.NewPCG(*seed, 0))
		tasks := underLoad(o, startCanary(t), *kills*eachKill)
		at.Watch(t, plainIDs(tasks)...)
		for i := range *kills {
			deliver(ctx, t, relay, tasks[i*eachKill:(i+1)*eachKill]...)
			c := archive(t, settings(relay, o), at)
			o.awaitSent(t, random.Int64N(mostBytes), c)
			time.Sleep(time.Duration(random.Int64N(int64(mostPause))))
			if i%eachOutage == eachOutage-1 {
				relay.Kill()
				if err := relay.Restart(ctx); err != nil {
					t.Fatal(err)
				}
				o.awaitSent(t, random.Int64N(mostBytes/2), c)
			}
			c.Kill()
		}
		// 1 where one of the tasks is left that has a file which must not be had.
		if code := archive(t, settings(relay, o), at, "--until-now").Wait(ctx, t); code != 0 && code != 1 {
			t.Errorf("the exit code is %d", code)
		}
		clean(ctx, t, relay.Broker, at)
		check(ctx, t, relay.Broker, at, tasks)
		checkStoredOnce(ctx, t, at)
	})
}

// underLoad are tasks of all sizes, every fifth of which has a file that must not be had.
func underLoad(o *origin, c *canary, n int) []task {
	tasks := make([]task, n)
	for i := range tasks {
		var urls []string
		for j := range 1 + i%3 {
			urls = append(urls, fmt.Sprintf("%s/slow/small-%d.png", o.URL, 50_000+10*i+j))
		}
		if i%4 == 1 {
			urls = append(urls, fmt.Sprintf("%s/slow/large-%d.mp4", o.URL, 6_000_000+i))
		}
		tasks[i] = good(fmt.Sprintf("task_%d", i), urls...)
		if i%5 == 2 {
			forbidden := fmt.Sprintf("%s/redirect/%d.png?to=%s", o.URL, i, c.URL)
			tasks[i].urls = append(tasks[i].urls, forbidden)
			tasks[i].failures = []failure{{forbidden, "not-https"}}
		}
	}
	return tasks
}

// awaitSent waits until the origin has sent so many bytes more, or has nobody to send them to
// for a while, or the command has ended.
func (o *origin) awaitSent(t testing.TB, n int64, c *command) {
	t.Helper()
	start := o.sent.Load()
	idle := time.NewTimer(3 * time.Second)
	defer idle.Stop()
	for o.sent.Load() < start+n {
		select {
		case <-idle.C:
			return
		case <-c.ended:
			t.Fatalf("it has ended by itself: %v", c.cmd.ProcessState)
		case <-time.After(time.Millisecond):
		}
	}
}
