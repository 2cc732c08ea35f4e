package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Lines are the events in order, with their data to the last digit, and what is
// selected is what is there.
func TestLines(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 10)
	s.tasks(t, event.Binary, 11, 10)
	if _, err := s.js.Publish(t.Context(), "apixo.task.success", []byte("no event")); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*replay.Options)
		want   []int
		read   int
		skip   int
		resume uint64
	}{
		"everything":    {func(*replay.Options) {}, sequences(1, 20), 21, 1, 22},
		"from the end":  {func(o *replay.Options) { o.Selection.FromSeq = 20 }, sequences(20, 20), 2, 1, 22},
		"behind it":     {func(o *replay.Options) { o.Selection.FromSeq = 30 }, nil, 0, 0, 30},
		"a range":       {func(o *replay.Options) { o.Selection.FromSeq, o.Selection.ToSeq = 5, 12 }, sequences(5, 12), 8, 0, 13},
		"a range over":  {func(o *replay.Options) { o.Selection.ToSeq = 100 }, sequences(1, 20), 21, 1, 22},
		"failed ones":   {func(o *replay.Options) { o.Selection.Subjects = []string{"apixo.task.failed"} }, []int{3, 6, 9, 12, 15, 18}, 6, 0, 22},
		"none of them":  {func(o *replay.Options) { o.Selection.Subjects = []string{"apixo.task.other"} }, nil, 0, 0, 22},
		"two tasks":     {func(o *replay.Options) { o.Filter.Tasks = []string{id(17), id(2)} }, []int{2, 17}, 21, 0, 22},
		"another task":  {func(o *replay.Options) { o.Filter.Tasks = []string{"task_x"} }, nil, 21, 0, 22},
		"a minute":      {func(o *replay.Options) { since(o, time.Minute, 0) }, sequences(1, 20), 21, 1, 22},
		"the future":    {func(o *replay.Options) { since(o, -time.Minute, 0) }, nil, 0, 0, 22},
		"long ago":      {func(o *replay.Options) { since(o, time.Hour, time.Minute) }, nil, 0, 0, 1},
		"until later":   {func(o *replay.Options) { since(o, time.Hour, -time.Minute) }, sequences(1, 20), 21, 1, 22},
		"dry":           {func(o *replay.Options) { o.DryRun = true }, nil, 21, 1, 1},
		"dry, nothing":  {func(o *replay.Options) { o.DryRun, o.Filter.Tasks = true, []string{"x"} }, nil, 21, 0, 22},
		"slowly enough": {func(o *replay.Options) { o.Selection.ToSeq, o.Rate = 5, 200 }, sequences(1, 5), 5, 0, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := all(1)
			tt.change(&o)
			var out bytes.Buffer
			began := time.Now()
			summary := run(t.Context(), t, s, replay.Lines(&out), o)
			if o.Rate > 0 && time.Since(began) < 4*time.Second/200 {
				t.Error("that was too fast")
			}
			delivered := len(tt.want)
			if name == "dry" {
				delivered = 20
				if summary.First == nil || summary.First.Sequence != 1 || summary.Last.Sequence != 20 || summary.Last.ID != id(20) {
					t.Errorf("the ends are %v and %v", summary.First, summary.Last)
				}
			}
			wantCounts(t, summary, delivered, 0, tt.skip, 0, tt.resume)
			if summary.Read != tt.read {
				t.Errorf("%d were read, want %d", summary.Read, tt.read)
			}
			lines := strings.SplitAfter(out.String(), "\n")
			lines = lines[:len(lines)-1]
			if len(lines) != len(tt.want) {
				t.Fatalf("%d lines, want %d:\n%s", len(lines), len(tt.want), out.String())
			}
			for i, n := range tt.want {
				e, err := schema.DecodeMessage(map[string][]string{"Content-Type": {"application/cloudevents+json"}}, []byte(lines[i]))
				if err != nil || e.ID != id(n) || e.Extensions["model"] != "nano banana" || !bytes.Contains(e.Data, []byte(`"n":1.50e+2`)) {
					t.Errorf("line %d is no. %d? %v\n%s", i, n, err, lines[i])
				}
			}
		})
	}
}

func since(o *replay.Options, ago, until time.Duration) {
	o.Selection.FromSeq, o.Selection.Since = 0, time.Now().Add(-ago)
	if until != 0 {
		o.Selection.Until = time.Now().Add(-until)
	}
}

func sequences(from, to int) (list []int) {
	for i := from; i <= to; i++ {
		list = append(list, i)
	}
	return list
}

// What ends by time resumes with the first message behind the end, whether or not
// something came before it.
func TestUntil(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 3)
	middle := time.Now()
	s.tasks(t, event.Structured, 4, 3)
	o := all(1)
	o.Selection.Until = middle
	wantCounts(t, run(t.Context(), t, s, replay.Lines(new(bytes.Buffer)), o), 3, 0, 0, 0, 4)
	o.Filter.Tasks = []string{"none"}
	wantCounts(t, run(t.Context(), t, s, replay.Lines(new(bytes.Buffer)), o), 0, 0, 0, 0, 4)
}

// A stream that is not there, or a command that is stopped at once, leaves nothing
// to resume.
func TestNothingWasRead(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	o := all(1)
	o.Selection.Stream = "OTHER"
	summary, err := replay.Run(t.Context(), s.conn, replay.Lines(new(bytes.Buffer)), o)
	if err == nil || !strings.Contains(err.Error(), "OTHER") || summary.ResumeSequence != 0 {
		t.Errorf("%v, %+v", err, summary)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	summary, err = replay.Run(ctx, s.conn, replay.Lines(new(bytes.Buffer)), all(1))
	if !errors.Is(err, replay.ErrStopped) || summary.ResumeSequence != 0 {
		t.Errorf("%v, %+v", err, summary)
	}
}

// The line that could not be written is the one to resume from.
func TestLinesThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 10)
	written := 0
	summary, err := replay.Run(t.Context(), s.conn, replay.Lines(writer(func(p []byte) (int, error) {
		if written == 4 {
			return 0, errors.New("the disk is full")
		}
		written++
		return len(p), nil
	})), all(1))
	if err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("error %v", err)
	}
	wantCounts(t, summary, 4, 0, 0, 1, 5)
}

// A connection that is closed is no end of the stream.
func TestClosedConnection(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 2000)
	conn, err := nats.Connect(s.server.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	o := all(1)
	o.OnProgress = func(p replay.Progress) {
		if p.Read == 10 {
			conn.Close()
		}
	}
	summary, err := replay.Run(t.Context(), conn, replay.Lines(new(bytes.Buffer)), o)
	if err == nil || summary.ResumeSequence != uint64(summary.Delivered)+1 || summary.Delivered >= 2000 {
		t.Errorf("%v, %+v", err, summary)
	}
}

// The summary as text is for people, as JSON for programs.
func TestSummary(t *testing.T) {
	t.Parallel()
	s := replay.Summary{
		Stream: "APIXO", Target: "http://h", Read: 12345, Filtered: 7, LastSequence: 13000, Delivered: 12330, Failed: 12, Skipped: 2, Unfinished: 1,
		Duplicates: 3, Conflicts: 1, ResumeSequence: 7, DurationSeconds: 12.5,
		Skips: []replay.Undelivered{{Position: replay.Position{Sequence: 9}, Reason: "no event"}, {Position: replay.Position{Sequence: 10, ID: "\x1b[31m"}, Reason: "none either"}},
	}
	for i := range 12 {
		s.Failures = append(s.Failures, replay.Undelivered{Position: replay.Position{Sequence: uint64(7 + i), ID: fmt.Sprint("task_", i)}, Reason: "400 Bad Request"})
	}
	var b strings.Builder
	if err := s.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"read        12,345 messages of the stream APIXO, up to sequence 13000\n", "target      http://h\n", "passed over 7 that were not asked for\n",
		"delivered   12,330 (3 already stored there, 1 of them with another outcome)\n",
		"failed      12\n", "       7  task_0  400 Bad Request\n", "and 2 more", "skipped     2\n", "       9  -  no event\n", "  �[31m  none",
		"unfinished  1\n", "took        12.5 s, 986 a second\n", "resume      --from-seq 7\n",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("%q is not in\n%s", line, b.String())
		}
	}
	var out bytes.Buffer
	if err := (replay.Summary{}).WriteJSON(&out); err != nil || !strings.Contains(out.String(), `"failures":[],"skips":[]`) || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%v, %s", err, out.String())
	}
}

// Whatever ends first, the failures that are listed are those at the lowest sequences.
func TestFailuresAreListedFromTheFirst(t *testing.T) {
	t.Parallel()
	var order []uint64
	for i := range uint64(150) {
		order = append(order, (i*37)%150+1) // each from 1 to 150, in no order
	}
	list := replay.Listed(order...)
	for i, u := range list {
		if u.Sequence != uint64(i+1) {
			t.Fatalf("sequence %d is listed at %d", u.Sequence, i)
		}
	}
	if len(list) != 100 {
		t.Errorf("%d are listed", len(list))
	}
}
