package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/disk"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// fail makes operations of a disk fail: one of its methods.
type fail = func(d *disk.Disk, e syscall.Errno, times int)

// budget is RELAY_PUBLISH_TIMEOUT unless it is said otherwise.
const budget = 20 * time.Second

// endsWithin is the time for a relay to find out that its store is broken, to tell
// probes for some seconds, and to end.
const endsWithin = 30 * time.Second

// ioBudget is what a webhook may take where its store is broken.
const ioBudget = 4 * time.Second

func ioError(t *trial, fails fail) {
	d, folder := t.forgetfulDisk()
	r := t.embedded("RELAY_DATA_DIR="+folder, "RELAY_PUBLISH_TIMEOUT="+ioBudget.String())
	n := t.times(2, 25)
	for i := range n {
		t.round(i, n)
		load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), rig.Pace{})
		t.must(load.AwaitAccepted(t.ctx, 100))
		t.sleep(t.between(0, 200*time.Millisecond))
		t.endsByItself(r, d, fails)
		o := load.Stop()
		t.only(o, append(killed, "broker-unavailable", "broker-error", "draining")...)
		t.within(o, ioBudget)
		t.count(o)
		if i%2 == 1 {
			t.losePower(d, i/2)
		}
		t.comesBack(r, o)
	}
	t.audit(r.Broker)
}

// endsByItself makes the disk fail until the relay has ended, as it has to where
// only a restart helps, and mends the disk.
func (t *trial) endsByItself(r *rig.Relay, d *disk.Mounted, fails fail) {
	before := d.Failed()
	fails(d.Disk, syscall.EIO, -1)
	ctx, cancel := context.WithTimeout(t.ctx, endsWithin)
	defer cancel()
	code, err := r.Wait(ctx)
	t.must(err)
	if code != 1 {
		t.fail("the relay ended with %d, and not with 1", code)
	}
	fails(d.Disk, 0, 0)
	if d.Failed() == before {
		t.fail("nothing met the error")
	}
}

// comesBack starts the relay again and sends what got no 200.
func (t *trial) comesBack(r *rig.Relay, o rig.Outcome) {
	start := time.Now()
	t.must(r.Restart(t.ctx))
	t.must(r.AwaitReady(t.ctx))
	t.returns(r.Sender, o, start)
}

func ioErrorPassing(t *trial) {
	d, folder := t.forgetfulDisk()
	r := t.embedded("RELAY_DATA_DIR="+folder, "RELAY_PUBLISH_TIMEOUT="+ioBudget.String())
	n := t.times(6, 40)
	for i := range n {
		t.round(i, n)
		pace := busy
		if i%3 == 2 {
			pace = large
		}
		load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), pace)
		t.must(load.AwaitAccepted(t.ctx, 100))
		t.sleep(t.between(0, 200*time.Millisecond))
		before := d.Failed()
		if i%2 == 0 {
			d.FailWrites(syscall.EIO, 1)
		} else {
			d.FailSyncs(syscall.EIO, 1)
		}
		t.sleep(t.between(time.Second/2, time.Second))
		if d.Failed() == before {
			t.fail("nothing met the error")
		}
		r.Kill()
		o := load.Stop()
		t.only(o, append(killed, "broker-unavailable", "broker-error", "draining")...)
		t.within(o, ioBudget)
		t.count(o)
		t.losePower(d, i)
		t.comesBack(r, o)
	}
	t.audit(r.Broker)
}

func ioErrorWithOutbox(t *trial) {
	s := t.server(rig.JetStream)
	d, folder := t.forgetfulDisk()
	r := t.relay(s.URL(), "RELAY_OUTBOX=true", "RELAY_DATA_DIR="+folder, "RELAY_PUBLISH_TIMEOUT="+ioBudget.String())
	n := t.times(2, 20)
	for i := range n {
		t.round(i, n)
		s.Kill()
		load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), rig.Pace{})
		t.must(load.AwaitAccepted(t.ctx, 100))
		t.sleep(t.between(0, 200*time.Millisecond))
		if i%2 == 0 {
			t.endsByItself(r, d, (*disk.Disk).FailWrites)
		} else {
			t.endsByItself(r, d, (*disk.Disk).FailSyncs)
		}
		o := load.Stop()
		t.only(o, append(killed, "broker-unavailable", "broker-error", "draining")...)
		t.within(o, ioBudget)
		t.count(o)
		t.losePower(d, i)
		t.must(s.Start(t.ctx))
		t.comesBack(r, o)
		t.must(r.AwaitForwarded(t.ctx))
	}
	t.audit(s.URL())
}

// slowFsync is how long an fsync takes at the most on the slow disk.
const slowFsync = 100 * time.Millisecond

func slowDisk(t *trial) {
	d, folder := t.forgetfulDisk()
	r := t.embedded("RELAY_DATA_DIR=" + folder)
	n := t.times(2, 20)
	for i := range n {
		t.round(i, n)
		random := rand.New(rand.NewPCG(t.rand.Uint64(), 0)) // used by the disk only
		d.SlowSyncs(func() time.Duration { return time.Duration(random.Int64N(int64(slowFsync))) })
		load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), busy)
		t.must(load.AwaitAccepted(t.ctx, 200))
		d.SlowSyncs(nil)
		r.Kill()
		died := time.Now()
		o := load.Stop()
		t.only(o, killed...)
		t.within(o, budget)
		if o.Slowest < slowFsync/2 {
			t.fail("no answer took longer than %s: the disk was not slow", o.Slowest)
		}
		t.count(o)
		t.losePower(d, i)
		t.must(r.Restart(t.ctx))
		t.returns(r.Sender, o, died)
	}
	t.audit(r.Broker)
}
