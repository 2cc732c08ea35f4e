package telemetry

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A line that has to be written is there when it is told so, however long it is.
func TestSyncWrites(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := NewAsyncWriter(&out, Text)
	defer w.Close()
	log := NewLogger(w.Sync(), Text, slog.LevelInfo)
	long := strings.Repeat("x", 3*logBufferBytes)
	for _, text := range []string{"one", long, "two"} {
		r := slog.NewRecord(time.Now(), slog.LevelWarn, text, 0)
		if err := log.Handler().Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), text) {
			t.Errorf("%.10s is not there", text)
		}
	}
	if w.Dropped() != 0 {
		t.Errorf("%d lines are missing", w.Dropped())
	}
}

// A line that is not written is no success, whatever keeps it.
func TestSyncTellsWhatIsNotWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		w := NewAsyncWriter(write, Text)
		if _, err := w.Sync().Write([]byte("stalled\n")); err == nil {
			t.Error("a stalled reader has taken a line")
		}
		w.Write(make([]byte, logBufferBytes)) // does not fit, and is missing
		if _, err := w.Sync().Write([]byte("no room\n")); err == nil {
			t.Error("what waits for room is taken for written")
		}
		go func() { _, _ = io.Copy(io.Discard, read) }()
		synctest.Wait()
		if _, err := w.Sync().Write([]byte("again\n")); err != nil {
			t.Error(err)
		}
		w.Close()
		if _, err := w.Sync().Write([]byte("late\n")); err == nil {
			t.Error("a closed log takes lines")
		}
		read.Close()
	})
	w := NewAsyncWriter(brokenPipe{}, Text)
	defer w.Close()
	for range 2 {
		if _, err := w.Sync().Write([]byte("x\n")); !errors.Is(err, errLogGone) {
			t.Errorf("%v, want %v", err, errLogGone)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }
