package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/disk"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// trial is one run of one row. Its methods that must succeed end the row when
// they do not: what the machine cannot do is no result of the relay's.
type trial struct {
	*rig.Rig
	ctx      context.Context
	full     bool
	rand     *rand.Rand
	programs *builds
	result   *Result
	rounds   [][]rig.Receipt // what got 200, in its order, round by round
	undone   disk.Loss       // what losses of power took away
	synced   float64         // webhooks that were made durable
	fsyncs   float64         // by so many fsyncs
	fresh    int             // webhooks that were sent beside a load
	stalls   *stalls
	progress func(string)
}

// ended is what ends a row early.
type ended struct{ err error }

// errNotRun is the error of a fault that cannot be brought about on this machine.
var errNotRun = errors.New("not run")

// must ends the row on an error of the rig. A fault that this machine or this
// user does not allow makes the row one that was not run.
func (t *trial) must(err error) {
	if err != nil {
		panic(ended{err})
	}
}

// notRun ends the row, since its fault cannot be brought about here.
func (t *trial) notRun(format string, args ...any) {
	panic(ended{fmt.Errorf("%w: "+format, append([]any{errNotRun}, args...)...)})
}

// mostFailures is how many are told: a relay that is wrong may be so a thousand times.
const mostFailures = 20

// fail notes that the relay broke a promise. The row goes on.
func (t *trial) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	switch n := len(t.result.Failures); {
	case n == mostFailures:
		text = "and others"
	case n > mostFailures:
		return
	}
	t.result.Failures = append(t.result.Failures, text)
}

// note adds a figure or a sentence that a reader of the table should know.
func (t *trial) note(format string, args ...any) {
	t.result.Notes = append(t.result.Notes, fmt.Sprintf(format, args...))
}

// times is how often something is done, in the short form and in the full one.
// The row tells how far it has come with [trial.round].
func (t *trial) times(short, full int) int {
	if t.full {
		return full
	}
	return short
}

// duration is how long something goes on, in the short form and in the full one.
func (t *trial) duration(short, full time.Duration) time.Duration {
	if t.full {
		return full
	}
	return short
}

// round says that one more round of so many begins.
func (t *trial) round(i, of int) {
	t.result.Rounds = i + 1
	t.progress(fmt.Sprintf("%d/%d", i+1, of))
}

// count adds what became of a load to the row's figures, as a round of its own:
// where in it something was lost is told by its order.
func (t *trial) count(o rig.Outcome) {
	t.rounds = append(t.rounds, o.Accepted)
	t.answered(o.Sent(), len(o.Accepted), o.Slowest)
}

// answered adds webhooks that are not looked for in the end.
func (t *trial) answered(sent, accepted int, slowest time.Duration) {
	t.result.Sent += sent
	t.result.Accepted += accepted
	t.result.Slowest = max(t.result.Slowest, slowest)
}

// recovered notes how long after the end of a fault a webhook was accepted again.
func (t *trial) recovered(took time.Duration) {
	t.result.Recovery = max(t.result.Recovery, took)
}

// recovers waits until the load has a webhook accepted after the fault has ended,
// and notes how long that took.
func (t *trial) recovers(load *rig.Load, since time.Time) {
	t.must(load.AwaitAccepted(t.ctx, 1))
	t.recovered(time.Since(since))
}

// refuses waits until so many of a load's webhooks have met a problem. A relay
// that accepts them all in spite of the fault ends the row.
func (t *trial) refuses(load *rig.Load, problem string, n int) {
	ctx, cancel := context.WithTimeoutCause(t.ctx, time.Minute, errors.New("nothing more was refused for a minute"))
	defer cancel()
	t.must(load.AwaitRefused(ctx, problem, n))
}

// audit reads the stream and holds every 200 against it: each must be there once,
// where its answer said.
func (t *trial) audit(url string) rig.Stored {
	stored, err := rig.Audit(t.ctx, url, stream)
	t.must(err)
	t.compare(stored)
	return stored
}

// compare is the audit of what was read.
func (t *trial) compare(stored rig.Stored) {
	var lost Lost
	elsewhere, example := 0, ""
	for _, accepted := range t.rounds {
		lost.add(lostOf(accepted, stored))
		for _, r := range accepted {
			if at := stored[r.ID]; len(at) == 1 && r.Stream == stream && at[0] != r.Sequence {
				elsewhere++
				example = fmt.Sprintf("%s is at %d, and its answer said %d", r.ID, at[0], r.Sequence)
			}
		}
	}
	t.rounds = nil
	if elsewhere > 0 {
		t.fail("%d webhooks are stored elsewhere than their answers said: %s", elsewhere, example)
	}
	twice := stored.Twice()
	t.result.Twice += len(twice)
	t.result.Lost.add(lost)
	if n := lost.Total(); n > 0 && !t.result.Control && !t.result.Disclosed {
		t.fail("%d webhooks got 200 and are not stored", n)
	}
	if len(twice) > 0 {
		t.fail("%d webhooks are stored twice, such as %s", len(twice), strings.Join(twice[:min(3, len(twice))], ", "))
	}
}

// lostOf tells where in a round those lie that are not stored.
func lostOf(accepted []rig.Receipt, stored rig.Stored) (l Lost) {
	first, last := len(accepted), -1 // of those that are stored
	for i, r := range accepted {
		if len(stored[r.ID]) > 0 {
			first, last = min(first, i), i
		}
	}
	for i, r := range accepted {
		switch {
		case len(stored[r.ID]) > 0:
		case i > last:
			l.End++
		case i < first:
			l.Prefix++
		default:
			l.Middle++
		}
	}
	return l
}

// again sends what got no 200 once more, as the sender would: it must be accepted,
// whether it had been stored or not.
func (t *trial) again(s *rig.Sender, o rig.Outcome) {
	_, repeats := s.Deliver(t.ctx, o.Open, 32)
	t.only(repeats)
	t.count(repeats)
}

// returns sends a new webhook to a relay that is back, notes how long that took
// since the fault, and sends what got no 200 again.
func (t *trial) returns(s *rig.Sender, o rig.Outcome, since time.Time) {
	fresh := fmt.Sprintf("back_%d", t.fresh)
	t.fresh++
	a, err := s.Post(t.ctx, fresh, "success")
	t.must(err)
	t.recovered(time.Since(since))
	t.answered(1, 0, a.Took)
	if a.Status == 200 {
		t.answered(0, 1, 0)
		t.rounds = append(t.rounds, []rig.Receipt{{ID: fresh, Stream: a.Stream, Sequence: a.Sequence}})
	} else {
		t.fail("the first webhook afterwards got %d %s", a.Status, a.Detail)
	}
	t.again(s, o)
}

// spare is what an answer may take beyond a budget: budgets of seconds are shorter than the
// relay's, but on a busy machine a process waits for its turn as long as ever. What forgets its
// budget takes longer than that.
const spare = 3 * time.Second

// within checks that no answer took longer than the budget that the relay was given. It takes
// into account that this machine is busy, or stood still.
func (t *trial) within(o rig.Outcome, budget time.Duration) {
	over := o.Slowest - budget
	switch {
	case over <= 0:
	case over <= max(spare, t.stalls.most()):
		t.note("an answer took %s of a budget of %s; this machine stood still for %s", o.Slowest.Round(time.Millisecond), budget, t.stalls.most().Round(time.Millisecond))
	default:
		t.fail("an answer took %s of a budget of %s", o.Slowest.Round(time.Millisecond), budget)
	}
}

// only checks that a load met no other refusals than these. Their names are those
// of the problems, or of [rig.NoAnswer].
func (t *trial) only(o rig.Outcome, expected ...string) {
	for problem, n := range o.Problems {
		found := false
		for _, e := range expected {
			found = found || e == problem
		}
		if !found {
			t.fail("%d webhooks met %q, which was not expected", n, problem)
		}
	}
}

// killed are the ways in which webhooks fare whose relay is killed.
var killed = []string{"refused", "reset", "closed"}

const stream = "APIXO"

// relay starts a relay with an external broker.
func (t *trial) relay(url string, environ ...string) *rig.Relay {
	return t.embedded(append([]string{"NATS_URL=" + url}, environ...)...)
}

// embedded starts a relay with the embedded broker, or with what the variables say.
func (t *trial) embedded(environ ...string) *rig.Relay {
	r, err := t.StartRelay(t.ctx, environ...)
	t.must(err)
	return r
}

// server starts a broker.
func (t *trial) server(config string) *rig.Server {
	s, err := t.NewServer(config)
	t.must(err)
	t.must(s.Start(t.ctx))
	return s
}

// cluster starts a cluster of three brokers.
func (t *trial) cluster() *rig.Cluster {
	c, err := t.NewCluster(3, rig.JetStream)
	t.must(err)
	t.must(c.Start(t.ctx, c.Servers...))
	return c
}

// proxy stands between a relay and a broker.
func (t *trial) proxy(s *rig.Server) *rig.Proxy {
	p, err := t.NewProxy(t.ctx, s.Addr())
	t.must(err)
	return p
}

// js is a plain client of a broker, until the row ends.
func (t *trial) js(url string) jetstream.JetStream {
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // else it writes to standard error
	t.must(err)
	context.AfterFunc(t.ctx, conn.Close)
	js, err := jetstream.New(conn)
	t.must(err)
	return js
}

// between is a duration drawn at random.
func (t *trial) between(low, high time.Duration) time.Duration {
	return low + time.Duration(t.rand.Int64N(int64(high-low)))
}

// sleep lets a fault last.
func (t *trial) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
		t.must(context.Cause(t.ctx))
	}
}

// logs are what all processes of the row wrote.
func (t *trial) logs() string {
	var b strings.Builder
	for i, p := range t.Processes() {
		fmt.Fprintf(&b, "=== %d %s\n%s\n", i, p.Name(), p.Log())
	}
	return b.String()
}

// lookThroughLogs looks for what no fault from outside is a reason for.
func (t *trial) lookThroughLogs() {
	for _, p := range t.Processes() {
		log := p.Log()
		for _, fault := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if p.Name() == "relay" && strings.Contains(log, fault) {
				t.fail("the relay's log has %q", fault)
			}
		}
	}
}

// Thousands writes a number with a comma before each three digits.
func Thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
