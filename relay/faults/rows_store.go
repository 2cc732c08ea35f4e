package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/internal/rig"
)

// storeRows are faults of what is stored already.
var storeRows = []Row{
	{
		Name: "store-torn", Fault: "the embedded store has a torn end, or a damaged index",
		Injected: "half a record or 4 KiB of zeros behind the last record that was acknowledged; a bit flipped in index.db, its end cut off, all of it; a bit flipped in the state of a consumer: after SIGKILL and after an orderly end",
		run:      storeTorn,
	},
	{
		Name: "store-damaged", Fault: "the disk of the embedded store loses what it had",
		Injected: "one bit flipped in the first, a middle or the last block, or in the head of a record, the last record cut in its middle, 4 KiB at the end zeroed: after SIGKILL and after an orderly end",
		run:      storeDamaged,
	},
}

// damage is something that is done to a store while its broker is down.
type damage struct {
	name    string
	orderly bool // after an orderly end, else after SIGKILL
	do      func(*trial, rig.Store) error
}

// Blocks are of 4 MiB with these limits, so that a store has a first, a middle
// and a last one.
const (
	heavy        = 150_000 // bytes of a webhook
	heavyCount   = 70
	mediumBlocks = "RELAY_STREAM_MAX_BYTES=30000000"
)

// block damages one of the files with the stream's messages.
func block(which func(blocks []string) string, do func(t *trial, file string) error) func(*trial, rig.Store) error {
	return func(t *trial, s rig.Store) error {
		blocks, err := s.Blocks(stream)
		if err != nil {
			return err
		}
		if len(blocks) < 3 {
			return fmt.Errorf("the store has %d blocks, and no middle one", len(blocks))
		}
		return do(t, which(blocks))
	}
}

func firstBlock(blocks []string) string  { return blocks[0] }
func middleBlock(blocks []string) string { return blocks[len(blocks)/2] }
func lastBlock(blocks []string) string   { return blocks[len(blocks)-1] }

// flip flips a bit anywhere in a file.
func flip(t *trial, file string) error {
	return rig.FlipBit(t.rand, file, 0)
}

// flipHead flips a bit in the head of a file's first record.
func flipHead(t *trial, file string) error { return rig.FlipBit(t.rand, file, 22) }

// files damages all of some files.
func files(find func(rig.Store) ([]string, error), do func(t *trial, file string) error) func(*trial, rig.Store) error {
	return func(t *trial, s rig.Store) error {
		all, err := find(s)
		for _, file := range all {
			if err == nil {
				err = do(t, file)
			}
		}
		return err
	}
}

func indexes(s rig.Store) ([]string, error)   { return s.Indexes(stream) }
func consumers(s rig.Store) ([]string, error) { return s.Consumers(stream) }

// torn are those that touch nothing that was acknowledged.
var torn = []damage{
	{"half a record more", false, block(lastBlock, func(_ *trial, f string) error { return rig.AddTail(f, heavy/2, false) })},
	{"half a record more", true, block(lastBlock, func(_ *trial, f string) error { return rig.AddTail(f, heavy/2, false) })},
	{"zeros more", false, block(lastBlock, func(_ *trial, f string) error { return rig.AddTail(f, 4096, true) })},
	{"zeros more", true, block(lastBlock, func(_ *trial, f string) error { return rig.AddTail(f, 4096, true) })},
	{"index.db flipped", true, files(indexes, flip)},
	{"index.db cut", true, files(indexes, func(_ *trial, f string) error { return rig.CutTail(f, 20) })},
	{"index.db emptied", true, files(indexes, func(_ *trial, f string) error { return rig.CutTail(f, 1<<30) })},
	{"a consumer's state flipped", true, files(consumers, flip)},
	{"a consumer's state flipped", false, files(consumers, flip)},
}

// physical are those that destroy what was acknowledged.
var physical = slices.Concat(both("a bit in the first block", block(firstBlock, flip)),
	both("a bit in a middle block", block(middleBlock, flip)),
	both("a bit in the last block", block(lastBlock, flip)),
	both("a bit in the head of a record", block(middleBlock, flipHead)),
	both("the last record cut", block(lastBlock, func(_ *trial, f string) error { return rig.CutTail(f, heavy/2) })),
	both("zeros at the end", block(lastBlock, func(_ *trial, f string) error { return rig.ZeroTail(f, 4096) })),
)

func both(name string, do func(*trial, rig.Store) error) []damage {
	return []damage{{name, false, do}, {name, true, do}}
}

func storeTorn(t *trial) {
	n := t.times(1, 10) * len(torn)
	for i := range n {
		t.round(i, n)
		d := torn[i%len(torn)]
		if lost := t.damaged(d, fmt.Sprintf("task_%d", i)); lost.n > 0 {
			t.fail("%s: %s", d.name, lost)
		}
	}
}

func storeDamaged(t *trial) {
	t.result.Disclosed = true
	n := t.times(1, 20) * len(physical)
	most := make(map[string]loss)
	for i := range n {
		t.round(i, n)
		d := physical[i%len(physical)]
		lost := t.damaged(d, fmt.Sprintf("task_%d", i))
		if lost.n == 0 {
			t.fail("%s: nothing is lost, so nothing was damaged", d.name)
		}
		name := d.name + ", after SIGKILL"
		if d.orderly {
			name = d.name + ", after an orderly end"
		}
		most[name] = most[name].worse(lost)
	}
	for _, name := range slices.Sorted(maps.Keys(most)) {
		t.note("%s: %s", name, most[name])
	}
}

// loss is what of a store is not there any more.
type loss struct {
	n, of int
	told  bool // the log of the relay says that something is wrong
}

func (l loss) worse(m loss) loss {
	if m.n < l.n {
		return l
	}
	return m
}

func (l loss) String() string {
	told := "without a line in the log"
	if l.told {
		told = "with a warning in the log"
	}
	return fmt.Sprintf("%d of %d lost %s", l.n, l.of, told)
}

// damaged fills a store, damages it, and looks at what the relay makes of it.
func (t *trial) damaged(d damage, prefix string) loss {
	r := t.embedded(mediumBlocks)
	js := t.js(r.Broker)
	var accepted []rig.Receipt
	for i := range heavyCount {
		accepted = append(accepted, t.heavy(r, fmt.Sprintf("%s_%d", prefix, i)))
	}
	_, err := js.CreateConsumer(t.ctx, stream, jetstream.ConsumerConfig{Durable: reader, AckPolicy: jetstream.AckExplicitPolicy})
	t.must(err)
	got := make(map[uint64]bool)
	t.read(js, got, readSome)
	before, failed, err := rig.ReadEach(t.ctx, js, stream, heavyCount)
	t.must(err)
	if len(before) != heavyCount {
		t.must(fmt.Errorf("of %d events %d can be read before anything is damaged: %v", heavyCount, len(before), failed))
	}
	if d.orderly {
		t.must(r.Signal(syscall.SIGTERM))
		_, err := r.Wait(t.ctx)
		t.must(err)
	} else {
		r.Kill()
	}
	t.must(d.do(t, r.Store()))
	begin := time.Now()
	t.must(r.Restart(t.ctx))
	t.must(r.AwaitReady(t.ctx))
	t.recovered(time.Since(begin))

	js = t.js(r.Broker)
	after, _, err := rig.ReadEach(t.ctx, js, stream, heavyCount)
	t.must(err)
	l := loss{of: heavyCount, told: strings.Contains(r.Log(), `"level":"WARN"`) || strings.Contains(r.Log(), `"level":"ERROR"`)}
	stored := make(rig.Stored)
	for _, a := range accepted {
		digest, ok := after[a.Sequence]
		switch {
		case !ok:
			l.n++
		case digest != before[a.Sequence]:
			t.fail("%s: event %d is another one than before", d.name, a.Sequence)
		default:
			stored[a.ID] = []uint64{a.Sequence}
		}
	}
	t.rounds = [][]rig.Receipt{accepted}
	t.compare(stored)
	maps.DeleteFunc(got, func(seq uint64, _ bool) bool { _, ok := after[seq]; return !ok })
	t.read(js, got, len(stored))
	for id, at := range stored {
		if !got[at[0]] {
			t.fail("%s: a consumer does not get %s, which is stored", d.name, id)
		}
	}
	t.resent(d, r, prefix, accepted, stored)
	r.Kill()
	return l
}

// heavy stores one webhook that is large.
func (t *trial) heavy(r *rig.Relay, id string) rig.Receipt {
	a, err := r.PostBody(t.ctx, rig.Webhook(id, "success", heavy))
	t.must(err)
	if a.Status != 200 {
		t.must(fmt.Errorf("%s was answered with %d %s", id, a.Status, a.Detail))
	}
	t.answered(1, 1, a.Took)
	return rig.Receipt{ID: id, Stream: a.Stream, Sequence: a.Sequence}
}

// reader is a consumer that was there before the damage, and has read some.
const (
	reader   = "reader"
	readSome = 10
)

// read lets the consumer read until it has got some events that are wanted, or it
// gets no more, and adds their sequences to got.
func (t *trial) read(js jetstream.JetStream, got map[uint64]bool, wanted int) {
	c, err := js.Consumer(t.ctx, stream, reader)
	t.must(err)
	for len(got) < wanted {
		batch, err := c.Fetch(wanted-len(got), jetstream.FetchMaxWait(time.Second))
		t.must(err)
		n := len(got)
		for msg := range batch.Messages() {
			meta, err := msg.Metadata()
			t.must(err)
			t.must(msg.DoubleAck(t.ctx))
			got[meta.Sequence.Stream] = true
		}
		if len(got) == n {
			break
		}
	}
}

// resent sends what was lost once more, as the sender would within its retries, and
// one webhook that is new: they are stored as if nothing had been.
func (t *trial) resent(d damage, r *rig.Relay, prefix string, accepted []rig.Receipt, stored rig.Stored) {
	again := []rig.Receipt{t.heavy(r, prefix+"_new")}
	for _, a := range accepted {
		if len(stored[a.ID]) == 0 {
			again = append(again, t.heavy(r, a.ID))
		}
	}
	js := t.js(r.Broker)
	s, err := js.Stream(t.ctx, stream)
	t.must(err)
	for _, a := range again {
		if _, err := s.GetMsg(t.ctx, a.Sequence); err != nil {
			t.fail("%s: %s was accepted again and is not stored at %d: %s", d.name, a.ID, a.Sequence, err)
		}
	}
}
