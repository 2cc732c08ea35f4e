package replay

import (
	"fmt"
	"strings"
)

func (r *run) skip(d Delivery, why error) {
	r.mu.Lock()
	r.summary.Skipped++
	r.summary.Skips = listed(r.summary.Skips, d.Position, why.Error())
	r.mu.Unlock()
	d.Outcome, d.Reason = Skipped, why.Error()
	r.tell(d)
}

func (r *run) wouldDeliver(d Delivery) {
	r.mu.Lock()
	r.summary.Delivered++
	if r.summary.First == nil {
		r.summary.First = &d.Position
	}
	r.summary.Last = &d.Position
	r.leaveUndone(d.Sequence)
	r.mu.Unlock()
	d.Outcome = Selected
	r.tell(d)
}

// settle counts what came of a delivery, and tells it.
func (r *run) settle(d Delivery, result result) {
	r.count(d.Position, result)
	d.Outcome, d.Status, d.Reason, d.Attempts, d.Conflict = result.outcome, result.status, result.reason, result.attempts, result.conflict
	switch {
	case result.stop != nil:
		d.Reason = result.stop.Error()
	case result.outcome == Unfinished:
		d.Reason = strings.TrimPrefix(d.Reason+"; given up, because the replay was stopped", "; ")
	case result.outcome == Skipped:
		d.Reason = "already there"
	}
	r.tell(d)
	if result.stop != nil {
		r.stop(result.stop)
	}
}

// count keeps what came of a delivery for the summary.
func (r *run) count(place Position, result result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if result.duplicate {
		r.summary.Duplicates++
	}
	if result.conflict {
		r.summary.Conflicts++
	}
	switch result.outcome {
	case Delivered:
		r.summary.Delivered++
		r.failures = 0
	case Skipped:
		r.summary.Skipped++
		r.summary.Duplicates++
		r.summary.present++
		r.failures = 0
	case Unfinished:
		r.summary.Unfinished++
		r.leaveUndone(place.Sequence)
	case Failed:
		r.summary.Failed++
		r.summary.Failures = listed(r.summary.Failures, place, result.reason)
		r.leaveUndone(place.Sequence)
		if r.failures++; r.failures == r.o.MaxFailures {
			r.stop(fmt.Errorf("%w: %d, the last one: %s", ErrTooManyFailures, r.failures, result.reason))
		}
	}
}

func (r *run) leaveUndone(sequence uint64) {
	if r.undone == 0 || sequence < r.undone {
		r.undone = sequence
	}
}
