package receiver

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

// panicError is a panic while a request was processed, and where it came from.
type panicError struct{ text string }

// Error returns what is known of the panic's value. Only what the runtime itself says is:
// any other may hold a piece of a request.
func (e *panicError) Error() string { return e.text }

func newPanicError(value any) error {
	text := fmt.Sprintf("%T", value)
	if err, ok := value.(interface {
		error
		RuntimeError()
	}); ok {
		text = err.Error()
	}
	return &panicError{text + "\n" + string(debug.Stack())}
}

// Of the lines about requests that were refused before anything was known of their sender
// so many are logged at once, and then one every interval: anybody can cause them, by tens
// of thousands a second over one connection. All are counted by the metrics.
const (
	anonymousLogBurst    = 100
	anonymousLogInterval = time.Second
)

// anonymousLog limits the lines about requests of anybody.
type anonymousLog struct {
	limit   *rate.Limiter
	omitted atomic.Int64 // since the last line
}

func newAnonymousLog() *anonymousLog {
	return &anonymousLog{limit: rate.NewLimiter(rate.Every(anonymousLogInterval), anonymousLogBurst)}
}

// omit reports whether there is to be no line about a request, and else how many have
// been left out before it.
func (l *anonymousLog) omit(resp response, admitted bool) (omit bool, before int64) {
	if admitted || resp.outcome != telemetry.Unauthorized && resp.outcome != telemetry.Rejected {
		return false, 0
	}
	if !l.limit.Allow() {
		l.omitted.Add(1)
		return true, 0
	}
	return false, l.omitted.Swap(0)
}

// logRequest writes the one line about a request. Nothing of the URL is in it, since any
// part of that may be a token, and of the body only what the parser has checked.
func (rc *Receiver) logRequest(ctx context.Context, res result, err error, resp response, took time.Duration) {
	panicked, _ := err.(*panicError)
	level := slog.LevelInfo
	switch {
	case panicked != nil:
		level = slog.LevelError
	case err != nil, res.receipt.Conflict:
		level = slog.LevelWarn
	}
	if !rc.log.Enabled(ctx, level) {
		return
	}
	omit, omitted := rc.anonymous.omit(resp, res.admitted)
	if omit {
		return
	}
	var array [20]slog.Attr // for all that a line can have
	attrs := array[:0]
	text := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	text("outcome", string(resp.outcome))
	attrs = append(attrs, slog.Int("status", resp.status))
	text("problem", resp.problem)
	if res.rejection != nil {
		text("reason", res.rejection.Code)
	}
	if res.task != nil {
		text("taskId", res.task.ID)
		text("state", string(res.task.State))
		text("normalized", strings.Join(res.normalized, ","))
	}
	text("verified", string(res.verified))
	message := "webhook"
	if a := res.announcement; a != nil {
		message = "announcement"
		text("taskId", a.taskID)
		if err == nil {
			attrs = append(attrs, slog.Bool("expected", a.expected))
		}
	}
	text("stream", res.receipt.Stream)
	if res.receipt.Sequence > 0 {
		attrs = append(attrs, slog.Uint64("sequence", res.receipt.Sequence))
	}
	attrs = append(attrs, slog.Duration("duration", took), slog.Int("size", res.size))
	if res.sender.IsValid() {
		text("sender", res.sender.String())
	}
	if len(res.dropped) > 0 {
		attrs = append(attrs, slog.Any("droppedAttributes", res.dropped))
	}
	switch err.(type) {
	case nil, *problem, *schema.Error: // which the problem's type tells, and the reason
	case *panicError:
		text("panic", panicked.text)
	default:
		text("error", err.Error())
	}
	if omitted > 0 {
		attrs = append(attrs, slog.Int64("omitted", omitted))
	}
	text("traceId", res.traceID)
	text("spanId", res.spanID)
	// Straight to the handler: the logger would look up the line of code, which
	// is always this one.
	record := slog.NewRecord(res.start.Add(took), level, message, 0)
	record.AddAttrs(attrs...)
	_ = rc.log.Handler().Handle(ctx, record) // the logger drops the error too
}
