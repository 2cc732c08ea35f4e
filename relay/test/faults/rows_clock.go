package faults

import (
	"fmt"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// hours are how wrong a clock is, one after the other.
var hours = []time.Duration{time.Hour, 0, -time.Hour, 0}

// clockBudget is the time for an answer while clocks are stepped.
const clockBudget = 3 * time.Second

// clocked is a relay with its broker, some of which follow a clock.
type clocked struct {
	*trial
	name          string
	relay, broker bool // which of the two do
	embedded      bool // they are one

	clock *rig.Clock
	r     *rig.Relay
	s     *rig.Server // nil if embedded
}

func clockStepped(t *trial) {
	n := t.times(1, 4)
	for i := range n {
		t.round(i, n)
		for j, c := range []clocked{
			{name: "the relay's clock", relay: true},
			{name: "the broker's clock", broker: true},
			{name: "both clocks", relay: true, broker: true},
			{name: "the clock of an embedded broker", relay: true, broker: true, embedded: true},
		} {
			c.trial = t
			prefix := fmt.Sprintf("task_%d_%d", i, j)
			c.open("1h")
			c.step(prefix, false)
			told := c.repeat(prefix + "_again")
			c.close()
			if i == 0 {
				t.note("%s: %s", c.name, told)
			}
			if c.broker {
				c.open("2h")
				c.step(prefix+"_killed", true)
				c.close()
			}
		}
	}
}

// open starts the two.
func (c *clocked) open(window string) {
	var err error
	c.clock, err = c.NewClock()
	c.must(err)
	environ := []string{"RELAY_PUBLISH_TIMEOUT=" + clockBudget.String(), "RELAY_DEDUPE_WINDOW=" + window}
	if c.relay {
		environ = append(environ, c.clock.Environ())
	}
	if c.embedded {
		c.r = c.trial.embedded(environ...)
		return
	}
	c.s, err = c.NewServer(rig.JetStream)
	c.must(err)
	if c.broker {
		c.s.Environ = []string{c.clock.Environ()}
	}
	c.must(c.s.Start(c.ctx))
	c.r = c.trial.relay(c.s.URL(), environ...)
}

// url is where the broker is now.
func (c *clocked) url() string {
	if c.embedded {
		return c.r.Broker
	}
	return c.s.URL()
}

// store is the process that stores.
func (c *clocked) store() *rig.Process {
	if c.embedded {
		return c.r.Process
	}
	return c.s.Process
}

// again kills what stores, and starts it again.
func (c *clocked) again() {
	c.store().Kill()
	if c.embedded {
		c.must(c.r.Restart(c.ctx))
	} else {
		c.must(c.s.Start(c.ctx))
	}
	c.must(c.r.AwaitReady(c.ctx))
}

func (c *clocked) close() {
	c.r.Kill()
	if !c.embedded {
		c.s.Kill()
	}
}

// step steps the clock under load, while webhooks wait to be stored.
func (c *clocked) step(prefix string, kill bool) {
	load := c.r.StartLoad(c.ctx, prefix, rig.Pace{})
	for _, wrong := range hours {
		c.must(load.AwaitAccepted(c.ctx, 100))
		c.must(c.store().Freeze())
		c.must(c.clock.Set(wrong))
		c.sleep(c.between(0, 200*time.Millisecond))
		c.must(c.store().Thaw())
		if kill {
			c.again()
		}
		c.must(load.AwaitAccepted(c.ctx, 100))
		c.follow(wrong)
	}
	expected := []string{}
	switch {
	case kill:
		expected = append([]string{"broker-unavailable"}, killed...)
	case c.relay && !c.embedded:
		c.useUp(load)
		expected = []string{"broker-unavailable"}
	}
	o := load.Stop()
	c.only(o, expected...)
	if !kill && len(expected) > 0 && len(o.Problems) == 0 {
		c.fail("%s: no webhook used its budget up", c.name)
	}
	c.within(o, clockBudget)
	c.rounds = nil // of another broker
	c.count(o)
	c.trial.again(c.r.Sender, o)
	c.audit(c.url())
}

// useUp steps the clock back while a budget is being used up, which has to happen
// in time all the same. A step forward that ended it early has been seen by then.
func (c *clocked) useUp(load *rig.Load) {
	c.must(c.s.Freeze())
	c.sleep(clockBudget / 3)
	c.must(c.clock.Set(-time.Hour))
	c.sleep(clockBudget)
	c.must(c.s.Thaw())
	c.must(c.clock.Set(0))
	c.recovers(load, time.Now())
}

// onTheirWay is more lines of a log than can be on their way to who reads it.
const onTheirWay = 2000

// follow checks that those who should take the clock's time for true.
func (c *clocked) follow(wrong time.Duration) {
	c.r.SkipLog()
	var err error
	for range onTheirWay { // some of them since before the step
		line, missing := c.r.AwaitMessage(c.ctx, "webhook")
		c.must(missing)
		text, _ := line["time"].(string)
		at, unread := time.Parse(time.RFC3339Nano, text)
		c.must(unread)
		if err = off("the relay", at, wrong, c.relay); err == nil {
			break
		}
	}
	c.must(err)
	s, err := c.js(c.url()).Stream(c.ctx, stream)
	c.must(err)
	c.must(off("the broker", s.CachedInfo().State.LastTime, wrong, c.broker))
}

// off is an error if a clock, from which that time is, is not as wrong as it should be.
func off(who string, at time.Time, wrong time.Duration, follows bool) error {
	if !follows {
		wrong = 0
	}
	if off := time.Until(at); (off - wrong).Abs() > 30*time.Minute {
		return fmt.Errorf("the clock of %s is %s wrong, and should be %s", who, off.Round(time.Second), wrong)
	}
	return nil
}

// repeated is how many webhooks are sent again after a step.
const repeated = 50

// repeat sends webhooks again after a step forward by as much as the duplicate
// window, and tells which were forgotten: that is the broker's to know.
func (c *clocked) repeat(prefix string) string {
	all := func() (fresh int) {
		for i := range repeated {
			a, err := c.r.Post(c.ctx, fmt.Sprintf("%s_%d", prefix, i), "success")
			c.must(err)
			if a.Status != 200 {
				c.fail("%s: a repeat was answered with %d %s", c.name, a.Status, a.Detail)
			}
			c.answered(1, 1, a.Took)
			if !a.Duplicate {
				fresh++
			}
		}
		return fresh
	}
	if n := all(); n != repeated {
		c.fail("%s: of %d new webhooks %d were stored", c.name, repeated, n)
	}
	c.must(c.clock.Set(time.Hour))
	running := all()
	c.again()
	restarted := all()
	if !c.broker && running+restarted > 0 {
		c.fail("%s: %d repeats were stored, though the broker's clock is right", c.name, running+restarted)
	}
	stored, err := rig.Audit(c.ctx, c.url(), stream)
	c.must(err)
	copies := 0
	for i := range repeated {
		copies += len(stored[fmt.Sprintf("%s_%d", prefix, i)])
	}
	if copies != repeated+running+restarted {
		c.fail("%s: %d copies are stored, and %d were answered as new", c.name, copies, repeated+running+restarted)
	}
	return fmt.Sprintf("of %d repeats an hour later by the clock (window 1 h) %d were stored again, after a restart of the broker %d", repeated, running, restarted)
}
