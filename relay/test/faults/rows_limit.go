package faults

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// limitRows are faults of what the machine has.
var limitRows = []Row{
	{
		Name: "no-descriptors", Fault: "more connections than file descriptors, external broker",
		Injected: "the running relay is limited to 60 more than it has, and twice as many idle connections as that limit are opened beside 16 busy ones; then one more brings a webhook",
		run:      func(t *trial) { s := t.server(rig.JetStream); t.withoutDescriptors(t.relay(s.URL()), s.URL) },
	},
	{
		Name: "no-descriptors-embedded", Fault: "more connections than file descriptors, embedded broker",
		Injected: "the same, where the broker needs descriptors for its files too",
		run: func(t *trial) {
			r := t.embedded()
			t.withoutDescriptors(r, func() string { return r.Broker })
		},
	},
	{
		Name: "memory-burst", Fault: "the largest bodies, more at once than are taken",
		Injected: "1,152 webhooks of 256 KiB whose events are twice as large, all held back before their last byte until every other byte is there, and then let go at once; the peak is the resident set's (VmHWM), without a limit by the kernel",
		run:      memoryBurst,
	},
	{
		Name: "slow-connections", Fault: "slow and idle connections",
		Injected: "500 connections (5,000 in the full form) that send nothing, or their headers or bodies byte by byte, with a token and without, and never end by themselves, beside good webhooks",
		run:      slowConnections,
	},
}

// crowd are connections on which nothing is sent.
type crowd []net.Conn

// join opens one more.
func (c *crowd) join(t *trial, addr string) {
	conn, err := new(net.Dialer).DialContext(t.ctx, "tcp", addr)
	t.must(err)
	*c = append(*c, conn)
}

func (c *crowd) leave() {
	for _, conn := range *c {
		_ = conn.Close() // whatever the other end did
	}
	*c = nil
}

const spareDescriptors = 60

// withoutDescriptors has more connections opened than a relay has descriptors.
func (t *trial) withoutDescriptors(r *rig.Relay, url func() string) {
	// So large that an embedded broker has to begin a new file in each round.
	load := r.StartLoad(t.ctx, "task", rig.Pace{Workers: 16, Padding: 20_000})
	t.must(load.AwaitAccepted(t.ctx, 200)) // all connections are there, and all files are open
	open, err := r.Descriptors()
	t.must(err)
	limit := open + spareDescriptors
	t.must(r.LimitDescriptors(limit))
	t.must(rig.OwnDescriptors(4 * limit))
	n := t.times(2, 6)
	for i := range n {
		t.round(i, n)
		t.crowdedOut(r, load, fmt.Sprintf("new_%d", i), 2*limit)
	}
	o := load.Stop()
	t.count(o)
	t.only(o)
	t.within(o, budget)
	t.must(r.Healthy(t.ctx))
	t.audit(url())
	if text := "too many open files"; strings.Contains(r.Log(), text) {
		t.fail("the relay met %q", text)
	}
}

// crowdedOut opens connections on which nothing is sent, and then one with a webhook.
func (t *trial) crowdedOut(r *rig.Relay, load *rig.Load, id string, connections int) {
	var idle crowd
	defer idle.leave()
	for range connections {
		idle.join(t, r.Addr())
	}
	there := time.Now()
	t.must(load.AwaitAccepted(t.ctx, 500))
	a, err := t.NewSender(r.URL()).Post(t.ctx, id, "success")
	if err != nil || a.Status != 200 {
		t.fail("amid %d idle connections a new one got %+v, %v", connections, a, err)
		return
	}
	t.recovered(time.Since(there))
	t.rounds = append(t.rounds, []rig.Receipt{{ID: a.TaskID, Stream: a.Stream, Sequence: a.Sequence}})
	t.answered(1, 1, a.Took)
}

const (
	largestBody = 256 << 10 // RELAY_MAX_BODY_BYTES
	inFlight    = 1024      // RELAY_MAX_IN_FLIGHT
	burst       = inFlight + inFlight/8
	// memoryBound is what the README says for these.
	memoryBound = 300<<20 + inFlight*(3*largestBody+32<<10) + 2*inFlight*64<<10
)

func memoryBurst(t *trial) {
	t.must(rig.OwnDescriptors(2 * burst))
	r := t.embedded()
	n := t.times(1, 3)
	for i := range n {
		t.round(i, n)
		t.burst(r, i)
	}
	peak, err := r.PeakMemory()
	t.must(err)
	if t.note("at its peak the relay had %d MiB of memory; the README's bound is %d MiB", peak>>20, memoryBound>>20); peak > memoryBound {
		t.fail("the relay's memory came to %d MiB, over the README's bound of %d MiB", peak>>20, memoryBound>>20)
	}
	t.must(r.Healthy(t.ctx))
	t.audit(r.Broker)
}

// burst sends more webhooks at once than the relay takes.
func (t *trial) burst(r *rig.Relay, round int) {
	answers, errs := make([]rig.Answer, burst), make([]error, burst)
	// The senders of all rows are in this process, and should not wait for its collector.
	filler := strings.Repeat("a", largestBody)
	var sending, there sync.WaitGroup
	there.Add(burst)
	letGo := make(chan struct{})
	for i := range burst {
		sending.Go(func() {
			conn := r.NewConn()
			defer conn.Close()
			body := rig.LargeWebhook(fmt.Sprintf("large_%d_%d", round, i), largestBody, filler)
			end := len(body[2]) - 1
			// Who is refused at once cannot send the rest, and reads why.
			err := conn.Send(t.ctx, fmt.Sprintf("POST /webhook/apixo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", largestBody), body[0], body[1], body[2][:end])
			there.Done()
			<-letGo
			if err == nil {
				_ = conn.Send(t.ctx, body[2][end:])
			}
			answers[i], errs[i] = conn.Answer("POST")
		})
	}
	there.Wait()
	most := 0.0
	// The relay waits no longer for the rest of a body.
	for start := time.Now(); most < inFlight && time.Since(start) < 8*time.Second; {
		now, err := r.Metric(t.ctx, "apixo_relay_in_flight_requests")
		if err != nil {
			t.fail("the burst kept the relay from telling its metrics: %s", err)
		}
		most = max(most, now)
	}
	close(letGo)
	sending.Wait()
	if most < inFlight {
		t.fail("only %.0f webhooks were in flight at once, and %d were to be", most, inFlight)
	}
	o := rig.Outcome{Problems: make(map[string]int)}
	for i, a := range answers {
		o.Slowest = max(o.Slowest, a.Took)
		switch {
		case errs[i] != nil:
			o.Problems[rig.NoAnswer(errs[i])]++
		case a.Status == 200:
			o.Accepted = append(o.Accepted, rig.Receipt{ID: a.TaskID, Stream: a.Stream, Sequence: a.Sequence})
			continue
		default:
			o.Problems[a.Problem()]++
		}
		o.Open = append(o.Open, fmt.Sprintf("large_%d_%d", round, i))
	}
	t.count(o)
	// A machine that takes more than 10 s for all of it, or whose disk takes more than 20,
	// is told so by the relay.
	t.only(o, "overloaded", "body-too-slow", "broker-unavailable")
	t.within(o, 20*time.Second)
	t.note("%d of %d were in flight at once, %d were too many", int(most), burst, o.Problems["overloaded"])
}
