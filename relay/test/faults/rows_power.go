package faults

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// powerRows are losses of power while the server replaces, by itself, files that hold what
// was acknowledged long ago.
var powerRows = []Row{
	{
		Name: "power-loss-deletes", Fault: "the power goes while an operator deletes events, embedded broker", aside: true,
		Injected: "single deletes of most events of old files, which the server then rewrites, and purges up to the middle of a file, under 32 connections with webhooks of 96 KiB; SIGKILL, on " + forgetting + ": all of it, and in every second round a random part",
		run:      powerLossAmidDeletes,
	},
	{
		Name: "power-loss-expiry", Fault: "the power goes while events expire, embedded broker", aside: true,
		Injected: "the same while all events expire after 4 s, so that files are removed all the time",
		run:      powerLossAmidExpiry,
	},
}

// heavily makes the server begin a new file several times a second.
var heavily = rig.Pace{Workers: 32, Padding: 96 << 10}

func powerLossAmidDeletes(t *trial) {
	n := t.times(4, 96)
	rewritten := 0
	for i := 0; i < n; {
		d, folder := t.forgetfulDisk()
		r := t.embedded("RELAY_DATA_DIR=" + folder)
		o := &operator{trial: t, relay: r, store: rig.Store(folder), deleted: make(map[uint64]bool), blocks: make(map[string]fs.FileInfo)}
		for range 4 {
			t.round(i, n)
			load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d", i), heavily)
			t.must(load.AwaitAccepted(t.ctx, 200))
			deleting, stop := context.WithCancel(t.ctx)
			var deletes sync.WaitGroup
			js := t.js(r.Broker)
			deletes.Go(func() { o.deleteUntil(deleting, js) })
			t.sleep(t.between(300*time.Millisecond, 1200*time.Millisecond))
			r.Kill()
			died := time.Now()
			stop()
			deletes.Wait()
			js.Conn().Close()
			done := load.Stop()
			t.only(done, killed...)
			o.count(done)
			t.losePower(d, i)
			t.must(r.Restart(t.ctx))
			t.returns(r.Sender, rig.Outcome{Open: done.Open}, died)
			o.audit()
			i++
		}
		rewritten += o.rewritten
		r.Kill()
		t.must(d.Discard())
	}
	t.tellUndone()
	t.note("the server rewrote %d files", rewritten)
	if rewritten == 0 {
		t.fail("the server rewrote no file: nothing was tried")
	}
}

// perFile is about how many of those webhooks the server stores in one file of 8 MiB.
const perFile = 8 << 20 / (97 << 10)

// operator deletes what he likes, and knows what he has not deleted.
type operator struct {
	*trial
	relay     *rig.Relay
	store     rig.Store
	deleted   map[uint64]bool // or may be, by sequence
	below     uint64          // all up to here are purged, or may be
	next      uint64          // where he goes on
	files     int             // that he has gone through
	accepted  []rig.Receipt
	blocks    map[string]fs.FileInfo
	rewritten int
}

// deleteUntil deletes until ctx ends, or the relay does.
func (o *operator) deleteUntil(ctx context.Context, js jetstream.JetStream) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return
	}
	for ctx.Err() == nil {
		info, err := s.Info(ctx)
		if err != nil {
			return
		}
		first := max(o.next, info.State.FirstSeq)
		if info.State.LastSeq < first+2*perFile {
			continue // there is no file yet but the last
		}
		if o.files++; o.files%4 == 0 {
			o.below = first + perFile*2/3
			_ = s.Purge(ctx, jetstream.WithPurgeSequence(o.below))
		} else {
			// So many of them that what is left is worth rewriting the file.
			var deletes sync.WaitGroup
			for sequence := first; sequence < first+perFile; sequence++ {
				if sequence%4 > 0 {
					o.deleted[sequence] = true
					deletes.Go(func() { _ = s.DeleteMsg(ctx, sequence) })
				}
			}
			deletes.Wait()
		}
		o.next = first + perFile
		o.look()
	}
}

// look counts the files that are other ones under their old names.
func (o *operator) look() {
	blocks, _ := o.store.Blocks(stream)
	for _, block := range blocks {
		info, err := os.Stat(block)
		if err != nil {
			continue
		}
		if known := o.blocks[block]; known != nil && !os.SameFile(known, info) {
			o.rewritten++
		}
		o.blocks[block] = info
	}
}

// count takes what became of a load, of which not all has to be there.
func (o *operator) count(done rig.Outcome) {
	o.answered(done.Sent(), len(done.Accepted), done.Slowest)
	o.accepted = append(o.accepted, done.Accepted...)
}

// audit looks for all that was accepted and not deleted.
func (o *operator) audit() {
	stored, err := rig.Audit(o.ctx, o.relay.Broker, stream)
	o.must(err)
	o.accepted = slices.Concat(append(o.rounds, o.accepted)...)
	kept := slices.DeleteFunc(slices.Clone(o.accepted), func(r rig.Receipt) bool { return o.deleted[r.Sequence] || r.Sequence < o.below })
	o.rounds = [][]rig.Receipt{kept}
	o.compare(stored)
}

func powerLossAmidExpiry(t *trial) {
	const age = 4 * time.Second
	n := t.times(4, 48)
	for i := 0; i < n; {
		d, folder := t.forgetfulDisk()
		r := t.embedded("RELAY_DATA_DIR="+folder, "RELAY_STREAM_MAX_AGE="+age.String(), "RELAY_DEDUPE_WINDOW="+age.String())
		for range 4 {
			t.round(i, n)
			// Loads one after the other, so that it is known of each since when its events
			// can be there at the earliest.
			type wave struct {
				began time.Time
				rig.Outcome
			}
			var waves []wave
			lasts := age + t.between(0, 2*time.Second)
			for begin, killed := time.Now(), false; !killed; {
				began := time.Now()
				load := r.StartLoad(t.ctx, fmt.Sprintf("task_%d_%d", i, len(waves)), heavily)
				t.sleep(300 * time.Millisecond)
				if killed = time.Since(begin) >= lasts; killed {
					r.Kill()
				}
				waves = append(waves, wave{began, load.Stop()})
			}
			t.losePower(d, i)
			died := time.Now()
			t.must(r.Restart(t.ctx))
			t.must(r.AwaitReady(t.ctx))
			t.recovered(time.Since(died))
			stored, err := rig.Audit(t.ctx, r.Broker, stream)
			t.must(err)
			read := time.Now()
			for _, w := range waves {
				t.only(w.Outcome, killed...)
				t.answered(w.Sent(), len(w.Accepted), w.Slowest)
				if read.Sub(w.began) > age {
					continue // it may have expired
				}
				if missing := stored.Missing(w.IDs()); len(missing) > 0 {
					t.fail("%d of %d events that have not expired are not there", len(missing), len(w.Accepted))
				}
			}
			i++
		}
		r.Kill()
		t.must(d.Discard())
	}
	t.tellUndone()
}
