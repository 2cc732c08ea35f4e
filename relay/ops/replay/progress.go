package replay

import (
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
)

// Progress is how far a replay is.
type Progress struct {
	// Read is how many messages have been looked at, and Total how many there will be, -1 if
	// that is not known. Those that the filter does not pick count in both.
	Read, Total int
	// Delivered, Failed, Skipped and Unfinished are as in the [Summary].
	Delivered, Failed, Skipped, Unfinished int
}

// Outcome says what came of a message.
type Outcome string

// What can come of a message.
const (
	// Delivered: the target has taken it.
	Delivered Outcome = "delivered"
	// Failed: the target has not taken it, after the last attempt.
	Failed Outcome = "failed"
	// Skipped: there is nothing to deliver in it, or the target has it already.
	Skipped Outcome = "skipped"
	// Unfinished: it was given up, because the replay was stopped.
	Unfinished Outcome = "unfinished"
	// Selected: it would be delivered, but for the dry run.
	Selected Outcome = "selected"
)

// Delivery is what came of one message.
type Delivery struct {
	Position
	// Type, Subject and Model are the event's, as others may have written them; empty where
	// the message is no event. The subject is the task's id, if it tells one.
	Type, Subject, Model string
	// Outcome is what came of it.
	Outcome Outcome
	// Status is the status line of the last HTTP answer, such as "200 OK"; empty where there
	// was none.
	Status string
	// Reason is why it was not delivered, in one line without secrets; empty where it was.
	Reason string
	// Conflict: a relay has taken the webhook, keeps it in its quarantine, and stores another
	// outcome of the task.
	Conflict bool
	// Attempts is how often it was tried; 0 where nothing was sent.
	Attempts int
	// Duration is how long the delivery took: all attempts, and the pauses between them.
	Duration time.Duration
}

func deliveryOf(m streamreader.Message) Delivery {
	return Delivery{
		Position: Position{Sequence: m.Sequence, Stored: m.Stored.UTC(), ID: m.Event.ID},
		Type:     m.Event.Type, Subject: m.Event.Subject, Model: m.Event.Model(),
	}
}

// progress tells how far the replay is.
func (r *run) progress() {
	r.telling.Lock()
	defer r.telling.Unlock()
	r.tellProgress()
}

// tell tells what came of a message.
func (r *run) tell(d Delivery) {
	r.telling.Lock()
	defer r.telling.Unlock()
	if r.o.OnFailure != nil && d.Outcome == Failed {
		r.o.OnFailure(Undelivered{d.Position, d.Reason})
	}
	if r.o.OnResult != nil {
		if err := r.o.OnResult(d); err != nil {
			r.stop(err)
		}
	}
	r.tellProgress()
}

// tellProgress must be called with telling held.
func (r *run) tellProgress() {
	if r.o.OnProgress == nil {
		return
	}
	r.mu.Lock()
	p := Progress{
		Read: r.summary.Read, Total: r.total,
		Delivered: r.summary.Delivered, Failed: r.summary.Failed, Skipped: r.summary.Skipped, Unfinished: r.summary.Unfinished,
	}
	r.mu.Unlock()
	r.o.OnProgress(p)
}
