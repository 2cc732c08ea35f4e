package faults

import (
	"fmt"
	"syscall"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// repeatRows are repeats that come after one of the programs was started anew.
var repeatRows = []Row{
	{
		Name: "repeats-after-restarts", Fault: "webhooks come four times, and the relay and the broker are started anew in between", aside: true,
		Injected: "SIGKILL or SIGTERM of the relay, of nats-server, or of both, three times for each webhook; external broker",
		run:      repeatsExternal,
	},
	{
		Name: "repeats-after-restarts-embedded", Fault: "the same with the embedded broker", aside: true,
		Injected: "SIGKILL or SIGTERM of the relay, three times for each webhook",
		run:      repeatsEmbedded,
	},
}

func repeatsExternal(t *trial) {
	s := t.server(rig.JetStream)
	r := t.relay(s.URL())
	t.fourTimes(r, func(i int, kill bool) {
		relay, broker := i%3 != 1, i%3 != 0 // by itself, the other by itself, and both
		if relay {
			t.end(r.Process, kill)
		}
		if broker {
			t.end(s.Process, kill)
			t.must(s.Start(t.ctx))
		}
		if relay {
			t.must(r.Restart(t.ctx))
		} else {
			_, err := r.AwaitMessage(t.ctx, "connected to the broker again")
			t.must(err)
		}
		t.must(r.AwaitReady(t.ctx))
	})
	t.audit(s.URL())
}

func repeatsEmbedded(t *trial) {
	r := t.embedded()
	t.fourTimes(r, func(_ int, kill bool) {
		t.end(r.Process, kill)
		t.must(r.Restart(t.ctx))
		t.must(r.AwaitReady(t.ctx))
	})
	t.audit(r.Broker)
}

// fourTimes sends webhooks, and the same ones after each of three restarts.
func (t *trial) fourTimes(r *rig.Relay, restart func(i int, kill bool)) {
	t.must(r.AwaitReady(t.ctx))
	n, restarts := t.times(3, 15), 0
	for i := range n {
		t.round(i, n)
		ids := wave(fmt.Sprintf("task_%d", i), 300)
		_, o := r.Deliver(t.ctx, ids, 64)
		t.count(o)
		t.only(o)
		if o.Duplicates > 0 {
			t.fail("%d fresh webhooks were called duplicates", o.Duplicates)
		}
		before := sequences(o.Accepted)
		for range 3 {
			restart(restarts, t.rand.IntN(2) == 0)
			restarts++
			t.repeats(r.Sender, ids, before)
		}
	}
	t.note("%d restarts", restarts)
}

// end makes a process end at once, or in order.
func (t *trial) end(p *rig.Process, kill bool) {
	if kill {
		p.Kill()
		return
	}
	t.must(p.Signal(syscall.SIGTERM))
	code, err := p.Wait(t.ctx)
	t.must(err)
	// nats-server ends with 1 after a signal that it takes.
	if p.Name() == "relay" && code != 0 {
		t.fail("the relay was told to end, and did so with exit code %d", code)
	}
}
