package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

func TestDurationsInTheLog(t *testing.T) {
	t.Parallel()
	for format, want := range map[telemetry.Format]string{
		telemetry.JSON:    `"duration":0.001523,"inner":{"wait":2}}`,
		telemetry.Text:    "duration=1.523456ms inner.wait=2s",
		telemetry.NoColor: "duration=1.52ms inner.wait=2s",
	} {
		if got := logged(format, "m", "duration", 1523456*time.Nanosecond, "inner", slog.GroupValue(slog.Duration("wait", 2*time.Second))); !strings.HasSuffix(got, want+"\n") {
			t.Errorf("%s does not end with %s", got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 7: "7ns", 12345: "12.3µs", 999_999: "1ms", 20 * time.Millisecond: "20ms", 1234 * time.Millisecond: "1.23s", 123456 * time.Millisecond: "2m3.5s", -1234567: "-1.23ms", 90*time.Minute + 123: "1h30m0s",
	} {
		if got := logged(telemetry.NoColor, "m", "d", d); !strings.HasSuffix(got, " d="+want+"\n") {
			t.Errorf("%v is logged as %s", d, got)
		}
	}
}

func TestLevelsOfTheLog(t *testing.T) {
	t.Parallel()
	for _, format := range []telemetry.Format{telemetry.JSON, telemetry.Text, telemetry.Color, telemetry.NoColor} {
		var b bytes.Buffer
		log := telemetry.NewLogger(&b, format, slog.LevelWarn)
		log.Info("hidden")
		log.With("a", 1).WithGroup("g").Warn("shown")
		if got := b.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "shown") {
			t.Errorf("logged %s", got)
		}
	}
}

// A person has the time of day, a short level, and colors unless they are not wanted.
func TestLinesForPeople(t *testing.T) {
	t.Parallel()
	plain := logged(telemetry.NoColor, "webhook", "outcome", "published", "error", errors.New("no room"))
	if _, err := time.Parse(time.TimeOnly, plain[:8]); err != nil || plain[8:] != " INF webhook outcome=published error=\"no room\"\n" {
		t.Errorf("logged %s (%v)", plain, err)
	}
	if color := logged(telemetry.Color, "webhook", "outcome", "published"); !strings.Contains(color, "\x1b[92mINF\x1b[0m webhook") {
		t.Errorf("logged %q", color)
	}
}

// Whatever is logged cannot steer a terminal, nor make a line of its own.
func TestForeignTextInTheLogForPeople(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{"a\x1b[2Jb", `a \x1b[2Jb`, `a \\x1b[2Jb`, "a\nb", "a\rb", "a\x00b", "a\u009b2Jb", "a\xffb", "a\u202eb"} {
		for _, format := range []telemetry.Format{telemetry.Color, telemetry.NoColor} {
			got := logged(format, evil, "text", evil, "error", errors.New(evil), "list", []string{evil}, "stringer", slog.AnyValue(json.RawMessage(evil)))
			if format == telemetry.Color {
				for _, own := range []string{"\x1b[0m", "\x1b[2m", "\x1b[92m"} {
					got = strings.ReplaceAll(got, own, "")
				}
			}
			if strings.ContainsAny(got, "\x1b\r\x00\u009b\u202e") || strings.Index(got, "\n") != len(got)-1 || strings.Contains(got, "\xff") {
				t.Errorf("%q is logged as %q", evil, got)
			}
		}
	}
}

// Lines are written one by one, each in one write.
func TestLinesAreWrittenOneByOne(t *testing.T) {
	t.Parallel()
	for _, format := range []telemetry.Format{telemetry.JSON, telemetry.Text, telemetry.NoColor} {
		var w oneLineWrites
		log := telemetry.NewLogger(&w, format, slog.LevelInfo)
		var done sync.WaitGroup
		for range 8 {
			done.Go(func() {
				for range 100 {
					log.Info("line", "a", "b")
				}
			})
		}
		done.Wait()
		if w.lines != 800 || w.others > 0 {
			t.Errorf("%d lines in writes of their own, and %d other writes", w.lines, w.others)
		}
	}
}

// oneLineWrites counts without a lock: the race detector sees who does not wait.
type oneLineWrites struct{ lines, others int }

func (w *oneLineWrites) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("line")) && bytes.IndexByte(b, '\n') == len(b)-1 {
		w.lines++
	} else {
		w.others++
	}
	return len(b), nil
}

// logged is a line.
func logged(format telemetry.Format, msg string, attrs ...any) string {
	var b bytes.Buffer
	telemetry.NewLogger(&b, format, slog.LevelInfo).Info(msg, attrs...)
	return b.String()
}
