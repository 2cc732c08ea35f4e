package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/download"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// handle deals with a message, and settles it or has it come again.
func (a *Archiver) handle(ctx context.Context, m *message) {
	if m.err != nil {
		a.bury(ctx, m, "it is no event of a task: "+text.Line(m.err.Error()))
		return
	}
	if a.tries.isLeft(m) {
		a.again(m, leaveFor)
		return
	}
	o := a.outcome(ctx, m)
	switch {
	case ctx.Err() != nil:
		a.again(m, giveBackDelay)
		return
	case o.temporary != nil:
		if n := a.tries.failed(m); n < minTries || time.Now().Before(m.expires) && !a.o.UntilNow {
			a.retry(m, n, o.temporary)
			return
		} else if a.o.UntilNow && time.Now().Before(m.expires) {
			a.leave(m, o.temporary)
			return
		}
		o.giveUp()
		if !a.settle(ctx, m, o) || !a.bury(ctx, m, o.temporary.Detail) {
			return
		}
	default:
		if !a.settle(ctx, m, o) || !a.acknowledge(ctx, m) {
			return
		}
	}
	a.tries.forget(m)
	a.told(o.result(m))
}

// outcome is what became of the files of a task.
type outcome struct {
	schema.ArchivedTask
	// stored and bytes count what this program has stored, of Files.
	stored int
	bytes  int64
	// waiting are the addresses whose files may be had later, and temporary says why the
	// last of them cannot be had now.
	waiting   []schema.ArchiveFailure
	temporary *download.Error
}

// outcome stores the files of a task, as far as they can be had.
func (a *Archiver) outcome(ctx context.Context, m *message) (o outcome) {
	addresses, more := m.task.Addresses(MaxFiles)
	o.ID = m.task.ID
	for i, address := range addresses {
		file, isNew, err := a.file(ctx, m, i+1, address)
		if ctx.Err() != nil {
			return o
		}
		failure, isFailure := errors.AsType[*download.Error](err)
		switch {
		case err == nil:
			o.Files = append(o.Files, file)
			if isNew {
				o.stored++
				o.bytes += file.Bytes
			}
		case !isFailure: // it is the context's: nothing else is left
			return o
		case failure.Temporary:
			o.temporary = longer(o.temporary, failure)
			o.waiting = append(o.waiting, schema.ArchiveFailure{URL: address, Reason: schema.ReasonUnavailable, Detail: failure.Detail})
		default:
			o.Failures = append(o.Failures, schema.ArchiveFailure{URL: address, Reason: failure.Reason, Detail: failure.Detail})
		}
	}
	if more > 0 {
		o.Failures = append(o.Failures, schema.ArchiveFailure{Reason: schema.ReasonTooMany, Detail: fmt.Sprintf("the result has %d addresses more, and %d are archived of one", more, MaxFiles)})
	}
	return o
}

// longer is the error of two that asks for the longer pause.
func longer(a, b *download.Error) *download.Error {
	if a == nil || b.RetryAfter >= a.RetryAfter {
		return b
	}
	return a
}

// giveUp makes failures of what may be had later.
func (o *outcome) giveUp() {
	for _, f := range o.waiting {
		f.Detail = "given up: " + f.Detail
		o.Failures = append(o.Failures, f)
	}
	o.waiting = nil
}

// retry has a message come again later.
func (a *Archiver) retry(m *message, n int, why *download.Error) {
	wait := max(a.delay(n), why.RetryAfter)
	a.log.Warn("a file cannot be had now; it is tried again", "taskId", m.task.ID, "try", n, "wait", wait, "expires", m.expires.UTC(), "error", why.Detail)
	a.o.Metrics.Retry()
	a.mu.Lock()
	a.summary.Retries++
	a.mu.Unlock()
	a.again(m, wait)
}

// leave has a message come again in another run.
func (a *Archiver) leave(m *message, why *download.Error) {
	a.log.Warn("a file cannot be had now; it is left for another run", "taskId", m.task.ID, "expires", m.expires.UTC(), "error", why.Detail)
	a.tries.leave(m)
	a.told(Result{TaskID: m.task.ID, Result: ResultLeft, Error: why.Detail})
	a.again(m, leaveFor)
}

// again has the broker deliver a message once more. Where it does not hear that, it does so after
// the acknowledgement's time.
func (a *Archiver) again(m *message, wait time.Duration) {
	if err := m.NakWithDelay(wait); err != nil {
		a.log.Debug("the broker was not told to deliver an event again", "taskId", m.task.ID, "error", err)
	}
}
