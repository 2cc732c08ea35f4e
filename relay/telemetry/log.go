// Package telemetry sets up what the relay tells about itself: its log and its
// metrics.
//
// It must not know what the numbers mean elsewhere: the rooms that count hold
// a [Metrics] and call it.
package telemetry

import (
	"io"
	"log/slog"
	"time"
)

// Format is the form of a log line.
type Format int

const (
	// Text is key=value, for people.
	Text Format = iota
	// JSON is an object a line, for programs.
	JSON
)

// NewLogger makes a logger that writes lines of the level and above.
// Durations are in seconds where programs read them.
func NewLogger(w io.Writer, format Format, level slog.Leveler) *slog.Logger {
	if format == JSON {
		return slog.New(newLineHandler(w, level))
	}
	return slog.New(textHandler{slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}), w})
}

// textHandler is the library's, with its output.
type textHandler struct {
	*slog.TextHandler
	out io.Writer
}

func (h textHandler) output() io.Writer { return h.out }
func (h lineHandler) output() io.Writer { return h.out }

// droppedLines is the count of the logger's [AsyncWriter], or 0 where it writes to
// anything else.
func droppedLines(log *slog.Logger) func() uint64 {
	if h, ok := log.Handler().(interface{ output() io.Writer }); ok {
		if w, ok := h.output().(*AsyncWriter); ok {
			return w.Dropped
		}
	}
	return func() uint64 { return 0 }
}

// inSeconds replaces a duration, which slog writes as a bare number of
// nanoseconds, by seconds: the unit of the metrics too.
func inSeconds(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.Float64(a.Key, seconds(a.Value.Duration()))
	}
	return a
}

func seconds(d time.Duration) float64 { return d.Round(time.Microsecond).Seconds() }
