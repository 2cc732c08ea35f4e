package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
	"github.com/apixo-relay/apixo-relay/relay/test/upgrade"
)

// rollingRows are two versions beside each other.
var rollingRows = []Row{
	{
		Name: "rolling-update", Fault: "three relays are updated to another version and back, one after the other", aside: true,
		Injected: "SIGTERM under load, and started again as the other version, at three brokers (R3), behind a balancer that sends new connections elsewhere up to 0.7 s after the signal and again when the relay is ready; the same webhooks come twice, to any of the versions, and so does what is quarantined; every other update has RELAY_STREAM_POLICY=update",
		run:      rollingUpdate,
	},
}

const (
	rolled = 3 // relays
	// leaveTime is how long new connections still come after the signal, at the most.
	leaveTime = 700 * time.Millisecond
	// mostRetries is how often APIXO delivers a webhook again that got no 200.
	mostRetries = 3
)

// fleet is relays behind a balancer.
type fleet struct {
	*trial
	relays      []*rig.Relay
	balancer    *balancer
	kept, fresh *rig.Sender // on connections that are kept, and on one for each webhook
	programs    [2]string   // the other version, and this one
	bodies      keptBodies
	retries     int
}

func rollingUpdate(t *trial) {
	f := &fleet{trial: t, balancer: new(balancer), programs: t.versions(), bodies: make(keptBodies)}
	c := t.cluster()
	for range rolled {
		r, err := t.StartOtherRelay(t.ctx, f.programs[0], "NATS_URL="+c.URL(), replicated, "RELAY_SHUTDOWN_TIMEOUT="+stopTimeout.String())
		t.must(err)
		t.must(r.AwaitReady(t.ctx))
		f.relays = append(f.relays, r)
		f.balancer.add(r)
	}
	url := f.relays[0].URL() // whose host is the balancer's choice
	f.kept = t.NewSenderOver(url, &http.Transport{DialContext: f.balancer.dial})
	f.fresh = t.NewSenderOver(url, &http.Transport{DialContext: f.balancer.dial, DisableKeepAlives: true})
	n := t.times(2, 10)
	for i := range n {
		t.round(i, n)
		f.update(fmt.Sprintf("task_%d", i), f.programs[(i+1)%2], []string{"create", "update"}[i/2%2])
	}
	t.audit(c.URL())
	t.quarantineHolds(c.URL(), f.bodies)
	t.note("%d webhooks got no 200 at first, and did by one of the sender's %d retries", f.retries, mostRetries)
}

// versions are the programs of an earlier version and of this one.
func (t *trial) versions() [2]string {
	p, err := t.programs.plain()
	t.must(err)
	v, file, err := upgrade.Before(t.ctx, p, ".")
	if _, missing := errors.AsType[*rig.NoRevisionError](err); missing {
		t.note("the other version is this one under another name, since this clone has no earlier one in its history")
		file, err = p.BuildVersion(t.ctx, ".", "", "other")
	} else {
		t.note("the other version is %s", v.Name)
	}
	t.must(err)
	return [2]string{file, p.Relay()}
}

// update brings one relay after the other to a program, under load.
func (f *fleet) update(prefix, program, policy string) {
	pace := rig.Pace{Workers: 8, Pause: 10 * time.Millisecond}
	loads := []*rig.Load{
		f.kept.StartLoad(f.ctx, prefix+"_kept", pace), f.fresh.StartLoad(f.ctx, prefix+"_fresh", pace),
		// The same webhooks, twice.
		f.kept.StartLoad(f.ctx, prefix+"_both", pace), f.fresh.StartLoad(f.ctx, prefix+"_both", pace),
	}
	for _, r := range f.relays {
		for _, load := range loads {
			f.must(load.AwaitAccepted(f.ctx, 20))
		}
		f.replace(r, program, policy)
		f.quarantine(r, prefix)
	}
	for _, load := range loads {
		o := load.Stop()
		// One that is told to end takes what comes until nothing comes any more, for which
		// it takes senders who stand still, because their machine does.
		if f.stalls.most() < silence/4 {
			f.only(o)
		} else {
			f.only(o, killed...)
		}
		f.count(o)
		f.retry(o.Open)
	}
}

// replace ends a relay and starts it as another program.
func (f *fleet) replace(r *rig.Relay, program, policy string) {
	f.must(r.Signal(syscall.SIGTERM))
	at := f.between(0, leaveTime)
	var leaving sync.WaitGroup
	leaving.Go(func() {
		select {
		case <-time.After(at):
		case <-f.ctx.Done():
		}
		f.balancer.remove(r)
	})
	code, err := r.Wait(f.ctx)
	leaving.Wait()
	f.must(err)
	if code != 0 {
		f.fail("a relay that was told to end did so with exit code %d", code)
	}
	r.Program = program
	r.Set("RELAY_STREAM_POLICY=" + policy)
	f.must(r.Restart(f.ctx))
	f.must(r.AwaitReady(f.ctx))
	f.balancer.add(r)
}

// quarantine sends to each relay what is refused, and what contradicts a task.
func (f *fleet) quarantine(r *rig.Relay, prefix string) {
	post := func(body string, status int) {
		a, err := r.PostBody(f.ctx, body)
		f.must(err)
		if a.Status != status {
			f.fail("%.80s got %d %s", body, a.Status, a.Detail)
		}
	}
	task := prefix + "_contradicted"
	rejected, first, other := prefix+" is not JSON", rig.Webhook(task, "success", 0), rig.Webhook(task, "failed", 0)
	post(rejected, http.StatusBadRequest)
	post(first, http.StatusOK)
	post(other, http.StatusOK)
	f.bodies.rejected(rejected)
	f.bodies.conflict(other, task)
}

// retry delivers what got no 200 again, as often as the sender would.
func (f *fleet) retry(open []string) {
	f.retries += len(open)
	for try := 0; len(open) > 0; try++ {
		if try == mostRetries {
			f.fail("%d webhooks got no 200 by %d retries, such as %s", len(open), mostRetries, open[0])
			return
		}
		_, o := f.fresh.Deliver(f.ctx, open, 8)
		f.count(o)
		open = o.Open
	}
}

// balancer makes each new connection to the next one of some relays.
type balancer struct {
	mu    sync.Mutex
	addrs []string
	next  int
}

func (b *balancer) add(r *rig.Relay) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addrs = append(b.addrs, r.Addr())
}

func (b *balancer) remove(r *rig.Relay) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addrs = slices.DeleteFunc(b.addrs, func(addr string) bool { return addr == r.Addr() })
}

// dial is for [http.Transport].
func (b *balancer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	b.mu.Lock()
	b.next++
	addr := b.addrs[b.next%len(b.addrs)]
	b.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, network, addr)
}
