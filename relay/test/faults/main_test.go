//go:build system

package faults

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	// The cache of test results must see when the program that is run has changed.

	_ "github.com/apixo-relay/apixo-relay/relay"
	"github.com/apixo-relay/apixo-relay/relay/test/leaktest"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

var programs = sync.OnceValues(func() (*rig.Programs, error) { return rig.Build(context.Background()) })

// clockPrograms are those whose clock can be stepped. A test asks for them before
// it is parallel: what makes them would slow down the others.
var (
	clockPrograms = sync.OnceValues(func() (p *rig.Programs, err error) {
		steppable, err = rig.BuildWithClocks(context.Background())
		return steppable, err
	})
	steppable *rig.Programs
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Three times as many at once as there are processors: they mostly wait.
	parallel := flag.Lookup("test.parallel").Value.(flag.Getter).Get().(int)
	if err := flag.Set("test.parallel", strconv.Itoa(3*parallel)); err != nil {
		panic(err)
	}
	code := leaktest.Run(m)
	if p, err := programs(); err == nil {
		if err := p.Remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if steppable != nil {
		if err := steppable.Remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// patience is how long a test may take: longer than a few elections, or than a
// connection takes to be called dead.
const patience = 2 * time.Minute

// bench is one test's rig.
type bench struct {
	*testing.T
	*rig.Rig
	ctx context.Context
}

func newBench(t *testing.T) *bench {
	t.Helper()
	p, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return newBenchOf(t, p)
}

func newBenchOf(t *testing.T, p *rig.Programs) *bench {
	t.Helper()
	r, err := rig.New(p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(func() {
		cancel()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		for _, p := range r.Processes() {
			log := p.Log()
			if strings.Contains(log, "WARNING: DATA RACE") || strings.Contains(log, "panic: ") {
				t.Errorf("%s has a fault of its own", p.Name())
			}
			if t.Failed() {
				t.Logf("the log of %s:\n%s", p.Name(), log)
			}
		}
	})
	return &bench{T: t, Rig: r, ctx: ctx}
}

// must fails the test on an error of the rig.
func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// server is a running server with JetStream.
func (b *bench) server() *rig.Server {
	b.Helper()
	return b.serverWith(rig.JetStream)
}

func (b *bench) serverWith(config string) *rig.Server {
	b.Helper()
	s, err := b.NewServer(config)
	b.must(err)
	b.must(s.Start(b.ctx))
	return s
}

func (b *bench) relay(url string, environ ...string) *rig.Relay {
	b.Helper()
	r, err := b.StartRelay(b.ctx, append([]string{"NATS_URL=" + url}, environ...)...)
	b.must(err)
	return r
}

func (b *bench) proxy(s *rig.Server) *rig.Proxy {
	b.Helper()
	p, err := b.NewProxy(b.ctx, s.Addr())
	b.must(err)
	return p
}

// js is a plain client.
func (b *bench) js(url string) jetstream.JetStream {
	b.Helper()
	return natstest.JetStream(b.T, url)
}

// accepted posts a webhook that must get 200, and returns the answer.
func (b *bench) accepted(s *rig.Sender, id string) rig.Answer {
	b.Helper()
	a, err := s.Post(b.ctx, id, "success")
	b.must(err)
	if a.Status != 200 || a.TaskID != id || a.Stream != "APIXO" || a.Sequence == 0 {
		b.Fatalf("%s got %+v", id, a)
	}
	return a
}

// refused posts a webhook that must get a 503 of that kind, inside the time.
func (b *bench) refused(s *rig.Sender, id, problem string, budget time.Duration) {
	b.Helper()
	a, err := s.Post(b.ctx, id, "success")
	b.must(err)
	b.isRefused(a, problem, budget)
}

func (b *bench) isRefused(a rig.Answer, problem string, budget time.Duration) {
	b.Helper()
	if a.Status != 503 || a.Problem() != problem {
		b.Errorf("the answer is %+v, want 503 and %s", a, problem)
	}
	if a.Took > budget+spare {
		b.Errorf("the answer took %s of a budget of %s", a.Took, budget)
	}
}

// noticing is how soon readiness has to tell what senders are told.
const noticing = 10 * time.Second

// notReady waits until readiness names a cause, which comes soon after a refusal.
func (b *bench) notReady(r *rig.Relay, cause string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, noticing)
	defer cancel()
	if err := r.AwaitNotReady(ctx, cause); err != nil {
		b.Error(err)
	}
}

// logged waits until the relay's log, which is written beside all else, has these texts.
func (b *bench) logged(r *rig.Relay, texts ...string) {
	b.Helper()
	lacks := func(text string) bool { return !strings.Contains(r.Log(), text) }
	for end := time.Now().Add(noticing); slices.ContainsFunc(texts, lacks); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("the log does not say %q", texts)
		}
	}
}

// ready waits until the relay says that it would accept a webhook.
func (b *bench) ready(r *rig.Relay) {
	b.Helper()
	b.must(r.AwaitReady(b.ctx))
}

func (b *bench) stored(url string) rig.Stored {
	b.Helper()
	stored, err := rig.Audit(b.ctx, url, "APIXO")
	b.must(err)
	return stored
}

// settle is the end of a load that saw a fault: what was accepted is there, and
// what was not gets accepted now, whether it had been stored or not. In the end
// each id is there once.
func (b *bench) settle(s *rig.Sender, url string, o rig.Outcome) {
	b.Helper()
	b.Log(o)
	if missing := b.stored(url).Missing(o.IDs()); len(missing) > 0 {
		b.Errorf("%d webhooks got 200 and are not stored: %q", len(missing), few(missing))
	}
	late := 0
	for _, id := range o.Open {
		if b.accepted(s, id).Duplicate {
			late++
		}
	}
	b.Logf("%d of those without a 200 had been stored", late)
	stored := b.stored(url)
	if missing := stored.Missing(append(o.IDs(), o.Open...)); len(missing) > 0 {
		b.Errorf("%d webhooks are not stored in the end: %q", len(missing), few(missing))
	}
	if twice := stored.Twice(); len(twice) > 0 {
		b.Errorf("%d webhooks are stored twice: %q", len(twice), few(twice))
	}
	if extra := len(stored) - len(o.Open) - len(o.Accepted); extra > 0 {
		b.Logf("the stream has %d more", extra)
	}
}

// onlyProblems checks that a load met no other refusals than these.
func (b *bench) onlyProblems(o rig.Outcome, expected ...string) {
	b.Helper()
	rest := make(map[string]int)
	for problem, n := range o.Problems {
		rest[problem] = n
	}
	for _, problem := range expected {
		delete(rest, problem)
	}
	if len(rest) > 0 {
		b.Errorf("the load met %v, expected only %q", rest, expected)
	}
}

func taskID(i int) string { return fmt.Sprintf("task_%d", i) }

// few are the first of many ids, for an error's text.
func few(ids []string) []string { return ids[:min(len(ids), 10)] }
