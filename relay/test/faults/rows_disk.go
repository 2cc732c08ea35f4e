package faults

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/disk"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

const forgetting = "a FUSE file system that drops data, new files, renames and removals that were not fsynced"

// diskRows are faults of the disk.
var diskRows = []Row{
	{
		Name: "power-loss", Fault: "the power goes, embedded broker",
		Injected: "SIGKILL under 128 connections, on " + forgetting + ": all of it, and in every second round a random part (any sectors, the first so many changes of names); a third of the rounds with webhooks of 32 KiB, which begin new files",
		run:      func(t *trial) { powerLoss(t, "always") },
	},
	{
		Name: "power-loss-control", Fault: "the same with RELAY_EMBEDDED_SYNC=interval, which must lose something",
		Injected: "as before; what is not fsynced yet is what this setting gives up",
		run:      func(t *trial) { t.result.Control = true; powerLoss(t, "interval") },
	},
	{
		Name: "power-loss-outbox", Fault: "the power goes, outbox", aside: true,
		Injected: "as before, with the outbox on that file system, while the broker is away and while it is being forwarded",
		run:      powerLossWithOutbox,
	},
	{
		Name: "write-error", Fault: "the disk refuses to write, embedded broker", aside: true,
		Injected: "EIO for every write, new file and rename on a FUSE file system under 32 connections, until the relay has ended by itself; in every second round the power goes then, too",
		run:      func(t *trial) { ioError(t, (*disk.Disk).FailWrites) },
	},
	{
		Name: "fsync-error", Fault: "the disk refuses to fsync, embedded broker", aside: true,
		Injected: "the same with EIO for every fsync",
		run:      func(t *trial) { ioError(t, (*disk.Disk).FailSyncs) },
	},
	{
		Name: "io-error-passing", Fault: "one write or fsync fails, embedded broker",
		Injected: "EIO once, for a write or an fsync of any file or folder under 128 connections; SIGKILL up to a second later, and the power goes",
		run:      ioErrorPassing,
	},
	{
		Name: "io-error-outbox", Fault: "the disk of the outbox refuses to write or to fsync, the broker being away", aside: true,
		Injected: "EIO for every write, or for every fsync, until the relay has ended by itself; the power goes then",
		run:      ioErrorWithOutbox,
	},
	{
		Name: "slow-disk", Fault: "the disk is slow, and then the power goes", aside: true,
		Injected: "each fsync takes up to 0.1 s under 128 connections, on " + forgetting,
		run:      slowDisk,
	},
}

// diskBytes is more than any row writes.
const diskBytes = 1 << 30

// forgetfulDisk makes a disk, and returns it with a folder on it that is not there
// yet.
func (t *trial) forgetfulDisk() (*disk.Mounted, string) {
	d, folder, err := t.NewForgetfulDisk(diskBytes)
	t.must(err)
	return d, filepath.Join(folder, "var", "data")
}

// losePower takes the power from a disk that nobody uses any more.
func (t *trial) losePower(d *disk.Mounted, round int) {
	var random *rand.Rand
	if round%2 == 1 {
		random = t.rand
	}
	l, err := d.PowerLoss(random)
	t.must(err)
	t.undone.Names += l.Names
	t.undone.Bytes += l.Bytes
}

// large makes the broker begin a new file of its store with every few hundred webhooks.
var large = rig.Pace{Workers: 64, Padding: 32 << 10}

func powerLoss(t *trial, sync string) {
	const perStore = 6 // rounds, so that the beginning of a store is tried often, too
	n := t.times(12, 180)
	for i := 0; i < n; {
		d, folder := t.forgetfulDisk()
		r := t.embedded("RELAY_DATA_DIR="+folder, "RELAY_EMBEDDED_SYNC="+sync)
		for range perStore {
			t.round(i, n)
			pace := busy
			if i%3 == 2 {
				pace = large
			}
			load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), pace)
			t.must(load.AwaitAccepted(t.ctx, 1))
			t.sleep(t.between(0, 400*time.Millisecond))
			r.Kill()
			died := time.Now()
			o := load.Stop()
			t.only(o, killed...)
			t.count(o)
			t.losePower(d, i)
			t.must(r.Restart(t.ctx))
			t.returns(r.Sender, o, died)
			i++
		}
		t.audit(r.Broker)
		r.Kill()
		t.must(d.Discard())
	}
	t.tellUndone()
	if t.result.Control && t.result.Lost.Total() == 0 {
		t.fail("nothing was lost without fsync: the suite is blind")
	}
}

func powerLossWithOutbox(t *trial) {
	s := t.server(rig.JetStream)
	n := t.times(6, 48)
	for i := 0; i < n; {
		d, folder := t.forgetfulDisk()
		r := t.relay(s.URL(), "RELAY_OUTBOX=true", "RELAY_DATA_DIR="+folder, impatient)
		for range 4 {
			t.round(i, n)
			s.Kill()
			load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), busy)
			t.must(load.AwaitAccepted(t.ctx, 1))
			t.sleep(t.between(0, 400*time.Millisecond))
			if i%2 == 1 {
				t.must(s.Start(t.ctx))
				_, err := r.AwaitMessage(t.ctx, "connected to the broker again")
				t.must(err)
				t.sleep(t.between(0, 200*time.Millisecond))
			}
			r.Kill()
			died := time.Now()
			o := load.Stop()
			t.only(o, append(killed, "broker-unavailable")...)
			t.count(o)
			t.losePower(d, i/2)
			if i%2 == 0 {
				t.must(s.Start(t.ctx))
			}
			t.must(r.Restart(t.ctx))
			t.returns(r.Sender, o, died)
			t.must(r.AwaitForwarded(t.ctx))
			i++
		}
		r.Kill()
		t.must(d.Discard())
	}
	t.audit(s.URL())
	t.tellUndone()
}

// tellUndone tells what the losses of power took away, which must be something.
func (t *trial) tellUndone() {
	t.note("what was not fsynced and taken away: %s changes of names, %s bytes", Thousands(t.undone.Names), Thousands(t.undone.Bytes))
	if t.undone.Names == 0 || t.undone.Bytes == 0 {
		t.fail("the power took nothing away: the file system is blind")
	}
}
