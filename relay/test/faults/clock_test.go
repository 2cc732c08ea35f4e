//go:build system && unix

package faults

import (
	"cmp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// steps are how wrong a clock is, one after the other: stepped forward and back,
// to either side.
var steps = []time.Duration{time.Hour, 0, -time.Hour, 0}

// newClockBench is a bench whose programs follow a clock if they are given it.
func newClockBench(t *testing.T) (*bench, *rig.Clock) {
	t.Helper()
	p, err := clockPrograms()
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	b := newBenchOf(t, p)
	clock, err := b.NewClock()
	b.must(err)
	return b, clock
}

// follows checks that a relay under load takes the clock's time for true.
func (b *bench) follows(r *rig.Relay, wrong time.Duration) {
	b.Helper()
	r.SkipLog()
	line, err := r.AwaitMessage(b.ctx, "webhook")
	b.must(err)
	text, _ := line["time"].(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	b.must(err)
	if off := time.Until(at) - wrong; off.Abs() > 30*time.Minute {
		b.Fatalf("the relay's clock is %s wrong, and should be %s", time.Until(at), wrong)
	}
}

// The relay's clock is stepped, and senders do not notice.
func TestClockOfTheRelayStepped(t *testing.T) {
	b, clock := newClockBench(t)
	const budget = 10 * time.Second
	s := b.server()
	r := b.relay(s.URL(), clock.Environ(), "RELAY_PUBLISH_TIMEOUT="+budget.String())
	load := r.StartLoad(b.ctx, "task", rig.Pace{})
	b.must(load.AwaitAccepted(b.ctx, 100))
	for _, wrong := range steps {
		b.must(clock.Set(wrong))
		b.must(load.AwaitAccepted(b.ctx, 300))
		b.follows(r, wrong)
	}
	o := load.Stop()
	b.onlyProblems(o)
	if o.Slowest > budget+spare {
		t.Errorf("the slowest answer took %s", o.Slowest)
	}
	b.settle(r.Sender, s.URL(), o)

	// How long a lost broker is waited for does not look at the clock either.
	s.Kill()
	_, err := r.AwaitMessage(b.ctx, "lost the connection to the broker")
	b.must(err)
	b.must(clock.Set(-time.Hour))
	b.refused(r.Sender, "task_away", "broker-unavailable", budget)
	b.refused(r.Sender, "task_away", "broker-unavailable", time.Second)
	b.must(s.Start(b.ctx))
	b.ready(r)
	b.accepted(r.Sender, "task_away")
}

// A clock that is before the program itself is told of, by the relay and by check.
func TestClockBeforeTheProgramWasBuilt(t *testing.T) {
	b, clock := newClockBench(t)
	s := b.server()
	const said = "before this program was built"
	for wrong, want := range map[time.Duration]bool{-20 * 365 * 24 * time.Hour: true, 0: false} {
		b.must(clock.Set(wrong))
		r := b.relay(s.URL(), clock.Environ())
		if got := strings.Contains(r.Log(), "is before the time at which this program was built"); got != want {
			t.Errorf("%s wrong: the log tells of it: %v, want %v", wrong, got, want)
		}
		p, err := r.StartCommand([]string{"check"}, "RELAY_ADMIN_ADDR=off")
		b.must(err)
		code, err := p.Wait(b.ctx)
		b.must(err)
		if got := code == 1 && strings.Contains(p.Log(), said); got != want {
			t.Errorf("%s wrong: check ends with %d and says\n%s", wrong, code, p.Log())
		}
	}
}

// A budget that is used up is used up no sooner and no later.
func TestClockSteppedWhileTheBrokerStalls(t *testing.T) {
	b, clock := newClockBench(t)
	const budget = 3 * time.Second
	s := b.server()
	r := b.relay(s.URL(), clock.Environ(), "RELAY_PUBLISH_TIMEOUT="+budget.String())
	b.accepted(r.Sender, "task_before")
	b.must(s.Freeze())
	var answered atomic.Bool
	stepping := make(chan struct{})
	go func() {
		defer close(stepping)
		// Wider and wider, so that it goes to either side of where the webhook came.
		for wrong := time.Hour; !answered.Load(); wrong *= -1 {
			wrong += time.Duration(cmp.Compare(wrong, 0)) * time.Hour
			if err := clock.Set(wrong); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(10 * time.Millisecond) // the pace of the steps
		}
	}()
	a, err := r.Post(b.ctx, "task_late", "success")
	answered.Store(true)
	<-stepping
	b.must(err)
	b.isRefused(a, "broker-unavailable", budget)
	if a.Took < budget/2 {
		t.Errorf("after %s the budget of %s was taken for over", a.Took, budget)
	}
	b.must(s.Thaw())
	b.accepted(r.Sender, "task_late")
	if stored := b.stored(s.URL()); len(stored) != 2 || len(stored.Twice()) > 0 {
		t.Errorf("stored %v", stored)
	}
}

// The relay's clock is stepped while webhooks wait in the outbox, and while they
// are being forwarded.
func TestClockSteppedWithOutbox(t *testing.T) {
	b, clock := newClockBench(t)
	s := b.away()
	r := b.relay(s.URL(), withOutbox, clock.Environ(), "RELAY_DEDUPE_WINDOW=2h")
	load := r.StartLoad(b.ctx, "task", rig.Pace{})
	for _, wrong := range steps {
		b.must(clock.Set(wrong))
		b.must(load.AwaitAccepted(b.ctx, 100))
		b.follows(r, wrong)
		r.Kill()
		b.must(r.Restart(b.ctx))
	}
	arrived := b.arrivedLater(s)
	b.must(clock.Set(time.Hour))
	<-arrived
	b.must(clock.Set(-time.Hour))
	b.must(load.AwaitAccepted(b.ctx, 100))
	o := load.Stop()
	b.onlyProblems(o, "reset", "refused", "closed")
	b.forwarded(r)
	b.settle(r.Sender, s.URL(), o)
}

// arrivedLater starts a server, and tells when something has come to it.
func (b *bench) arrivedLater(s *rig.Server) <-chan struct{} {
	b.Helper()
	b.must(s.Start(b.ctx))
	return b.arrived(s, 1)
}

// brokers are those whose clock can be stepped, with a relay: again ends and
// starts the broker as suddenly as can be.
var brokers = map[string]func(b *bench, clock *rig.Clock, environ ...string) (r *rig.Relay, url func() string, again func()){
	"external": func(b *bench, clock *rig.Clock, environ ...string) (*rig.Relay, func() string, func()) {
		s := b.away()
		s.Environ = []string{clock.Environ()}
		b.must(s.Start(b.ctx))
		r := b.relay(s.URL(), environ...)
		return r, s.URL, func() {
			s.Kill()
			b.must(s.Start(b.ctx))
			b.ready(r)
		}
	},
	"embedded": func(b *bench, clock *rig.Clock, environ ...string) (*rig.Relay, func() string, func()) {
		r, err := b.StartRelay(b.ctx, append(environ, clock.Environ())...)
		b.must(err)
		return r, func() string { return r.Broker }, func() {
			r.Kill()
			b.must(r.Restart(b.ctx))
		}
	},
}

// The broker's clock is stepped by less than its duplicate window: it knows all
// ids as before, also after a restart.
func TestClockOfTheBrokerStepped(t *testing.T) {
	for name, open := range brokers {
		t.Run(name, func(t *testing.T) {
			b, clock := newClockBench(t)
			r, url, again := open(b, clock, "RELAY_DEDUPE_WINDOW=2h")
			var ids []string
			repeat := func(when string) {
				for _, id := range ids {
					if a := b.accepted(r.Sender, id); !a.Duplicate {
						t.Errorf("the repeat of %s %s got %+v", id, when, a)
					}
				}
			}
			for _, wrong := range append([]time.Duration{0}, steps...) {
				b.must(clock.Set(wrong))
				repeat("after a step to " + wrong.String())
				for range 10 {
					ids = append(ids, taskID(len(ids)))
					if a := b.accepted(r.Sender, ids[len(ids)-1]); a.Duplicate {
						t.Errorf("a new webhook got %+v", a)
					}
				}
				again()
				repeat("after a restart at " + wrong.String())
			}
			stored := b.stored(url())
			if len(stored.Missing(ids)) > 0 || len(stored) != len(ids) || len(stored.Twice()) > 0 {
				t.Errorf("stored %v", stored)
			}
		})
	}
}

// By more than the window: ids are forgotten, as the README says, and nothing else.
func TestClockOfTheBrokerSteppedBeyondTheWindow(t *testing.T) {
	for name, open := range brokers {
		t.Run(name, func(t *testing.T) {
			b, clock := newClockBench(t)
			r, url, again := open(b, clock, "RELAY_DEDUPE_WINDOW=30m")
			b.accepted(r.Sender, "task_1")
			b.must(clock.Set(time.Hour))
			again() // a running server looks at its clock for that twice an hour
			if a := b.accepted(r.Sender, "task_1"); a.Duplicate || a.Sequence != 2 {
				t.Errorf("the repeat beyond the window got %+v", a)
			}
			b.must(clock.Set(0))
			if a := b.accepted(r.Sender, "task_1"); !a.Duplicate || a.Sequence != 2 {
				t.Errorf("the repeat of that got %+v", a)
			}
			if stored := b.stored(url()); len(stored) != 1 || len(stored["task_1"]) != 2 {
				t.Errorf("stored %v", stored)
			}
		})
	}
}
