package faults

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// Row is one line of the suite: a fault, and how it is brought about.
type Row struct {
	// Name is short and stays.
	Name string
	// Fault is what happens, Injected how it is brought about.
	Fault, Injected string

	aside  bool // it waits for more than it works, and runs beside the others
	idle   bool // it mostly waits, and for long: it runs beside all others
	clocks bool // it needs programs whose clocks can be stepped
	run    func(*trial)
}

// Rows are the whole suite.
func Rows() []Row {
	return slices.Concat(killRows, diskRows, powerRows, diskFullRows, brokerRows, clusterRows, senderRows, hostileRows, browserRows, protocolRows, rotationRows, rollingRows, limitRows, http2Rows, floodRows, operatorRows, logRows, streamRows, deletedRows, mirrorRows, laggingRows, removedRows, storeRows, subscriberRows, expectedRows, verifyRows, verifyStormRows)
}

// Suite is a run of some rows. Its functions may be called at the same time.
type Suite struct {
	Rows []Row
	// Full is the form for a release; without it all takes some minutes.
	Full bool
	// Seed is what all random numbers come from.
	Seed uint64
	// Relay is the program to be tried; if empty, it is built from this module.
	Relay string

	// Started, Progress and Ended tell how it goes on.
	Started  func(Row)
	Progress func(row Row, text string)
	Ended    func(Result)
	// Logs takes what the processes of a row that has failed wrote.
	Logs func(row Row, logs string) error
}

// asideAtOnce is how many rows that mostly wait run at the same time.
const asideAtOnce = 2

// Run runs the rows, one after the other but for those that mostly wait, and
// returns their results in the order of the rows. An error means that not all of
// them were run.
func (s *Suite) Run(ctx context.Context) ([]Result, error) {
	programs := newBuilds(ctx, s.Relay)
	results := make([]Result, len(s.Rows))
	try := func(i int) {
		if ctx.Err() == nil {
			results[i] = s.try(ctx, s.Rows[i], programs)
		}
	}
	var beside sync.WaitGroup
	turn := make(chan struct{}, asideAtOnce)
	var busy []int
	for i, r := range s.Rows {
		switch {
		case r.idle:
			beside.Go(func() { try(i) })
		case r.aside:
			beside.Go(func() {
				turn <- struct{}{}
				try(i)
				<-turn
			})
		default:
			busy = append(busy, i)
		}
	}
	for _, i := range busy {
		try(i)
	}
	beside.Wait()
	return results, errors.Join(ctx.Err(), programs.remove())
}

// The time for one row, in the short form and in the full one.
const (
	rowTimeShort = 4 * time.Minute
	rowTimeFull  = 20 * time.Minute
)

// try runs one row.
func (s *Suite) try(ctx context.Context, r Row, programs *builds) Result {
	s.Started(r)
	limit := rowTimeShort
	if s.Full {
		limit = rowTimeFull
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the row took longer than %s", limit))
	defer cancel()
	start := time.Now()
	t := &trial{
		ctx: ctx, full: s.Full, rand: rand.New(rand.NewPCG(s.Seed, hash(r.Name))), programs: programs,
		result:   &Result{Row: r.Name, Fault: r.Fault, Injected: r.Injected, Status: Passed},
		progress: func(text string) { s.Progress(r, text) },
		stalls:   watchStalls(),
	}
	err := s.guarded(t, r)
	t.stalls.end()
	t.result.Took = time.Since(start)
	switch {
	case errors.Is(err, errNotRun), errors.Is(err, errors.ErrUnsupported):
		t.result.Status, t.result.NotRun = NotRun, strings.TrimPrefix(err.Error(), errNotRun.Error()+": ")
	case err != nil:
		t.fail("%s", err)
	}
	if len(t.result.Failures) > 0 {
		t.result.Status = Failed
	}
	s.Ended(*t.result)
	return *t.result
}

// guarded runs a row with a rig of its own.
func (s *Suite) guarded(t *trial, r Row) (err error) {
	build := t.programs.plain
	if r.clocks {
		build = t.programs.clocks
	}
	programs, err := build()
	if err != nil {
		return err
	}
	if t.Rig, err = rig.New(programs); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			e, ok := p.(ended)
			if !ok {
				panic(p)
			}
			err = e.err
		}
		t.lookThroughLogs()
		if err != nil && !errors.Is(err, errNotRun) || len(t.result.Failures) > 0 {
			err = errors.Join(err, s.Logs(r, t.logs()))
		}
		err = errors.Join(err, t.Close())
	}()
	r.run(t)
	return nil
}

// hash makes the random numbers of a row its own, whichever others run.
func hash(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return h.Sum64()
}

// builds makes the programs when they are first needed.
type builds struct {
	// plain are the programs as users have them, clocks those whose clocks can be
	// stepped.
	plain, clocks func() (*rig.Programs, error)

	mu   sync.Mutex
	made []*rig.Programs
}

func newBuilds(ctx context.Context, relay string) *builds {
	b := &builds{}
	once := func(build func(context.Context) (*rig.Programs, error)) func() (*rig.Programs, error) {
		return sync.OnceValues(func() (*rig.Programs, error) {
			p, err := build(ctx)
			if err != nil {
				return nil, err
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.made = append(b.made, p)
			return p, nil
		})
	}
	b.plain = once(func(ctx context.Context) (*rig.Programs, error) {
		p, err := rig.Build(ctx)
		if err == nil && relay != "" {
			p.UseRelay(relay)
		}
		return p, err
	})
	b.clocks = once(rig.BuildWithClocks)
	return b
}

// remove deletes what was built.
func (b *builds) remove() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, p := range b.made {
		errs = append(errs, p.Remove())
	}
	return errors.Join(errs...)
}
