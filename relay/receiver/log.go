package receiver

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// logLine gathers on the way what the one line about a request says. Nothing of
// the URL is in it, since any part of that may be a token, and of the body only
// what the parser has checked.
type logLine struct {
	start         time.Time
	sender        netip.Addr
	size          int
	bodyRead      bool // whole; not told, but for whoever answers to know
	entered       bool // has had a place among those in flight; not told either
	taskID, state string
	normalized    string // the members that the event does not have as they came
	reason        string // why the body was rejected
	dropped       []string
	receipt       event.Receipt
	err           error
	panic         string

	span            *telemetry.Webhook // nil without tracing
	traceID, spanID string
	sampled         bool
}

// example is the id of a trace that others can look at.
func (l *logLine) example() string {
	if !l.sampled {
		return ""
	}
	return l.traceID
}

// panicked notes a panic and where it came from. Only what the runtime itself
// says is noted of its value: any other may hold a piece of a request.
func (l *logLine) panicked(value any) {
	text := fmt.Sprintf("%T", value)
	if err, ok := value.(interface {
		error
		RuntimeError()
	}); ok {
		text = err.Error()
	}
	l.panic = text + "\n" + string(debug.Stack())
}

func (l *logLine) write(ctx context.Context, log *slog.Logger, a answer, took time.Duration) {
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
	var room [19]slog.Attr // for all that a line can have
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
	text("traceId", l.traceID)
	text("spanId", l.spanID)
	// Straight to the handler: the logger would look up the line of code, which
	// is always this one.
	record := slog.NewRecord(l.start.Add(took), level, "webhook", 0)
	record.AddAttrs(attrs...)
	_ = log.Handler().Handle(ctx, record) // the logger drops the error too
}
