//go:build system

package faults

import (
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// calm is a load's pace where the fault takes seconds to be overcome: a few
// hundred webhooks a second.
var calm = rig.Pace{Pause: 100 * time.Millisecond}

// cluster is three servers with the streams on all of them, and who leads APIXO.
type cluster struct {
	*rig.Cluster
	js     jetstream.JetStream
	leader *rig.Server
	others []*rig.Server
}

func (b *bench) cluster() *cluster {
	b.Helper()
	c := &cluster{}
	var err error
	c.Cluster, err = b.NewCluster(3, rig.JetStream)
	b.must(err)
	b.must(c.Start(b.ctx, c.Servers...))
	c.js = b.js(c.URL())
	b.makeStreams(c.js, 3)
	c.leader, c.others, err = c.Leader(b.ctx, c.js, "APIXO")
	b.must(err)
	return c
}

// on is a relay that is connected to a certain server, and learns of the others.
func (b *bench) on(s *rig.Server, environ ...string) *rig.Relay {
	b.Helper()
	r := b.relay(s.URL(), append(environ, "RELAY_STREAM_REPLICAS=3")...)
	if r.Broker != s.URL() {
		b.Fatalf("the relay is connected to %s, not to %s", r.Broker, s.URL())
	}
	return r
}

// The servers of a cluster forget the id of an event that was removed, too, and know
// that of its copy.
func TestRepeatAfterAClusterHasForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.cluster()
	r := b.on(c.leader)
	b.ready(r)
	first := b.accepted(r.Sender, "task_1")
	stream, err := c.js.Stream(b.ctx, "APIXO")
	b.must(err)
	b.must(stream.DeleteMsg(b.ctx, first.Sequence))
	anew := b.accepted(r.Sender, "task_1")
	if anew.Duplicate || anew.Sequence == first.Sequence {
		t.Errorf("what was removed got %+v", anew)
	}
	b.accepted(r.Sender, "task_2")
	for _, s := range c.Servers {
		s.Kill()
	}
	b.must(c.Start(b.ctx, c.Servers...))
	_, _, err = c.Leader(b.ctx, c.js, "APIXO")
	b.must(err)
	b.ready(r)
	for range 3 {
		if a := b.accepted(r.Sender, "task_1"); !a.Duplicate || a.Sequence != anew.Sequence {
			t.Errorf("the repeat got %+v, and the event is at %d", a, anew.Sequence)
		}
		if a := b.accepted(r.Sender, "task_3"); a.Sequence <= anew.Sequence {
			t.Errorf("a new task got %+v", a)
		}
	}
	if stored := b.stored(c.URL()); len(stored) != 3 || len(stored.Twice()) > 0 {
		t.Errorf("stored are %v", stored)
	}
}

// Two relays make the streams, and get the same webhooks at the same moment.
func TestTwoRelaysOnACluster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c, err := b.NewCluster(3, rig.JetStream)
	b.must(err)
	b.must(c.Start(b.ctx, c.Servers...))
	relays := []*rig.Relay{b.on(c.Servers[0]), b.on(c.Servers[1])}
	for _, r := range relays {
		b.ready(r)
	}
	stream, err := b.js(c.URL()).Stream(b.ctx, "APIXO")
	b.must(err)
	if n := stream.CachedInfo().Config.Replicas; n != 3 {
		t.Errorf("the stream has %d replicas", n)
	}
	loads := make([]*rig.Load, len(relays))
	for i, r := range relays {
		loads[i] = r.StartLoad(b.ctx, "task", rig.Pace{}) // the same ids in the same order
	}
	var accepted []string
	duplicates := 0
	for _, load := range loads {
		b.must(load.AwaitAccepted(b.ctx, 2000))
	}
	for _, load := range loads {
		o := load.Stop()
		b.Log(o)
		b.onlyProblems(o)
		accepted = append(accepted, o.IDs()...)
		duplicates += o.Duplicates
	}
	stored := b.stored(c.URL())
	if missing, twice := stored.Missing(accepted), stored.Twice(); len(missing) > 0 || len(twice) > 0 {
		t.Errorf("%d got 200 and are missing: %q; %d are stored twice: %q", len(missing), few(missing), len(twice), few(twice))
	}
	if len(accepted) != len(stored)+duplicates {
		t.Errorf("%d stored and %d called duplicates are not the %d answers", len(stored), duplicates, len(accepted))
	}
	// One id at the same moment, again and again.
	for i := 0; i < 50 && !t.Failed(); i++ {
		b.together(relays, taskID(i))
	}
	if twice := b.stored(c.URL()).Twice(); len(twice) > 0 {
		t.Errorf("%d are stored twice: %q", len(twice), few(twice))
	}
}

// together posts a webhook to all relays at once: each accepts it, and one of
// them says that it is the first.
func (b *bench) together(relays []*rig.Relay, id string) {
	b.Helper()
	answers := make([]rig.Answer, len(relays))
	errs := make([]error, len(relays))
	var wg sync.WaitGroup
	for i, r := range relays {
		wg.Go(func() { answers[i], errs[i] = r.Post(b.ctx, id, "success") })
	}
	wg.Wait()
	first := 0
	for i, a := range answers {
		b.must(errs[i])
		if a.Status != 200 || a.Sequence != answers[0].Sequence {
			b.Errorf("%s got %+v", id, a)
		}
		if !a.Duplicate {
			first++
		}
	}
	if first != 1 {
		b.Errorf("%s was the first for %d relays: %+v", id, first, answers)
	}
}

// A cluster too small for the streams may be one that is still coming together:
// the relay waits, and takes what others make.
func TestTooFewServers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c, err := b.NewCluster(3, rig.JetStream)
	b.must(err)
	b.must(c.Start(b.ctx, c.Servers...))
	r := b.relay(c.URL(), "RELAY_STREAM_REPLICAS=5", "RELAY_PUBLISH_TIMEOUT=3s")
	b.notReady(r, "RELAY_STREAM_REPLICAS")
	a, err := r.Post(b.ctx, "task_1", "success")
	b.must(err)
	if a.Status != 503 || a.Took > 3*time.Second+spare {
		t.Errorf("the answer is %+v", a)
	}
	b.makeStreams(b.js(c.URL()), 3)
	b.ready(r)
	b.accepted(r.Sender, "task_1")
}

// A relay and its whole cluster start at the same moment.
func TestClusterStartsWithTheRelay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c, err := b.NewCluster(3, rig.JetStream)
	b.must(err)
	started := make(chan error, 1)
	go func() { started <- c.Start(b.ctx, c.Servers...) }()
	r := b.relay(c.URL(), "RELAY_STREAM_REPLICAS=3")
	b.must(<-started)
	b.ready(r)
	b.accepted(r.Sender, "task_1")
}

// Without a quorum the stream is there and cannot store: that is said in time,
// and ends by itself.
func TestQuorumLost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := b.cluster()
	const budget = 6 * time.Second
	r := b.on(c.others[0], "RELAY_PUBLISH_TIMEOUT="+budget.String())
	b.accepted(r.Sender, "task_before")
	// Among the two is the leader, so that nobody is left who answers for the stream.
	c.leader.Kill()
	c.others[1].Kill()
	b.refused(r.Sender, "task_1", "broker-unavailable", budget)
	b.refused(r.Sender, "task_2", "broker-unavailable", budget)
	b.must(c.leader.Start(b.ctx))
	b.must(c.others[1].Start(b.ctx))
	_, _, err := c.Leader(b.ctx, c.js, "APIXO")
	b.must(err)
	for _, id := range []string{"task_1", "task_2", "task_3"} {
		b.accepted(r.Sender, id)
	}
	stored := b.stored(c.URL())
	if len(stored) != 4 || len(stored.Twice()) > 0 {
		t.Errorf("stored %v", stored)
	}
}
