package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"
)

const (
	// maxWarmUp is how long each receiver is warmed up at most: long enough for its
	// connections, its memory and its store to have come to their usual size.
	maxWarmUp = time.Second

	// maxRest is how long what was started is left alone, at most, before it counts
	// as idle: until what its start left behind is done.
	maxRest = 5 * time.Second

	// openConnections are those of the open loop. Each has its turn so seldom that an
	// answer is hardly ever still waited for, and others are idle meanwhile.
	openConnections = 16

	// maxRate is far more than APIXO sends, and less than what a machine takes.
	maxRate = 10_000

	// openRounds makes a round of the open loop so many times as long: at a low rate
	// there are few webhooks to make percentiles of.
	openRounds = 3
)

// options say what is measured, and how.
type options struct {
	connections    []int
	rate           int // of the open loop; 0 leaves it out
	rounds         int
	duration, idle time.Duration
	others         []*url.URL // receivers that are not started here
	pids           []int      // theirs, or none

	relay, against, peer string // programs as the flags say, or empty
	againstEnv           []string
	dir                  string
	progress             *progress
}

// load is one kind of load, for which all is started anew.
type load struct {
	name        string
	connections int
	rate        int // 0 for a closed loop
	duration    time.Duration
}

func (o options) loads() (loads []load) {
	for _, n := range o.connections {
		loads = append(loads, load{strconv.Itoa(n), n, 0, o.duration})
	}
	if o.rate > 0 {
		loads = append(loads, load{strconv.Itoa(o.rate) + "/s", openConnections, o.rate, openRounds * o.duration})
	}
	return loads
}

// turns are how many there will be, for the progress.
func (o options) turns() int {
	receivers := 5 + len(o.others)
	if o.hasAgainst() {
		receivers += 2
	}
	return len(o.loads()) * (o.rounds + 1) * receivers
}

// hasAgainst reports whether another relay takes its turns, too.
func (o options) hasAgainst() bool { return o.against != "" || len(o.againstEnv) > 0 }

// receiver is one that takes its turn.
type receiver struct {
	id     string // for programs, and name for people
	name   string
	target *target
	pid    int      // 0 where it is not known
	broker *process // what it needs besides itself, if anything
	rounds []round
}

// round is what one turn came to.
type round struct {
	stored         int
	failures       map[string]int
	perSecond      number
	p50, p99       number // milliseconds
	cpu, brokerCPU number // microseconds a webhook
	anon           number // MiB of private memory, right afterwards
}

// measurement is a run: what is recorded of it, and what that is made of.
type measurement struct {
	record
	options  options
	others   []receiver
	against  string // version of the other relay
	fsyncs   []time.Duration
	startups []number // milliseconds
	loadCPU  []number
}

// measure does all of it.
func measure(ctx context.Context, o options) (*record, error) {
	m := &measurement{options: o}
	m.Rounds, m.DurationSeconds, m.IdleSeconds = o.rounds, number(o.duration.Seconds()), number(o.idle.Seconds())
	for flag, program := range map[string]*string{"--peer": &m.options.peer, "--against": &m.options.against} {
		if *program != "" {
			var err error
			if *program, err = findProgram(flag, *program); err != nil {
				return nil, err
			}
		}
	}
	if err := m.findOthers(ctx); err != nil {
		return nil, err
	}
	return &m.record, withRelay(ctx, o, func(program, dir string) (err error) {
		m.options.relay = program
		if o.peer == "" {
			if m.options.peer, err = build(ctx, dir, "relay-bench/peer"); err != nil {
				return err
			}
		}
		if o.idle > 0 {
			if err := m.withFleet(ctx, dir, m.measureIdle); err != nil {
				return err
			}
		}
		for _, l := range o.loads() {
			if err := m.withFleet(ctx, dir, func(ctx context.Context, f *fleet) error { return m.measureLoad(ctx, f, l) }); err != nil {
				return err
			}
		}
		m.Facts, err = gather(program, dir, m.Facts.Relay, m.fsyncs, m.loadCPU)
		m.Facts.Against, m.Facts.Ready = m.against, median(m.startups)
		m.Targets = m.goals()
		return err
	})
}

// findOthers makes receivers of those of --url. Nothing needs to be started to
// find out that one of them is not there.
func (m *measurement) findOthers(ctx context.Context) (err error) {
	for i, u := range m.options.others {
		other := receiver{id: u.Scheme + "://" + u.Host, name: u.Host} // secrets may be elsewhere in it
		if other.target, err = newTarget(u, ""); err != nil {
			return err
		}
		if len(m.options.pids) > 0 {
			other.pid = m.options.pids[i]
		}
		trial, err := other.target.dial(ctx, 1)
		if err != nil {
			return fmt.Errorf("there is no receiver to measure: %w", err)
		}
		trial.close()
		m.others = append(m.others, other)
	}
	return nil
}

// withFleet starts all receivers anew, and does something with them.
func (m *measurement) withFleet(ctx context.Context, dir string, do func(context.Context, *fleet) error) (err error) {
	f := &fleet{}
	if f.dir, err = os.MkdirTemp(dir, "fleet-"); err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, f.stop()) }()
	m.options.progress.say("starting all")
	if err := f.startAll(ctx, m.options); err != nil {
		return err
	}
	for _, other := range m.others {
		f.receivers = append(f.receivers, &other)
	}
	m.startups = append(m.startups, milliseconds(f.find(idAlways).startup))
	m.Facts.Relay = f.find(idAlways).ready["version"]
	if m.options.hasAgainst() {
		m.against = f.find(idAgainstAlways).ready["version"]
	}
	return do(ctx, f)
}

// measureIdle leaves all alone at the same time, and a broker with two streams, as a relay
// has them, and without clients: nats-server wakes up ten times a second for as long as it
// has any stream.
func (m *measurement) measureIdle(ctx context.Context, f *fleet) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	alone, err := f.start(ctx, idBroker, self, []string{idBroker, "."}, nil)
	if err != nil {
		return err
	}
	if err := makeStreams(ctx, alone.ready["broker"], "EVENTS", "QUARANTINE"); err != nil {
		return err
	}
	idling := append(f.receivers, &receiver{id: idBroker, name: "nats-server, two streams", pid: alone.cmd.Process.Pid})
	m.options.progress.say("idling")
	if err := sleep(ctx, min(m.options.idle/4, maxRest)); err != nil {
		return err
	}
	begin := time.Now()
	meters := make([]meter, len(idling))
	for i, one := range idling {
		meters[i] = newMeter(one.pid)
	}
	if err := sleep(ctx, m.options.idle); err != nil {
		return err
	}
	for i, one := range idling {
		percent := 100 * meters[i].per(1) / number(time.Since(begin).Microseconds())
		m.Idle = append(m.Idle, idleRow{one.id, one.name, percent, memory(one.pid, "RssAnon"), memory(one.pid, "VmRSS")})
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// measureLoad gives all receivers their turns, round by round.
func (m *measurement) measureLoad(ctx context.Context, f *fleet, l load) error {
	order := slices.Clone(f.receivers)
	for n := range m.options.rounds + 1 {
		slices.Reverse(order) // so that nobody always comes after the same one
		for _, one := range order {
			what, duration := fmt.Sprintf("round %d of %d", n, m.options.rounds), l.duration
			if n == 0 {
				what, duration = "warming up", min(l.duration, maxWarmUp)
			}
			m.options.progress.say(fmt.Sprintf("%s, %s: %s", loadText(l.name), what, one.name))
			turn, err := m.turn(ctx, f, one, l, duration)
			if err != nil {
				return err
			}
			if n > 0 {
				one.rounds = append(one.rounds, turn)
			}
			settle(f.dir)
			m.options.progress.step()
		}
	}
	m.take(l.name, f.receivers)
	return nil
}

// turn loads one receiver for a time.
func (m *measurement) turn(ctx context.Context, f *fleet, one *receiver, l load, duration time.Duration) (round, error) {
	if one.id == idAlways {
		took, err := probeFsync(f.dir)
		if err != nil {
			return round{}, fmt.Errorf("fsync cannot be measured: %w", err)
		}
		m.fsyncs = append(m.fsyncs, took...)
	}
	crew, err := one.target.dial(ctx, l.connections)
	if err != nil {
		return round{}, fmt.Errorf("%s cannot be reached over %s: %w", one.name, count(l.connections, "connection"), err)
	}
	defer crew.close()
	brokerPID := 0
	if one.broker != nil {
		brokerPID = one.broker.cmd.Process.Pid
	}
	own, broker, load := newMeter(one.pid), newMeter(brokerPID), newMeter(os.Getpid())
	r := crew.run(ctx, duration, l.rate)
	stored := len(r.latencies)
	if l.rate == 0 { // in an open loop it is the waiting that costs, mostly
		m.loadCPU = append(m.loadCPU, load.per(stored))
	}
	for _, p := range f.processes {
		if err := p.ended(); err != nil && ctx.Err() == nil {
			return round{}, err
		}
	}
	return round{
		stored: stored, failures: r.failures, perSecond: number(float64(stored) / r.took.Seconds()),
		p50: milliseconds(percentile(r.latencies, 50)), p99: milliseconds(percentile(r.latencies, 99)),
		cpu: own.per(stored), brokerCPU: broker.per(stored), anon: memory(one.pid, "RssAnon"),
	}, context.Cause(ctx)
}

// meter reads the CPU time of a process from its making on.
type meter struct {
	pid   int
	begin time.Duration
	ok    bool
}

func newMeter(pid int) meter {
	begin, ok := cpuTime(pid)
	return meter{pid, begin, ok && pid != 0}
}

// per is how many microseconds there were for each of so many webhooks.
func (m meter) per(webhooks int) number {
	end, ok := cpuTime(m.pid)
	if !m.ok || !ok || webhooks == 0 {
		return notMeasured
	}
	return number(float64((end - m.begin).Nanoseconds()) / 1000 / float64(webhooks))
}
