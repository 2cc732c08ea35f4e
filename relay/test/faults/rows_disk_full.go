package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// diskFullRows are disks without room.
var diskFullRows = []Row{
	{
		Name: "disk-full", Fault: "the disk is full, embedded broker", aside: true,
		Injected: "a file system of its own under 128 connections, filled in turns by the relay's own events and, at a random moment and at once, to its last byte by another program",
		run:      diskFull,
	},
	{
		Name: "disk-full-outbox", Fault: "the disk is full, outbox", aside: true,
		Injected: "the same under the outbox, while the external broker is away",
		run:      diskFullOutbox,
	},
}

const (
	// fullDiskSize is that of the disk, for each round: all that was refused has to
	// fit in the end.
	fullDiskSize = 16 << 20
	// fullDiskBudget is short, so that whatever waits for the disk in vain shows.
	fullDiskBudget = 5 * time.Second
)

func diskFull(t *trial) {
	disk, err := t.NewDisk(t.times(2, 20) * fullDiskSize)
	if err != nil {
		t.notRun("a file system of one's own needs a privileged user: %s", err)
	}
	r := t.embedded("RELAY_DATA_DIR="+disk, "RELAY_PUBLISH_TIMEOUT="+fullDiskBudget.String())
	t.fillAgainAndAgain(r, disk, "stream-full")
	t.audit(r.Broker)
}

func diskFullOutbox(t *trial) {
	disk, err := t.NewDisk(t.times(2, 20) * fullDiskSize)
	if err != nil {
		t.notRun("a file system of one's own needs a privileged user: %s", err)
	}
	s, err := t.NewServer(rig.JetStream) // which has not been started
	t.must(err)
	r := t.relay(s.URL(), "RELAY_OUTBOX=true", "RELAY_DATA_DIR="+disk, "RELAY_PUBLISH_TIMEOUT="+fullDiskBudget.String())
	t.fillAgainAndAgain(r, disk, "outbox-full")
	t.must(s.Start(t.ctx))
	t.must(r.AwaitForwarded(t.ctx))
	t.audit(s.URL())
}

// fillAgainAndAgain fills a disk and makes room on it, round by round.
func (t *trial) fillAgainAndAgain(r *rig.Relay, disk, full string) {
	f := &fullDisk{supervisor: supervisor{trial: t, relay: r, cause: "no space left"}, full: full, ballast: filepath.Join(disk, "ballast")}
	load := r.StartLoad(t.ctx, "task", busy)
	n := t.times(2, 20)
	for i := range n {
		t.round(i, n)
		f.accepts(load, 100)
		t.sleep(t.between(0, 200*time.Millisecond))
		if i%2 == 0 {
			f.byEvents(load)
		} else {
			f.byAnother(i, load)
		}
		freed := time.Now()
		t.must(os.Remove(f.ballast))
		f.accepts(load, 1)
		t.recovered(time.Since(freed))
	}
	f.accepts(load, 100)
	f.done(load.Stop())
	if f.refused == 0 {
		t.fail("nothing was refused: the disk was never full")
	}
	t.note("%d webhooks were refused; in %d of %d rounds the store met the end of the disk itself, and the relay ended and was started again", f.refused, f.ended, n)
	for _, o := range f.open {
		t.again(r.Sender, o)
	}
}

// fullDisk is a relay on a disk that is filled.
type fullDisk struct {
	supervisor
	full, ballast string
	refused       int
	open          []rig.Outcome
}

// byEvents leaves little room, which the relay's own events take.
func (f *fullDisk) byEvents(load *rig.Load) {
	ended := f.ended
	f.must(rig.FillDisk(f.ballast, diskReserved+(512<<10)))
	ctx, cancel := context.WithTimeout(f.ctx, patient)
	defer cancel()
	if err := load.AwaitRefused(ctx, f.full, 64); err != nil {
		f.fail("the disk is full, and that is not what senders are told: %s", err)
		return
	}
	f.must(f.relay.AwaitNotReady(ctx, "disk is full"))
	if err := f.relay.Healthy(f.ctx); err != nil || f.ended > ended {
		f.fail("the relay's own events brought its store to the end of the disk: %v", err)
	}
}

// diskReserved is what the relay leaves free, as it says in its README.
const diskReserved = 4 << 20

// byAnother takes all that is left, while large events are being written: either
// the relay sees that and refuses, or a write fails.
func (f *fullDisk) byAnother(round int, load *rig.Load) {
	f.must(rig.FillDisk(f.ballast, diskReserved+(8<<20)))
	large := f.relay.StartLoad(f.ctx, fmt.Sprintf("large_%d", round), rig.Pace{Workers: 32, Padding: 100_000})
	f.accepts(large, 1)
	f.sleep(f.between(0, 10*time.Millisecond))
	f.must(rig.FillDisk(f.ballast+"-2", 0))
	ctx, cancel := context.WithTimeout(f.ctx, patient)
	refuses := make(chan error, 1)
	go func() { refuses <- load.AwaitRefused(ctx, f.full, 64) }()
	select {
	case err := <-refuses:
		if err != nil {
			f.fail("the disk is full to its last byte, and the relay neither says so nor ends: %s", err)
		}
	case <-f.ends(ctx):
		cancel()
		<-refuses
	}
	cancel()
	f.sleep(f.between(0, 300*time.Millisecond))
	f.done(large.Stop())
	f.must(os.Remove(f.ballast + "-2"))
}

// done counts what became of a load. A relay whose store met the end of the disk
// answers otherwise than one that is full, until it has ended.
func (f *fullDisk) done(o rig.Outcome) {
	f.count(o)
	f.within(o, fullDiskBudget)
	expected := []string{f.full}
	if f.refused += o.Problems[f.full]; f.ended > 0 || len(o.Open) > o.Problems[f.full] && f.endsNow() {
		expected = append(expected, append(killed, "broker-unavailable", "draining")...)
	}
	f.only(o, expected...)
	f.open = append(f.open, o)
}

// endsNow tells whether the relay ends, as one does that has found its store broken.
func (f *fullDisk) endsNow() bool {
	ctx, cancel := context.WithTimeout(f.ctx, endsWithin)
	defer cancel()
	_, err := f.relay.Wait(ctx)
	return err == nil
}
