package ui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/relay/text"
)

const (
	// maxFailuresShown bounds the failures that are shown while a replay runs.
	maxFailuresShown = 20
	// maxDelivered bounds what is remembered of a quarantine that was sent again.
	maxDelivered = 100_000
	// jobInterval is the least time between two changes that pages are told of.
	jobInterval = 300 * time.Millisecond
)

// errBusy: there is one replay at a time.
var errBusy = errors.New("a replay is under way: there is one at a time. Stop it, or wait for its end")

// jobs are the replays of the page, one at a time. They go on while nobody looks. The zero
// value is ready to use.
type jobs struct {
	mu      sync.Mutex
	last    *job // the one under way, or the last one
	opening bool // the target of another one
	closed  bool
	waiting chan struct{} // closed at the next change; nil if nobody waits
	told    time.Time
	later   *time.Timer
}

// job is a replay.
type job struct {
	what, command string
	dryRun        bool
	toRelay       bool // what it delivers, the quarantine need not keep
	began         time.Time
	cancel        context.CancelFunc
	ended         chan struct{}

	// Guarded by jobs.mu:
	progress  replay.Progress
	failures  []replay.Undelivered
	trouble   string
	delivered []uint64
	summary   *replay.Summary
	err       error
	took      time.Duration
}

// reserve lets one replay be prepared at a time, unless one is under way. It is to be released
// once the replay has started or cannot be.
func (j *jobs) reserve() (release func(), err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.opening || j.last != nil && !j.last.isOver() {
		return nil, errBusy
	}
	j.opening = true
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.opening = false
	}, nil
}

// start runs a replay, unless one is under way.
func (j *jobs) start(one *job, run func(ctx context.Context, o replay.Options) (replay.Summary, error), o replay.Options) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return errors.New("the page is being ended")
	}
	if j.last != nil && !j.last.isOver() {
		return errBusy
	}
	ctx, cancel := context.WithCancel(context.Background())
	one.began, one.cancel, one.ended = time.Now(), cancel, make(chan struct{})
	one.progress.Total = -1
	j.last = one
	o.OnProgress = func(p replay.Progress) { j.change(false, func() { one.progress = p }) }
	o.OnFailure = func(u replay.Undelivered) {
		j.change(false, func() {
			if one.failures = append(one.failures, u); len(one.failures) > maxFailuresShown {
				one.failures = one.failures[1:]
			}
		})
	}
	o.OnResult = func(d replay.Delivery) error {
		j.change(false, func() {
			if one.toRelay && d.Outcome == replay.Delivered && !d.Conflict && len(one.delivered) < maxDelivered {
				one.delivered = append(one.delivered, d.Sequence)
			}
			if d.Outcome == replay.Delivered {
				one.trouble = ""
			}
		})
		return nil
	}
	go func() {
		summary, err := run(ctx, o)
		cancel()
		j.change(true, func() {
			one.summary, one.err, one.took = &summary, err, time.Since(one.began)
			close(one.ended)
		})
	}()
	return nil
}

// change changes a job, and tells those who wait, at once if it matters.
func (j *jobs) change(now bool, do func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	do()
	if j.waiting == nil {
		return
	}
	if wait := jobInterval - time.Since(j.told); !now && wait > 0 {
		if j.later == nil {
			j.later = time.AfterFunc(wait, func() { j.change(true, func() {}) })
		}
		return
	}
	if j.later != nil {
		j.later.Stop()
		j.later = nil
	}
	close(j.waiting)
	j.waiting, j.told = nil, time.Now()
}

// changed is closed at the next change.
func (j *jobs) changed() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.waiting == nil {
		j.waiting = make(chan struct{})
	}
	return j.waiting
}

// stop has the replay under way begin nothing more.
func (j *jobs) stop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.last != nil {
		j.last.cancel()
	}
}

// wait waits for the end of the last replay until ctx ends.
func (j *jobs) wait(ctx context.Context) {
	j.mu.Lock()
	last := j.last
	j.mu.Unlock()
	if last == nil {
		return
	}
	select {
	case <-last.ended:
	case <-ctx.Done():
	}
}

// close stops the replay under way and starts no other. It returns when that has ended, or
// with ctx.
func (j *jobs) close(ctx context.Context) {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.stop()
	j.wait(ctx)
}

// deliveredSequences are those that the last replay of the quarantine has delivered.
func (j *jobs) deliveredSequences() []uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.last == nil || j.last.dryRun {
		return nil
	}
	return slices.Clone(j.last.delivered)
}

// forgetDelivered takes note that what was delivered has been put aside.
func (j *jobs) forgetDelivered(sequences []uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.last == nil {
		return
	}
	gone := make(map[uint64]bool, len(sequences))
	for _, n := range sequences {
		gone[n] = true
	}
	j.last.delivered = slices.DeleteFunc(j.last.delivered, func(n uint64) bool { return gone[n] })
}

func (one *job) isOver() bool {
	select {
	case <-one.ended:
		return true
	default:
		return false
	}
}

// jobView is what a page shows of a replay.
type jobView struct {
	State, What, Progress string
	Running, CanStop      bool
	Percent               int // -1 if it is not known
	Failures              []replay.Undelivered
	MoreFailures          string
	Error, Summary        string
	Aside, Command        string
}

// view is what is to be seen of the last replay; nil if there was none.
func (j *jobs) view(readOnly bool) *jobView {
	j.mu.Lock()
	defer j.mu.Unlock()
	one := j.last
	if one == nil {
		return nil
	}
	p := one.progress
	v := &jobView{What: one.what, Command: one.command, Percent: -1, Failures: slices.Clone(one.failures), Running: !one.isOver(), CanStop: !readOnly}
	for i := range v.Failures {
		v.Failures[i].ID, v.Failures[i].Reason = shorten(v.Failures[i].ID), shorten(v.Failures[i].Reason)
	}
	if more := p.Failed - len(v.Failures); more > 0 && len(v.Failures) > 0 {
		v.MoreFailures = fmt.Sprintf("and %s before these", text.Count(more))
	}
	switch {
	case v.Running && one.dryRun:
		v.State = "Looking at what would be delivered"
	case v.Running:
		v.State = "A replay is under way"
	case one.dryRun:
		v.State = "What would be delivered"
	case errors.Is(one.err, replay.ErrStopped):
		v.State = "The replay was stopped"
	case one.err != nil:
		v.State = "The replay has ended before its end"
	case p.Failed > 0:
		v.State = "The replay is done, with failures"
	default:
		v.State = "The replay is done"
	}
	if v.Running {
		v.Progress, v.Error = one.progressText(time.Since(one.began)), one.trouble
		if p.Total > 0 {
			v.Percent = min(p.Read*100/p.Total, 100)
		}
		return v
	}
	if one.err != nil && !errors.Is(one.err, replay.ErrStopped) {
		v.Error = one.err.Error()
	}
	if one.summary != nil && one.summary.ResumeSequence > 0 {
		var b strings.Builder
		_ = one.summary.WriteText(&b) // a Builder takes everything
		v.Summary = b.String()
	}
	if n := len(one.delivered); n > 0 && !one.dryRun && !readOnly {
		v.Aside = fmt.Sprintf("Put the %s that the relay took aside…", text.Count(n))
		if n == 1 {
			v.Aside = "Put aside what the relay took…"
		}
	}
	return v
}

// progressText says how far a replay is, how fast, and for how much longer.
func (one *job) progressText(took time.Duration) string {
	p := one.progress
	var b strings.Builder
	b.WriteString(text.Count(p.Read))
	if p.Total >= 0 {
		b.WriteString(" of " + text.Count(p.Total))
	}
	b.WriteString(" messages read, " + text.Count(p.Delivered) + " delivered, " + text.Count(p.Failed) + " failed, " + text.Count(p.Skipped) + " skipped")
	if seconds := took.Seconds(); seconds >= 1 && p.Read > 0 {
		rate := float64(p.Read) / seconds
		b.WriteString("; " + text.Number(rate) + " a second")
		if left := p.Total - p.Read; p.Total >= 0 && left > 0 {
			b.WriteString(", " + elapsed(time.Duration(float64(left)/rate*float64(time.Second))) + " left")
		}
	}
	return b.String()
}
