package telemetry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"
)

// What is appended here is what the library writes, to the byte.
func TestLinesAreTheLibrarys(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 60_700_000, time.FixedZone("", 3600))
	plain := []slog.Attr{
		slog.String("outcome", "published"), slog.Int("status", 200), slog.String("taskId", "Az09_.:-"), slog.String("empty", ""),
		slog.Uint64("sequence", math.MaxUint64), slog.Int64("negative", math.MinInt64), slog.Duration("duration", 3123*time.Microsecond),
		slog.String("sender", "2001:db8::1"), slog.String("text", "<a href='b'>&c</a> ~"),
	}
	for name, attrs := range map[string][]slog.Attr{
		"none":     nil,
		"plain":    plain,
		"any":      {slog.Any("dropped", []string{"a", "b"}), slog.Any("error", errors.New("no")), slog.Any("nothing", nil)},
		"others":   {slog.Bool("b", true), slog.Float64("f", 1e-9), slog.Time("t", at), slog.Group("g", slog.Duration("d", time.Second))},
		"empty":    {{}, slog.String("", "v"), slog.Group("g")},
		"resolved": {slog.Any("v", valuer{})},
	} {
		wantLine(t, name, at, slog.LevelInfo, "webhook", attrs)
	}
	for _, text := range []string{`"`, `\`, "\n", "\x00", "\x7f", "\u2028", "é", "😀", "\xff", "a\x1b[2J"} {
		wantLine(t, "value", at, slog.LevelInfo, "webhook", []slog.Attr{slog.String("a", "1"), slog.String("k", "v"+text)})
		wantLine(t, "key", at, slog.LevelInfo, "webhook", []slog.Attr{slog.String("k"+text, "v")})
		wantLine(t, "message", at, slog.LevelInfo, "m"+text, plain)
	}
	for _, d := range []time.Duration{0, 1, 499, 500, -500, 1500, time.Microsecond, -time.Second, 20 * time.Second, math.MaxInt64, math.MinInt64} {
		wantLine(t, "duration", at, slog.LevelInfo, "webhook", []slog.Attr{slog.Duration("duration", d)})
	}
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelWarn, slog.LevelError, slog.LevelInfo + 1, slog.LevelError + 9} {
		wantLine(t, "level", at, level, "webhook", plain)
	}
	wantLine(t, "no time", time.Time{}, slog.LevelInfo, "webhook", plain)
	wantLine(t, "now", time.Now(), slog.LevelInfo, "webhook", plain)
}

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.DurationValue(time.Minute) }

func wantLine(t *testing.T, name string, at time.Time, level slog.Level, msg string, attrs []slog.Attr) {
	t.Helper()
	r := slog.NewRecord(at, level, msg, 0)
	r.AddAttrs(attrs...)
	var got, want bytes.Buffer
	library := slog.NewJSONHandler(&want, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: inSeconds})
	if err := errors.Join(newLineHandler(&got, slog.LevelDebug).Handle(context.Background(), r), library.Handle(context.Background(), r)); err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("%s: wrote\n%swant\n%s", name, &got, &want)
	}
}

// Loggers made of the logger keep what they were given.
func TestLinesWithAttributesAndGroups(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	log := NewLogger(&got, JSON, slog.LevelInfo)
	log.With("a", 1).WithGroup("g").Info("m", "d", time.Second)
	log.Debug("not written")
	if line := got.String(); !strings.HasSuffix(line, `"msg":"m","a":1,"g":{"d":1}}`+"\n") || strings.Count(line, "\n") != 1 {
		t.Errorf("wrote %s", line)
	}
}

// Lines of both makings are written one by one, each in one write.
func TestLinesAreWrittenOneByOne(t *testing.T) {
	t.Parallel()
	var w oneLineWrites
	log := NewLogger(&w, JSON, slog.LevelInfo)
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			for range 100 {
				log.Info("plain", "a", "b")
				log.Info("other", "a", 1.5)
			}
		})
	}
	done.Wait()
	if w.lines != 1600 || w.others > 0 {
		t.Errorf("%d lines in writes of their own, and %d other writes", w.lines, w.others)
	}
}

// oneLineWrites counts without a lock: the race detector sees who does not wait.
type oneLineWrites struct{ lines, others int }

func (w *oneLineWrites) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, []byte(`{"time":"`)) && bytes.IndexByte(b, '\n') == len(b)-1 {
		w.lines++
	} else {
		w.others++
	}
	return len(b), nil
}

// A long line leaves no large buffer behind.
func TestKeptBuffersAreBounded(t *testing.T) {
	log := NewLogger(new(bytes.Buffer), JSON, slog.LevelInfo)
	log.Info(strings.Repeat("m", 1<<20))
	for range 100 {
		if buf := lines.Get().(*[]byte); cap(*buf) > maxLine {
			t.Fatalf("a buffer of %d bytes is kept", cap(*buf))
		}
	}
}
