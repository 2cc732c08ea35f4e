package receiver

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// accessLogEntry gathers on the way what the one line about a request says. Nothing of
// the URL is in it, since any part of that may be a token, and of the body only
// what the parser has checked.
type accessLogEntry struct {
	start         time.Time
	sender        netip.Addr
	size          int
	bodyRead      bool // whole; not told, but for whoever answers to know
	entered       bool // has had a place among those in flight; not told either
	taskID, state string
	normalized    string // the members that the event does not have as they came
	reason        string // why the body was rejected
	dropped       []string
	receipt       store.Receipt
	err           error
	panic         string

	span            *telemetry.RequestSpan // nil without tracing
	traceID, spanID string
	sampled         bool
}

// exemplar is the id of a trace that others can look at.
func (l *accessLogEntry) exemplar() string {
	if !l.sampled {
		return ""
	}
	return l.traceID
}

// panicked notes a panic and where it came from. Only what the runtime itself
// says is noted of its value: any other may hold a piece of a request.
func (l *accessLogEntry) panicked(value any) {
	text := fmt.Sprintf("%T", value)
	if err, ok := value.(interface {
		error
		RuntimeError()
	}); ok {
		text = err.Error()
	}
	l.panic = text + "\n" + string(debug.Stack())
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
func (s *anonymousLog) omit(a response, entered bool) (omit bool, before int64) {
	if entered || a.outcome != telemetry.Unauthorized && a.outcome != telemetry.Rejected {
		return false, 0
	}
	if !s.limit.Allow() {
		s.omitted.Add(1)
		return true, 0
	}
	return false, s.omitted.Swap(0)
}

func (l *accessLogEntry) write(ctx context.Context, log *slog.Logger, a response, took time.Duration, strangers *anonymousLog) {
	level := slog.LevelInfo
	switch {
	case l.panic != "":
		level = slog.LevelError
	case a.status != http.StatusOK, l.receipt.Conflict:
		level = slog.LevelWarn
	}
	if !log.Enabled(ctx, level) {
		return
	}
	omit, omitted := strangers.omit(a, l.entered)
	if omit {
		return
	}
	var room [20]slog.Attr // for all that a line can have
	attrs := room[:0]
	text := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	text("outcome", string(a.outcome))
	attrs = append(attrs, slog.Int("status", a.status))
	text("problem", a.problem)
	text("reason", l.reason)
	text("taskId", l.taskID)
	text("state", l.state)
	text("normalized", l.normalized)
	text("stream", l.receipt.Stream)
	if l.receipt.Sequence > 0 {
		attrs = append(attrs, slog.Uint64("sequence", l.receipt.Sequence))
	}
	attrs = append(attrs, slog.Duration("duration", took), slog.Int("size", l.size))
	if l.sender.IsValid() {
		text("sender", l.sender.String())
	}
	if len(l.dropped) > 0 {
		attrs = append(attrs, slog.Any("droppedAttributes", l.dropped))
	}
	if l.err != nil {
		text("error", l.err.Error())
	}
	text("panic", l.panic)
	if omitted > 0 {
		attrs = append(attrs, slog.Int64("omitted", omitted))
	}
	text("traceId", l.traceID)
	text("spanId", l.spanID)
	// Straight to the handler: the logger would look up the line of code, which
	// is always this one.
	record := slog.NewRecord(l.start.Add(took), level, "webhook", 0)
	record.AddAttrs(attrs...)
	_ = log.Handler().Handle(ctx, record) // the logger drops the error too
}
