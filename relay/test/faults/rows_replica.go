package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// replicaDamages are what is done to one store of three: the first few in the
// short form, all of them in the full one.
var replicaDamages = slices.Concat([]damage{
	torn[0],
	{name: "a bit in a middle block", do: block(middleBlock, flip)},
	{name: "a bit in a middle block", orderly: true, do: block(middleBlock, flip)},
	{name: "the last record cut", do: block(lastBlock, cutRecord)},
	{name: "a bit in the log of the cluster", do: files(rig.Store.Logs, flip)},
}, torn[1:], physical, []damage{
	{name: "a bit in the log of the cluster", orderly: true, do: files(rig.Store.Logs, flip)},
})

const (
	shortDamages = 5
	// leadTimeout is for a damaged server to catch up, and to become the leader.
	leadTimeout = 20 * time.Second
)

func replicaDamaged(t *trial) {
	n := t.times(shortDamages, len(replicaDamages))
	for i := range n {
		t.round(i, n)
		t.oneOfThree(replicaDamages[i], i)
	}
}

// oneOfThree damages the store of one server, and looks at what each of the three
// hands out when it leads.
func (t *trial) oneOfThree(d damage, i int) {
	c := t.cluster()
	r := t.relay(c.URL(), "RELAY_STREAM_REPLICAS=3", mediumBlocks)
	t.must(r.AwaitReady(t.ctx))
	js := t.js(c.URL())
	var accepted []rig.Receipt
	store := func(n int) {
		for range n {
			accepted = append(accepted, t.heavy(r, fmt.Sprintf("task_%d_%d", i, len(accepted))))
		}
	}
	store(heavyCount)
	t.makeReader(js)
	leader, others, err := c.Leader(t.ctx, js, stream)
	t.must(err)
	for _, s := range others {
		t.must(c.AwaitCurrent(t.ctx, js, stream, s))
	}
	victim := append(others, leader)[i%3]
	t.stop(d, victim.Process)
	t.must(d.do(t, victim.Store()))
	t.must(r.AwaitReady(t.ctx))
	store(10)
	t.must(c.Start(t.ctx, victim))

	var all []rig.Contents
	damaged, why := t.leads(c, js, victim, len(accepted))
	switch {
	case why != nil:
		t.note("%s: the damaged server was asked to lead, and %s", d, why)
	case len(damaged) < len(accepted):
		t.note("%s: the damaged server, when it leads, has no longer %d of %d, which the others have", d, len(accepted)-len(damaged), len(accepted))
	default:
		t.note("%s: mended from the others", d)
	}
	if d.harmless && len(damaged) < len(accepted) {
		t.fail("%s: nothing was lost, and yet the server has %d of %d", d, len(damaged), len(accepted))
	}
	all = append(all, damaged)
	for _, s := range c.Servers {
		if s == victim {
			continue
		}
		contents, err := t.leads(c, js, s, len(accepted))
		t.must(err)
		if len(contents) < len(accepted) {
			t.fail("%s: a server that was not damaged has %d of %d", d, len(contents), len(accepted))
		}
		all = append(all, contents)
	}
	t.same(d, accepted, all)
	for _, p := range t.Processes() {
		p.Kill()
	}
}

// leads makes a server the leader, and returns what it hands out; or why it does
// not become the leader.
func (t *trial) leads(c *rig.Cluster, js jetstream.JetStream, s *rig.Server, n int) (rig.Contents, error) {
	ctx, cancel := context.WithTimeoutCause(t.ctx, leadTimeout, fmt.Errorf("not within %s", leadTimeout))
	defer cancel()
	if err := c.Lead(ctx, js, stream, s); err != nil {
		if t.ctx.Err() != nil {
			t.must(context.Cause(t.ctx))
		}
		return nil, err
	}
	contents, _, err := rig.ReadEach(t.ctx, js.Conn(), stream, uint64(n))
	t.must(err)
	if now, _, err := c.Leader(t.ctx, js, stream); err != nil || now != s {
		return nil, errors.Join(errors.New("another one took the lead from it"), err)
	}
	return contents, nil
}

// same checks that what several servers hand out is nowhere different, and that
// nothing is lost to all of them.
func (t *trial) same(d damage, accepted []rig.Receipt, all []rig.Contents) {
	stored := make(rig.Stored)
	for _, a := range accepted {
		var first [32]byte
		for _, contents := range all {
			digest, ok := contents[a.Sequence]
			switch {
			case !ok:
			case len(stored[a.ID]) == 0:
				first, stored[a.ID] = digest, []uint64{a.Sequence}
			case digest != first:
				t.fail("%s: the servers hand out different events as number %d", d, a.Sequence)
			}
		}
	}
	t.rounds = [][]rig.Receipt{accepted}
	t.compare(stored)
}

// stop ends the process whose store is to be damaged.
func (t *trial) stop(d damage, p *rig.Process) {
	if !d.orderly {
		p.Kill()
		return
	}
	t.must(p.Signal(syscall.SIGTERM))
	_, err := p.Wait(t.ctx)
	t.must(err)
}
