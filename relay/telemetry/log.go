// Package telemetry makes the relay's log, its metrics and its traces, and exports them.
//
// It must not know what the numbers mean elsewhere: the packages that count have a
// [Metrics] and call its methods.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lmittmann/tint"
)

// Format is the form of a log line.
type Format int

const (
	// Text is key=value, with the whole time.
	Text Format = iota
	// JSON is one object a line, for programs. Durations are in seconds.
	JSON
	// Color is for people at a terminal: the time of day, a short level, colors, and
	// durations with three digits.
	Color
	// NoColor is Color for terminals that have none, or whose user wants none.
	NoColor
)

// NewLogger returns a logger that writes lines of the level and above. Each line is one write,
// and the writes of one logger do not overlap.
func NewLogger(w io.Writer, format Format, level slog.Leveler) *slog.Logger {
	h := handler{out: w}
	switch format {
	case JSON:
		h.Handler = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: inSeconds})
	case Text:
		h.Handler = slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
	default:
		h.Handler = tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: format == NoColor, ReplaceAttr: forTerminal})
	}
	return slog.New(h)
}

// handler is a library's handler with its output, for [Metrics.Log].
type handler struct {
	slog.Handler
	out io.Writer
}

// droppedLines is the count of the logger's [AsyncWriter], or 0 where it writes to
// anything else.
func droppedLines(log *slog.Logger) func() uint64 {
	if h, ok := log.Handler().(handler); ok {
		if w, ok := h.out.(*AsyncWriter); ok {
			return w.Dropped
		}
	}
	return func() uint64 { return 0 }
}

// inSeconds replaces a duration, which slog writes as a bare number of
// nanoseconds, by seconds: the unit of the metrics too.
func inSeconds(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.Float64(a.Key, a.Value.Duration().Round(time.Microsecond).Seconds())
	}
	return a
}

// forTerminal shortens durations, and keeps foreign text from steering the terminal:
// tint lets escape sequences through, and the messages of the embedded broker, which
// name its clients, are not quoted.
func forTerminal(groups []string, a slog.Attr) slog.Attr {
	switch v := a.Value; v.Kind() {
	case slog.KindDuration:
		a.Value = slog.DurationValue(threeDigits(v.Duration()))
	case slog.KindString:
		a.Value = slog.StringValue(printable(v.String()))
	case slog.KindAny:
		if len(groups) > 0 || a.Key != slog.LevelKey {
			a.Value = slog.StringValue(printable(fmt.Sprint(v.Any())))
		}
	}
	return a
}

// threeDigits rounds a duration to three digits, or to tenths of a second where those
// would be fewer.
func threeDigits(d time.Duration) time.Duration {
	unit := time.Nanosecond
	for unit < 100*time.Millisecond && d.Abs() >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit)
}

// printable replaces what does not stand for itself on a terminal. An escape that is
// spelled out goes too, since tint takes it for one.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '·'
		}
		return c
	}, s)
	return strings.ReplaceAll(s, `\x1b`, "·")
}
