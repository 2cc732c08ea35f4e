package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// maxWarmUp is how long each receiver is warmed up at most: long enough for its
// connections, its memory and its store to have come to their usual size. Before
// that, all are idle for as long, and their memory is looked at then.
const maxWarmUp = time.Second

// options say what is measured, and how.
type options struct {
	connections []int
	rounds      int
	duration    time.Duration
	others      []*url.URL // receivers that are not started here
	pids        []int      // theirs, or none
	relay, dir  string     // as the flags say, or empty
	progress    *progress
}

// receivers is how many take their turn in a round.
func (o options) receivers() int { return 4 + len(o.others) }

// warmUp is how long each receiver is warmed up, a round being shorter or not.
func (o options) warmUp() time.Duration { return min(o.duration, maxWarmUp) }

// receiver is one that takes its turn.
type receiver struct {
	id     string // for programs, and name for people
	name   string
	target *target
	pid    int      // 0 where it is not known
	broker *process // what it needs besides itself, if anything
	idle   number   // memory in MiB before any load
	rounds []round
	peak   number // memory in MiB
}

// round is what one turn came to.
type round struct {
	stored, failed int
	failures       map[string]int
	perSecond      number
	p50, p99       number // milliseconds
	cpu            number // microseconds a webhook, and so the next two
	brokerCPU      number
	loadCPU        number
	fsync          number // milliseconds, right before
}

// measure does all of it.
func measure(ctx context.Context, o options) (*report, error) {
	others, err := otherReceivers(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &report{options: o}
	return r, withRelay(ctx, o, func(program, dir string) error {
		for _, n := range o.connections {
			if err := r.measureAt(ctx, n, program, dir, others); err != nil {
				return err
			}
		}
		return r.describe(program, dir)
	})
}

// withRelay does something with the relay and a temporary folder, which is
// removed in the end.
func withRelay(ctx context.Context, o options, do func(program, dir string) error) (err error) {
	program := ""
	if o.relay != "" {
		if program, err = exec.LookPath(o.relay); err == nil {
			program, err = filepath.Abs(program) // it runs in another folder
		}
		if err != nil {
			return usageError{fmt.Errorf("--relay: %w", err)}
		}
	}
	dir, err := workFolder(o.dir)
	if err != nil {
		return fmt.Errorf("no temporary folder: %w; name a folder that this user may write with --dir", err)
	}
	defer func() {
		if removeErr := os.RemoveAll(dir); err == nil && removeErr != nil {
			err = fmt.Errorf("the temporary folder is left: %w", removeErr)
		}
	}()
	if program == "" {
		o.progress.say("building the relay")
		if program, err = buildRelay(ctx, dir); err != nil {
			return err
		}
	}
	return do(program, dir)
}

// otherReceivers are those of --url. Nothing needs to be started to find out that
// one of them is not there.
func otherReceivers(ctx context.Context, o options) (others []receiver, err error) {
	for i, u := range o.others {
		other := receiver{id: u.Scheme + "://" + u.Host, name: u.Host} // secrets may be elsewhere in it
		if other.target, err = newTarget(u, ""); err != nil {
			return nil, err
		}
		if len(o.pids) > 0 {
			other.pid = o.pids[i]
		}
		trial, err := other.target.dial(ctx, 1)
		if err != nil {
			return nil, fmt.Errorf("there is no receiver to measure: %w", err)
		}
		trial.close()
		others = append(others, other)
	}
	return others, nil
}

// measureAt measures everything at one number of connections.
func (r *report) measureAt(ctx context.Context, connections int, program, dir string, others []receiver) (err error) {
	f := &fleet{}
	if f.dir, err = os.MkdirTemp(dir, "fleet-"); err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, f.stop()) }()
	o := r.options
	o.progress.say(fmt.Sprintf("starting all for %s", count(connections, "connection")))
	if err := f.startAll(ctx, program); err != nil {
		return err
	}
	for _, other := range others {
		f.receivers = append(f.receivers, &other)
	}
	select {
	case <-time.After(o.warmUp()):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, one := range f.receivers {
		one.idle = memory(one.pid, "VmRSS")
	}
	for n := range o.rounds + 1 {
		for _, one := range f.receivers {
			what, duration := fmt.Sprintf("round %d of %d", n, o.rounds), o.duration
			if n == 0 {
				what, duration = "warming up", o.warmUp()
			}
			o.progress.say(fmt.Sprintf("%s, %s: %s", count(connections, "connection"), what, one.name))
			turn, err := r.turn(ctx, f, one, connections, duration)
			if err != nil {
				return err
			}
			if n > 0 {
				one.rounds = append(one.rounds, turn)
			}
			settle(f.dir)
			o.progress.step()
		}
	}
	for _, one := range f.receivers {
		one.peak = memory(one.pid, "VmHWM")
	}
	for _, p := range f.processes {
		if p.name == idAlways {
			r.startups = append(r.startups, milliseconds(p.startup))
		}
	}
	r.version = f.processes[len(f.processes)-1].ready["version"]
	r.results = append(r.results, result{connections, f.receivers})
	return nil
}

// turn loads one receiver for a time.
func (r *report) turn(ctx context.Context, f *fleet, one *receiver, connections int, duration time.Duration) (round, error) {
	turn := round{fsync: notMeasured}
	if one.id == idAlways {
		took, err := probeFsync(f.dir)
		if err != nil {
			return turn, fmt.Errorf("fsync cannot be measured: %w", err)
		}
		r.fsyncs = append(r.fsyncs, took...)
		turn.fsync = milliseconds(percentile(took, 50))
	}
	crew, err := one.target.dial(ctx, connections)
	if err != nil {
		return turn, fmt.Errorf("%s cannot be reached over %s: %w", one.name, count(connections, "connection"), err)
	}
	defer crew.close()
	brokerPID := 0
	if one.broker != nil {
		brokerPID = one.broker.cmd.Process.Pid
	}
	meters := []meter{newMeter(one.pid), newMeter(brokerPID), newMeter(os.Getpid())}
	load := crew.run(ctx, duration)
	turn.stored = len(load.latencies)
	turn.cpu, turn.brokerCPU, turn.loadCPU = meters[0].per(turn.stored), meters[1].per(turn.stored), meters[2].per(turn.stored)
	turn.perSecond = number(float64(turn.stored) / load.took.Seconds())
	turn.p50, turn.p99 = milliseconds(percentile(load.latencies, 50)), milliseconds(percentile(load.latencies, 99))
	turn.failures = load.failures
	for _, n := range load.failures {
		turn.failed += n
	}
	for _, p := range f.processes {
		if err := p.ended(); err != nil && ctx.Err() == nil {
			return turn, err
		}
	}
	return turn, context.Cause(ctx)
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
	return number(float64((end - m.begin).Microseconds()) / float64(webhooks))
}
