package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// growth is what is measured while a store grows and after that.
type growth struct {
	Facts    facts     `json:"facts"`
	Sections []section `json:"sections"`
	Starts   []start   `json:"starts"`
	Problems []string  `json:"problems"` // checks that failed

	options      growOptions
	program, dir string
	samples      []sample
	running      *process // the relay, or the last one
	loadCPU      []number
}

// sample says how many events had been stored at some time.
type sample struct {
	at     time.Time
	stored int
}

// usage is what the relay takes at some time.
type usage struct {
	Stored   int    `json:"stored"`
	InWindow int    `json:"idsInWindow"` // stored no longer ago than the window is long
	RSS      number `json:"rssMebibytes"`
	Anon     number `json:"rssAnonMebibytes"`
	Heap     number `json:"heapMebibytes"` // of Go: the least that was seen
}

// section is a part of the load, at its end.
type section struct {
	usage
	PerSecond     number `json:"requestsPerSecond"`
	P99           number `json:"p99Milliseconds"`
	CPU           number `json:"cpuMicroseconds"` // for each event
	Store         number `json:"storeMebibytes"`
	StorePerEvent number `json:"storeBytesPerEvent"`
}

// start is one on the grown store, when the relay is ready.
type start struct {
	Name string `json:"start"`
	usage
	Stop  number `json:"stopMilliseconds"` // the end before it, if it was in order
	Ready number `json:"readyMilliseconds"`
	CPU   number `json:"cpuMilliseconds"`
}

const (
	// starts on the grown store, the last of them with the shortest window that
	// there can be.
	starts   = 3
	noWindow = 100 * time.Millisecond

	// sliceTime is how often the load pauses for its last answers, to see how many
	// events are stored.
	sliceTime = 500 * time.Millisecond
)

func (g *growth) measure(ctx context.Context, program, dir string) (err error) {
	g.program, g.dir = program, dir
	o, need := g.options, uint64(g.options.events)*diskPerEvent
	if free, err := freeBytes(dir); err == nil && free < need {
		return fmt.Errorf("%d events need about %d MiB of disk, and %s has %d MiB: name another disk with --dir, or choose fewer --events",
			o.events, need>>20, filepath.Dir(dir), free>>20)
	}
	fsyncs, err := probeFsync(dir)
	if err != nil {
		return fmt.Errorf("fsync cannot be measured: %w", err)
	}
	defer func() {
		if g.running != nil {
			g.running.stop()
		}
	}()
	if err := g.launch(ctx, "load", o.window); err != nil {
		return err
	}
	if err := g.grow(ctx); err != nil {
		return err
	}
	last := lastID.Load()
	g.running.kill()
	if err := g.restart(ctx, "after SIGKILL", o.window, notMeasured, last); err != nil {
		return err
	}
	if err := g.restart(ctx, "after SIGTERM", o.window, g.end(), last); err != nil {
		return err
	}
	g.end()
	// Here the ids leave the window of the stream, and the memory at the next start.
	if err := g.launch(ctx, "shorter window", noWindow); err != nil {
		return err
	}
	if err := g.restart(ctx, "empty window", noWindow, g.end(), last); err != nil {
		return err
	}
	g.end()
	g.Facts, err = gather(program, dir, g.running.ready["version"], fsyncs, g.loadCPU)
	return err
}

// launch starts the relay with this window.
func (g *growth) launch(ctx context.Context, name string, window time.Duration) error {
	g.options.progress.say("starting the relay: " + name)
	relay, err := startProcess(ctx, strings.ReplaceAll(name, " ", "-"), g.dir, g.program, nil, relayEnviron(filepath.Join(g.dir, "data"),
		"RELAY_EMBEDDED_SYNC="+g.options.sync, "RELAY_DEDUPE_WINDOW="+window.String(), "RELAY_STREAM_POLICY=update"))
	if err == nil {
		g.running = relay
	}
	return err
}

// end stops the relay in order, and says how long that took.
func (g *growth) end() number {
	begin := time.Now()
	g.running.stop()
	if state := g.running.cmd.ProcessState; !state.Success() {
		g.problem("the relay did not end in order: %v; its log ends:\n%s", state, g.running.lastLog())
	}
	return milliseconds(time.Since(begin))
}

func (g *growth) problem(format string, args ...any) {
	g.Problems = append(g.Problems, fmt.Sprintf(format, args...))
}

// grow sends webhooks until all are stored, section by section.
func (g *growth) grow(ctx context.Context) error {
	o := g.options
	target, err := g.running.target(`"duplicate":false`)
	if err != nil {
		return err
	}
	crew, err := target.dial(ctx, o.connections)
	if err != nil {
		return err
	}
	defer crew.close()
	admin := newScraper(g.running)
	defer admin.close()
	var quota atomic.Int64
	for _, c := range crew {
		c.quota = &quota
	}
	stored := 0
	g.samples = append(g.samples, sample{time.Now(), 0})
	for _, bound := range o.bounds() {
		begun, least, took := stored, notMeasured, time.Duration(0)
		var latencies []uint32
		relay, load := newMeter(g.running.cmd.Process.Pid), newMeter(os.Getpid())
		for stored < bound {
			o.progress.say(fmt.Sprintf("%s of %s events", whole(number(stored)), whole(number(o.events))))
			quota.Store(int64(bound - stored))
			part := crew.run(ctx, sliceTime, 0)
			if err := cmp.Or(context.Cause(ctx), g.running.ended()); err != nil {
				return err
			}
			if len(part.failures) > 0 {
				return fmt.Errorf("after %d events, webhooks failed: %v; the relay's log ends:\n%s", stored, part.failures, g.running.lastLog())
			}
			stored += len(part.latencies)
			took += part.took
			latencies = append(latencies, part.latencies...)
			g.samples = append(g.samples, sample{time.Now(), stored})
			if heap, _, err := admin.heap(ctx); err == nil && !(heap >= least) {
				least = heap
			}
		}
		size, n := number(bytesIn(filepath.Join(g.dir, "data"))), stored-begun
		g.loadCPU = append(g.loadCPU, load.per(n))
		g.Sections = append(g.Sections, section{
			usage: g.usage(stored, o.window, least), PerSecond: number(float64(n) / took.Seconds()), P99: milliseconds(percentile(latencies, 99)),
			CPU: relay.per(n), Store: size / (1 << 20), StorePerEvent: size / number(stored),
		})
		o.progress.step()
	}
	return nil
}

// usage is what the relay takes now.
func (g *growth) usage(stored int, window time.Duration, heap number) usage {
	pid := g.running.cmd.Process.Pid
	return usage{stored, g.inWindow(window), memory(pid, "VmRSS"), memory(pid, "RssAnon"), heap}
}

// inWindow is how many events were stored no longer ago than the window is long.
func (g *growth) inWindow(window time.Duration) int {
	all, begin := g.samples[len(g.samples)-1].stored, time.Now().Add(-window)
	next := slices.IndexFunc(g.samples, func(s sample) bool { return s.at.After(begin) })
	switch next {
	case -1:
		return 0
	case 0:
		return all
	}
	from, to := g.samples[next-1], g.samples[next]
	share := begin.Sub(from.at).Seconds() / to.at.Sub(from.at).Seconds()
	return all - from.stored - int(share*float64(to.stored-from.stored))
}

// restart starts the relay on the grown store, and checks what it has. What the
// memory is when all has settled is measured where no crash came before.
func (g *growth) restart(ctx context.Context, name string, window time.Duration, stopped number, last uint64) error {
	inWindow := g.inWindow(window) // later there are fewer
	if err := g.launch(ctx, name, window); err != nil {
		return err
	}
	s := start{Name: name, Stop: stopped, Ready: milliseconds(g.running.startup), CPU: notMeasured}
	if used, ok := cpuTime(g.running.cmd.Process.Pid); ok {
		s.CPU = milliseconds(used)
	}
	stored, err := storedEvents(ctx, g.running.ready["broker"], g.running.ready["stream"])
	if err != nil {
		return fmt.Errorf("the events cannot be counted: %w", err)
	}
	s.usage = g.usage(stored, window, notMeasured)
	s.InWindow = inWindow
	if stored != g.options.events {
		g.problem("%s: %d events are stored, and %d were answered with 200", name, stored, g.options.events)
	}
	if g.inWindow(window) > 0 {
		if err := g.repeat(ctx, name, last); err != nil {
			return err
		}
	}
	if stopped.known() {
		if s.Heap, err = g.settledHeap(ctx); err != nil {
			return err
		}
		if g.inWindow(window) < inWindow { // it belongs to no number of ids
			s.Heap = notMeasured
		}
	}
	g.Starts = append(g.Starts, s)
	g.options.progress.step()
	return nil
}

// repeat sends a webhook again, which has to be known.
func (g *growth) repeat(ctx context.Context, name string, id uint64) error {
	target, err := g.running.target(`"duplicate":true`)
	if err != nil {
		return err
	}
	crew, err := target.dial(ctx, 1)
	if err != nil {
		return err
	}
	defer crew.close()
	if why, _ := crew[0].post(id); why != "" {
		g.problem("%s: one of the last webhooks, repeated, is not answered as a duplicate: %s", name, why)
	}
	return nil
}

// storedEvents asks the broker how many messages a stream has.
func storedEvents(ctx context.Context, broker, stream string) (int, error) {
	conn, err := nats.Connect(broker)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	return int(s.CachedInfo().State.Msgs), nil
}

// settledHeap is how much the relay's heap has in use, in MiB: the least that it
// has after two garbage collections, by which all pools have been emptied, too.
// Questions for its metrics make the garbage that brings them about.
func (g *growth) settledHeap(ctx context.Context) (number, error) {
	g.options.progress.say("waiting for garbage collections")
	select {
	case <-time.After(g.options.settle):
	case <-ctx.Done():
		return notMeasured, context.Cause(ctx)
	}
	admin := newScraper(g.running)
	defer admin.close()
	_, first, err := admin.heap(ctx)
	least := notMeasured
	for after := 0; err == nil && after < 100; { // some more, until all is swept
		var heap number
		var collections int
		if heap, collections, err = admin.heap(ctx); err == nil && collections >= first+2 {
			after++
			if !(heap >= least) {
				least = heap
			}
		}
	}
	if err != nil {
		return notMeasured, fmt.Errorf("the relay's metrics cannot be read: %w", err)
	}
	return least, nil
}

// cost is what ids in the window cost, from the difference between a start with
// them and one without. Of a few ids it is too small to be seen.
func (g *growth) cost() (bytes, ready, cpu number) {
	with, without := g.Starts[starts-2], g.Starts[starts-1]
	perMillion := func(more, less number) number {
		if with.InWindow == 0 || !(more > less) {
			return notMeasured
		}
		return (more - less) * 1e6 / number(with.InWindow)
	}
	return perMillion(with.Heap, without.Heap) * (1 << 20) / 1e6, perMillion(with.Ready, without.Ready), perMillion(with.CPU, without.CPU)
}

// drift is how the CPU for an event in the last tenth compares to the second,
// the first being that in which everything is new.
func (g *growth) drift() number {
	if base := g.Sections[2].CPU; base > 0 {
		return g.Sections[len(g.Sections)-1].CPU / base
	}
	return notMeasured
}
