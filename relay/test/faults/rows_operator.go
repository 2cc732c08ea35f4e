package faults

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// operatorRows are faults of what operators do.
var operatorRows = []Row{
	{
		Name: "relay-stopped", Fault: "the relay is stopped (SIGTERM)",
		Injected: "SIGTERM at a random moment under 64 busy, 16 slow, 8 silent and 8 ever new connections, every third time with TLS and HTTP/2 besides; every other time all go elsewhere within 0.7 s, as when endpoints are removed, else they keep coming",
		run:      relayStopped,
	},
	{
		Name: "clock-stepped", Fault: "a clock is stepped by an hour", aside: true,
		Injected: "forward and back, to either side, under 32 connections: the clock of the relay, of its broker, of both, and of a relay with an embedded broker; each while the one that stores is frozen for up to 0.2 s, with a duplicate window of 2 h also while it is killed",
		clocks:   true, run: clockStepped,
	},
}

// stopTimeout is the time for an orderly end, and present who is there then.
const stopTimeout = 5 * time.Second

// silence is what the relay takes for the end of it, with that time: senders who
// stand still, because their machine does, are silent.
const silence = stopTimeout / 10

var present = rig.WirePace{Busy: 64, Slow: 16, Silent: 8, Fresh: 8, Pause: time.Second}

func relayStopped(t *trial) {
	cert, key, err := t.NewCertificate()
	t.must(err)
	environ := []string{"RELAY_SHUTDOWN_TIMEOUT=" + stopTimeout.String()}
	plain := t.embedded(environ...)
	secure := t.embedded(append(environ, "RELAY_TLS_CERT_FILE="+cert, "RELAY_TLS_KEY_FILE="+key)...)
	s := &stops{trial: t, cut: make(map[string]int)}
	n := t.times(6, 100)
	for i := range n {
		t.round(i, n)
		if i%3 == 2 {
			s.stop(secure, fmt.Sprintf("task_%d", i), i%2 == 1)
		} else {
			s.stop(plain, fmt.Sprintf("task_%d", i), i%2 == 1)
		}
	}
	s.tell()
	stored, err := rig.Audit(t.ctx, plain.Broker, stream)
	t.must(err)
	more, err := rig.Audit(t.ctx, secure.Broker, stream)
	t.must(err)
	maps.Copy(stored, more) // no id was sent to both
	t.compare(stored)
}

// stops is what a relay was stopped with, many times.
type stops struct {
	*trial
	cut                map[string]int // requests on a connection without an answer
	refused, elsewhere int
	times              int // it was stopped
	longest            time.Duration
}

// stop stops a relay under load, and starts it again.
func (s *stops) stop(r *rig.Relay, prefix string, goAway bool) {
	wire, err := r.StartWireLoad(s.ctx, prefix, present)
	s.must(err)
	loads := []*rig.Load{wire.Load}
	if r.Secure() {
		loads = append(loads, r.StartLoad(s.ctx, prefix+"_h2", rig.Pace{}))
	}
	for _, load := range loads {
		s.must(load.AwaitAccepted(s.ctx, 200))
	}
	s.sleep(s.between(0, 300*time.Millisecond))
	s.must(r.Signal(syscall.SIGTERM))
	s.times++
	stopped := time.Now()
	var away sync.WaitGroup
	if goAway {
		at := s.between(0, 700*time.Millisecond)
		away.Go(func() {
			select {
			case <-time.After(at):
			case <-s.ctx.Done():
			}
			wire.GoAway()
			for _, load := range loads[1:] {
				load.Stop() // which makes connections as it likes
			}
		})
	}
	if !goAway {
		for _, load := range loads {
			s.must(load.AwaitAccepted(s.ctx, 1)) // amid the end
		}
	}
	soon, cancel := context.WithTimeout(s.ctx, time.Second)
	if err := r.AwaitNotReady(soon, "shutting down"); err != nil {
		s.fail("%s", err)
	}
	cancel()
	code, err := r.Wait(s.ctx)
	s.must(err)
	took := time.Since(stopped)
	away.Wait()
	s.longest = max(s.longest, took)
	if code != 0 || took > stopTimeout+s.stalls.most() {
		s.fail("the relay ended with code %d after %s", code, took)
	}
	s.must(r.Restart(s.ctx))
	for _, load := range loads {
		if !goAway {
			s.recovers(load, time.Now())
		}
		// A client of HTTP/2 that is told twice to make another connection waits for a
		// second before it does, and comes late.
		s.end(r, load.Stop(), goAway && load == wire.Load)
	}
}

// end counts what became of a load, none of which may have been cut off.
func (s *stops) end(r *rig.Relay, o rig.Outcome, goAway bool) {
	s.count(o)
	s.within(o, budget)
	for problem, n := range o.Problems {
		switch {
		case problem != "refused":
			s.cut[problem] += n
		case goAway:
			s.elsewhere += n
		default:
			s.refused += n
		}
	}
	s.again(r.Sender, o)
}

// tell sums up.
func (s *stops) tell() {
	for _, problem := range slices.Sorted(maps.Keys(s.cut)) {
		s.fail("%d webhooks that were sent on a connection met %q", s.cut[problem], problem)
	}
	switch {
	case s.elsewhere == 0:
	case s.stalls.most() > silence/2, s.elsewhere <= s.times/8:
		// One sender of many can be held back for that long by itself, on a machine
		// that is full. A relay that closes too early refuses hundreds.
		s.note("%d connections were refused within 0.7 s of the signal, and this machine stood still for %s", s.elsewhere, s.stalls.most().Round(time.Millisecond))
	default:
		s.fail("%d connections were refused within 0.7 s of the signal", s.elsewhere)
	}
	s.note("the relay ended within %.1f s; %d connections were refused while it was away", s.longest.Seconds(), s.refused)
}
