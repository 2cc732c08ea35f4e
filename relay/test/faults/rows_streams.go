package faults

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// streamRows are faults of what else is done with the relay's streams.
var streamRows = []Row{
	{
		Name: "streams-unfit", Fault: "a stream that acknowledges, and does not have the event where it should be",
		Injected: "streams whose retention is interest, whose subject_transform moves events away, or that keep one message of a subject, or one at all: made so before the relay starts, and changed so under 32 connections; each time an operator mends it after a while",
		run:      streamsUnfit,
	},
	{
		Name: "stream-updated", Fault: "RELAY_STREAM_POLICY=update on a stream that others use, too",
		Injected: "a stream without an age, with another subject to which somebody goes on publishing, a description, and more bytes than RELAY_STREAM_MAX_BYTES; the relay is stopped and started again and again under load, and every time the operator takes its subject out of the stream meanwhile",
		run:      streamUpdated,
	},
}

// untrue are the ways in which a stream's acknowledgement is worth nothing.
var untrue = []struct {
	name, told  string // told is of what readiness speaks
	spoil, mend func(*jetstream.StreamConfig)
	// deletes: the change itself deletes what is there.
	deletes bool
}{
	{
		"transform", "subject_transform",
		func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "apixo.task.*", Destination: "moved.{{wildcard(1)}}"}
		},
		func(c *jetstream.StreamConfig) { c.SubjectTransform = nil }, false,
	},
	{
		"interest", "retention interest",
		func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		func(c *jetstream.StreamConfig) { c.Retention = jetstream.LimitsPolicy }, true,
	},
	{
		"one_of_a_subject", "max_msgs_per_subject",
		func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
		func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = -1 }, true,
	},
	{
		"one_at_all", "discard old",
		func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 1, jetstream.DiscardOld },
		func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = -1, jetstream.DiscardNew }, true,
	},
}

func streamsUnfit(t *trial) {
	n := t.times(1, 10)
	var late time.Duration
	for i := range n {
		t.round(i, n)
		for kind := range untrue {
			t.unfitAtStart(kind)
			late = max(late, t.unfitUnderLoad(kind, i))
		}
	}
	t.note("a changed stream was refused by readiness within %d ms", late.Milliseconds())
}

// unfitAtStart starts a relay on a stream that cannot be used, until it is mended.
func (t *trial) unfitAtStart(kind int) {
	s := t.server(rig.JetStream)
	defer s.Kill()
	js := t.js(s.URL())
	cfg := jetstream.StreamConfig{Name: stream, Subjects: []string{"apixo.task.>"}, Duplicates: time.Hour, Discard: jetstream.DiscardNew, AllowDirect: true}
	untrue[kind].spoil(&cfg)
	_, err := js.CreateStream(t.ctx, cfg)
	t.must(err)
	r := t.relay(s.URL())
	defer r.Kill()
	t.must(r.AwaitNotReady(t.ctx, untrue[kind].told))
	a, err := r.Post(t.ctx, "task_early", "success")
	t.must(err)
	t.answered(1, 0, a.Took)
	if a.Problem() != "broker-error" {
		t.fail("%s at the start: a webhook got %d %s", untrue[kind].name, a.Status, a.Problem())
	}
	if last := t.change(js, nil); last != 0 {
		t.fail("%s at the start: %d messages were sent to it", untrue[kind].name, last)
	}
	t.change(js, untrue[kind].mend)
	mended := time.Now()
	t.must(r.AwaitReady(t.ctx))
	t.recovered(time.Since(mended))
	_, o := r.Deliver(t.ctx, []string{"task_early", "task_1", "task_2"}, 1)
	t.only(o)
	t.count(o)
	t.audit(s.URL())
}

// change changes the stream as an operator does, if at all, and returns the last
// sequence that there was then.
func (t *trial) change(js jetstream.JetStream, how func(*jetstream.StreamConfig)) (last uint64) {
	s, err := js.Stream(t.ctx, stream)
	t.must(err)
	if how != nil {
		cfg := s.CachedInfo().Config
		how(&cfg)
		s, err = js.UpdateStream(t.ctx, cfg)
		t.must(err)
	}
	return s.CachedInfo().State.LastSeq
}

// unfitUnderLoad changes a stream under load and mends it again. It returns after how
// long readiness told.
func (t *trial) unfitUnderLoad(kind, round int) (late time.Duration) {
	s := t.server(rig.JetStream)
	defer s.Kill()
	js := t.js(s.URL())
	r := t.relay(s.URL())
	defer r.Kill()
	load := r.StartLoad(t.ctx, fmt.Sprintf("%s_%d", untrue[kind].name, round), rig.Pace{})
	t.must(load.AwaitAccepted(t.ctx, 500))
	t.sleep(t.between(0, 200*time.Millisecond))
	// What was stored until then, and until it is mended.
	spoilt := t.change(js, untrue[kind].spoil)
	changed := time.Now()
	t.must(r.AwaitNotReady(t.ctx, untrue[kind].told))
	late = time.Since(changed)
	t.refuses(load, "broker-error", 100)
	mended := t.change(js, nil)
	t.change(js, untrue[kind].mend)
	t.recovers(load, time.Now())
	t.must(r.AwaitReady(t.ctx))
	t.must(load.AwaitAccepted(t.ctx, 200))
	o := load.Stop()
	t.only(o, "broker-error")
	t.within(o, budget)
	untold := 0
	for _, a := range o.Accepted {
		if a.Sequence > spoilt && a.Sequence <= mended {
			untold++
		}
	}
	if untold > 0 {
		t.fail("%s under load: %d webhooks got 200 from a stream that was no good", untrue[kind].name, untold)
	}
	if untrue[kind].deletes {
		o.Accepted = slices.DeleteFunc(o.Accepted, func(a rig.Receipt) bool { return a.Sequence <= mended })
	}
	t.count(o)
	t.again(r.Sender, o)
	stored, err := rig.AuditBelow(t.ctx, s.URL(), stream, "apixo.task.")
	t.must(err)
	t.compare(stored)
	return late
}

const (
	theirs     = "orders.>"
	theirBytes = 200_000
)

func streamUpdated(t *trial) {
	s := t.server(rig.JetStream)
	js := t.js(s.URL())
	before := jetstream.StreamConfig{
		Name: stream, Subjects: []string{theirs}, Description: "Orders.", Metadata: map[string]string{"owner": "orders"},
		Discard: jetstream.DiscardNew, Duplicates: 2 * time.Hour, AllowDirect: true, AllowAtomicPublish: true, MaxMsgs: 10_000_000, DenyDelete: true,
	}
	made, err := js.CreateStream(t.ctx, before)
	t.must(err)
	before = made.CachedInfo().Config
	orders := t.publishOrders(js)
	defer orders.stop()
	r := t.relay(s.URL(), "RELAY_STREAM_POLICY=update", "RELAY_STREAM_MAX_BYTES="+strconv.Itoa(theirBytes/2))
	load := r.StartLoad(t.ctx, "task", rig.Pace{})
	n := t.times(4, 30)
	for i := range n {
		t.round(i, n)
		t.must(load.AwaitAccepted(t.ctx, 200))
		_, err := r.Stop(t.ctx)
		t.must(err)
		t.change(js, func(c *jetstream.StreamConfig) { c.Subjects = []string{theirs} })
		t.must(r.Restart(t.ctx))
		t.recovers(load, time.Now())
	}
	o := load.Stop()
	t.only(o, killed...)
	t.count(o)
	t.again(r.Sender, o)
	published := orders.stop()
	t.must(orders.err)
	after, err := js.Stream(t.ctx, stream)
	t.must(err)
	got := after.CachedInfo().Config
	if want := []string{theirs, "apixo.task.>"}; !slices.Equal(got.Subjects, want) {
		t.fail("the stream takes %q, and should take %q", got.Subjects, want)
	}
	got.Subjects = before.Subjects
	before.Metadata, got.Metadata = map[string]string{"owner": before.Metadata["owner"]}, map[string]string{"owner": got.Metadata["owner"]} // and the server's own
	if !reflect.DeepEqual(got, before) {
		t.fail("the stream was changed from %+v to %+v", before, got)
	}
	stored, err := rig.AuditBelow(t.ctx, s.URL(), stream, "apixo.task.")
	t.must(err)
	events := 0
	for _, sequences := range stored {
		events += len(sequences)
	}
	t.compare(stored)
	if left := int(after.CachedInfo().State.Msgs) - events; left != published {
		t.fail("%d of the others' %d messages are left", left, published)
	}
	t.note("others published %s messages meanwhile, and have them all", Thousands(published))
}

// orders are what others publish to a stream.
type orders struct {
	stop func() (published int)
	err  error
}

// publishOrders publishes until it is stopped, more than some bytes at once.
func (t *trial) publishOrders(js jetstream.JetStream) *orders {
	ctx, cancel := context.WithCancel(t.ctx)
	o := &orders{}
	var ended sync.WaitGroup
	published := 0
	publish := func(size int) bool {
		_, err := js.Publish(context.WithoutCancel(ctx), "orders.new", make([]byte, size))
		if err != nil {
			o.err = errors.Join(o.err, err)
			return false
		}
		published++
		return true
	}
	t.must(func() error { publish(theirBytes); return o.err }())
	ended.Go(func() {
		for ctx.Err() == nil && publish(100) {
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	o.stop = func() int {
		cancel()
		ended.Wait()
		return published
	}
	return o
}
