//go:build system

package upgrade

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	// The cache of test results must see when the program that is run has changed.

	_ "github.com/apixo-relay/apixo-relay/relay"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// root is that of the repository.
const root = "../../.."

// patience is how long a test may take, after the programs have been built.
const patience = 3 * time.Minute

// programs are today's and, of earlier versions, the newest that the history has.
var programs = sync.OnceValues(func() (p struct {
	today, before string
	version       Version
	noBefore      error // why there is none
}, err error) {
	ctx := context.Background()
	if built, err = rig.Build(ctx); err != nil {
		return p, err
	}
	p.today = built.Relay()
	p.version, p.before, err = Before(ctx, built, root)
	if _, ok := errors.AsType[*rig.NoRevisionError](err); ok {
		p.noBefore, err = err, nil
	}
	return p, err
})

// bench is one test's rig.
type bench struct {
	*testing.T
	*rig.Rig
	ctx    context.Context
	today  program
	before program // nothing if the history has no earlier version
}

// program is a version of the relay.
type program struct {
	file string
	name string
	// early is one of before v1.0.0, which does some things otherwise: see TestWhatCannotGoBack.
	early bool
}

func newBench(t *testing.T) *bench {
	t.Helper()
	p, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	r, err := rig.New(built)
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
			if t.Failed() {
				t.Logf("the log of %s:\n%s", p.Name(), p.Log())
			} else if log := p.Log(); strings.Contains(log, "WARNING: DATA RACE") || strings.Contains(log, "panic: ") {
				t.Errorf("%s has a fault of its own:\n%s", p.Name(), log)
			}
		}
	})
	b := &bench{T: t, Rig: r, ctx: ctx, today: program{file: p.today, name: "today"}}
	if p.noBefore == nil {
		b.before = program{file: p.before, name: p.version.Name, early: p.version == Versions[0]}
	}
	return b
}

// needsBefore skips a test that is about an earlier version where there is none to be built.
func (b *bench) needsBefore() {
	b.Helper()
	if b.before.file == "" {
		p, _ := programs()
		b.Skip(p.noBefore)
	}
}

// must fails the test on an error.
func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// stop ends a relay, which has to do so in order.
func (b *bench) stop(relay *rig.Relay) {
	b.Helper()
	code, err := relay.Stop(b.ctx)
	b.must(err)
	if code != 0 {
		b.Fatalf("the relay ended with exit code %d", code)
	}
}
