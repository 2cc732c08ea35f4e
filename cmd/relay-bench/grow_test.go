package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// growBench runs 'relay-bench grow' for a moment.
func growBench(ctx context.Context, t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return measured(ctx, t, []string{"grow"}, append([]string{"--events=2000", "--connections=8", "--settle=10ms"}, args...)...)
}

// A store grows, and has everything after a crash and after an orderly end.
func TestGrow(t *testing.T) {
	for _, sync := range []string{idAlways, idInterval} {
		code, stdout, stderr := growBench(t.Context(), t, "--json", "--sync", sync)
		if code != exitMeasured || stderr != "" {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		var got struct {
			Facts    facts
			Events   int
			Sync     string
			Sections []struct {
				Stored, IDsInWindow                int
				RequestsPerSecond, P99Milliseconds float64
				StoreBytesPerEvent                 float64
			}
			Starts []struct {
				Start                               string
				Stored, IDsInWindow                 int
				ReadyMilliseconds, StopMilliseconds *float64
				HeapMebibytes                       *float64
			}
			Problems     []string
			CostOfWindow map[string]*float64
		}
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatalf("%v in %s", err, stdout)
		}
		if got.Events != 2000 || got.Sync != sync || got.Facts.Relay == "" || got.Problems == nil || len(got.Problems) > 0 {
			t.Error(stdout)
		}
		bounds := "20 200 400 600 800 1000 1200 1400 1600 1800 2000 "
		for _, s := range got.Sections {
			var found bool
			bounds, found = strings.CutPrefix(bounds, fmt.Sprintf("%d ", s.Stored))
			if !found || s.IDsInWindow != s.Stored || s.RequestsPerSecond <= 0 || s.P99Milliseconds <= 0 || s.StoreBytesPerEvent < 500 || s.StoreBytesPerEvent > diskPerEvent {
				t.Errorf("%+v, wanted next: %s", s, bounds)
			}
		}
		if bounds != "" || len(got.Starts) != starts {
			t.Fatalf("no section ends at %s; %d starts", bounds, len(got.Starts))
		}
		for i, ids := range []int{2000, 2000, 0} {
			s := got.Starts[i]
			if s.Stored != 2000 || s.IDsInWindow != ids || *s.ReadyMilliseconds <= 0 || (s.StopMilliseconds == nil) != (i == 0) || (s.HeapMebibytes == nil) != (i == 0) {
				t.Errorf("%s: %+v", s.Start, s)
			}
		}
		if cost := got.CostOfWindow; len(cost) != 3 { // too few ids to tell for certain
			t.Errorf("%v", cost)
		}
	}
}

// Events that are gone, and ids that are forgotten, are noticed.
func TestGrowLosses(t *testing.T) {
	forgetful := filepath.Join(t.TempDir(), "forgetful")
	// By the time it starts again, the last ids are older than its window.
	script := "#!/bin/sh\nsleep 0.3\nRELAY_STREAM_MAX_AGE=1s RELAY_DEDUPE_WINDOW=100ms exec " + relayProgram + ` "$@"` + "\n"
	if err := os.WriteFile(forgetful, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := growBench(t.Context(), t, "--relay", forgetful, "--settle=1s")
	if code != exitFailed || !strings.Contains(stderr, "failed; the first: after SIG") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{
		"! empty window: 0 events are stored, and 2000 were answered with 200\n",
		"is not answered as a duplicate: 200 without \"duplicate\":true\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

// Stopped in the middle, it leaves nothing behind; growBench looks for that.
func TestGrowStopped(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	code, stdout, stderr := growBench(ctx, t, "--events=1000000")
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "stopped") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// What cannot fit on the disk is not begun.
func TestGrowDiskTooSmall(t *testing.T) {
	if _, err := freeBytes("."); err != nil {
		t.Skip("the space left on a disk cannot be told here")
	}
	code, stdout, stderr := growBench(t.Context(), t, "--events=1000000000000")
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "need about 1049041748 MiB of disk") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

func TestGrowWrongUsage(t *testing.T) {
	for _, args := range [][]string{
		{"more"},
		{"--rounds=1"},
		{"--events=1"},
		{"--window=1"},
		{"--window=1ms"},
		{"--connections=0"},
		{"--sync=never"},
		{"--settle=-1s"},
		{"--relay=/nowhere/relay"},
	} {
		code, stdout, stderr := growBench(t.Context(), t, args...)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "relay-bench: ") {
			t.Errorf("%v: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

// Of the ids, those count that are no older than the window, be it between two
// samples or not.
func TestInWindow(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	g := growth{samples: []sample{{ago(4 * time.Hour), 0}, {ago(3 * time.Hour), 100}, {ago(time.Hour), 300}}}
	for window, want := range map[time.Duration]int{
		5 * time.Hour: 300, 3 * time.Hour: 200, 2 * time.Hour: 100, 90 * time.Minute: 50, time.Minute: 0,
	} {
		if got := g.inWindow(window); got < want-1 || got > want+1 {
			t.Errorf("%d in %v, want %d", got, window, want)
		}
	}
}
