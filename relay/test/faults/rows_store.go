package faults

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// storeRows are faults of what is stored already.
var storeRows = []Row{
	{
		Name: "store-torn", Fault: "the embedded store has a torn end, or a damaged index", aside: true,
		Injected: "half a record or 4 KiB of zeros behind the last record that was acknowledged; a bit flipped in index.db, its end cut off, all of it; a bit flipped in the state of a consumer: after SIGKILL and after an orderly end",
		run:      storeTorn,
	},
	{
		Name: "store-damaged", Fault: "the disk of the embedded store loses what it had", aside: true,
		Injected: "one bit flipped in the first, a middle or the last block, or in the head of a record, the last record cut in its middle, 4 KiB at the end zeroed: after SIGKILL and after an orderly end",
		run:      storeDamaged,
	},
	{
		Name: "replica-damaged", Fault: "one disk of three loses what it had",
		Injected: "in the store of one of three servers (three replicas), while it is down and webhooks go on: half a record more, a bit flipped, the last record cut, a bit flipped in the log of the cluster; the full form does all that the rows above do. Then it comes again and is made the leader, as are the others after it",
		aside:    true, run: replicaDamaged,
	},
}

func storeTorn(t *trial) {
	n := t.times(1, 6) * len(torn)
	gone, over, most := 0, 0, 0
	for i := range n {
		t.round(i, n)
		d := torn[i%len(torn)]
		lost := t.damaged(d, fmt.Sprintf("task_%d", i))
		if lost.n > 0 {
			t.fail("%s: %s", d, lost)
		}
		switch {
		case lost.gone:
			gone++
		case lost.passedOver > 0:
			over, most = over+1, max(most, lost.passedOver)
		}
	}
	t.note("a flipped bit in a consumer's state, which the broker keeps without a checksum: %d consumers are gone, and %d pass over up to %d of %d events, all of which are stored", gone, over, most, heavyCount)
}

func storeDamaged(t *trial) {
	t.result.Disclosed = true
	n := t.times(1, 8) * len(physical)
	most := make(map[string]loss)
	for i := range n {
		t.round(i, n)
		d := physical[i%len(physical)]
		lost := t.damaged(d, fmt.Sprintf("task_%d", i))
		if lost.n == 0 {
			t.fail("%s: nothing is lost, so nothing was damaged", d)
		}
		most[d.String()] = most[d.String()].worse(lost)
	}
	for _, name := range slices.Sorted(maps.Keys(most)) {
		t.note("%s: %s", name, most[name])
	}
}

// loss is what of a store is not there any more.
type loss struct {
	n, of int
	told  bool // the log of the relay says that something is wrong

	passedOver int  // are stored, and a consumer does not get them
	gone       bool // that is since it is not there any more
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
	got := t.makeReader(js)
	before, failed, err := rig.ReadEach(t.ctx, js.Conn(), stream, heavyCount)
	t.must(err)
	if len(before) != heavyCount {
		t.must(fmt.Errorf("of %d events %d can be read before anything is damaged: %v", heavyCount, len(before), failed))
	}
	t.stop(d, r.Process)
	t.must(d.do(t, r.Store()))
	begin := time.Now()
	t.must(r.Restart(t.ctx))
	t.must(r.AwaitReady(t.ctx))
	t.recovered(time.Since(begin))

	js = t.js(r.Broker)
	after, _, err := rig.ReadEach(t.ctx, js.Conn(), stream, heavyCount)
	t.must(err)
	l := loss{of: heavyCount, told: strings.Contains(r.Log(), `"level":"WARN"`) || strings.Contains(r.Log(), `"level":"ERROR"`)}
	// A gap lies between two that are stored: a stream that begins later may have
	// expired.
	stored, gap, missing := make(rig.Stored), false, false
	for _, a := range accepted {
		digest, ok := after[a.Sequence]
		switch {
		case !ok:
			l.n++
			missing = len(stored) > 0
		case digest != before[a.Sequence]:
			t.fail("%s: event %d is another one than before", d, a.Sequence)
		default:
			stored[a.ID] = []uint64{a.Sequence}
			gap = gap || missing
		}
	}
	if gap && !d.orderly && !l.told {
		t.fail("%s: there is a gap, and the relay does not warn of it", d)
	}
	t.rounds = [][]rig.Receipt{accepted}
	t.compare(stored)
	maps.DeleteFunc(got, func(seq uint64, _ bool) bool { _, ok := after[seq]; return !ok })
	l.gone = t.read(js, got, len(stored))
	for _, at := range stored {
		if !got[at[0]] {
			l.passedOver++
		}
	}
	if l.passedOver > 0 && !d.position {
		t.fail("%s: a consumer does not get %d events that are stored", d, l.passedOver)
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

// reader is a consumer that was there before the damage, and has read some. At once it
// reads no more than an embedded broker lets wait for a client: each event has 300 kB.
const (
	reader     = "reader"
	readSome   = 10
	readAtOnce = 10
)

// makeReader makes the consumer and lets it read, and returns the sequences.
func (t *trial) makeReader(js jetstream.JetStream) map[uint64]bool {
	_, err := js.CreateConsumer(t.ctx, stream, jetstream.ConsumerConfig{Durable: reader, AckPolicy: jetstream.AckExplicitPolicy})
	t.must(err)
	got := make(map[uint64]bool)
	t.read(js, got, readSome)
	return got
}

// read lets the consumer read until it has got some events that are wanted, or it
// gets no more, and adds their sequences to got. A consumer that is gone reads none.
func (t *trial) read(js jetstream.JetStream, got map[uint64]bool, wanted int) (gone bool) {
	c, err := js.Consumer(t.ctx, stream, reader)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return true
	}
	t.must(err)
	for len(got) < wanted {
		batch, err := c.Fetch(min(wanted-len(got), readAtOnce), jetstream.FetchMaxWait(time.Second))
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
	return false
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
			t.fail("%s: %s was accepted again and is not stored at %d: %s", d, a.ID, a.Sequence, err)
		}
	}
}
