package replay_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/schema"
)

// told is what a replay tells while it runs. Its functions need no lock: they are called
// in turn, as the race detector sees.
type told struct {
	progress []replay.Progress
	failures []replay.Undelivered
	results  []replay.Delivery
}

func (s *told) listen(o *replay.Options) {
	o.OnProgress = func(p replay.Progress) { s.progress = append(s.progress, p) }
	o.OnFailure = func(u replay.Undelivered) { s.failures = append(s.failures, u) }
	o.OnResult = func(d replay.Delivery) error {
		s.results = append(s.results, d)
		return nil
	}
}

// What comes of each message is told as it becomes known, and the last progress is what the
// summary says.
func TestWhatIsToldOnTheWay(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Binary, 1, 30)
	if _, err := s.js.Publish(t.Context(), "apixo.task.success", []byte("no event")); err != nil {
		t.Fatal(err)
	}
	tries := new(seen)
	h := consumer(t, func(w http.ResponseWriter, _ *http.Request, task string) {
		switch {
		case task == id(3):
			w.WriteHeader(http.StatusForbidden)
		case task == id(4) && tries.add(task) < 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	})
	o, listener := all(1), new(told)
	o.Filter.Tasks = []string{""} // which what is no event has for a task
	for _, n := range sequences(1, 20) {
		o.Filter.Tasks = append(o.Filter.Tasks, id(n))
	}
	listener.listen(&o)
	began := time.Now()
	summary := run(t.Context(), t, s, replay.HTTP(h), o)
	wantCounts(t, summary, 19, 1, 1, 0, 3)

	last := listener.progress[len(listener.progress)-1]
	if want := (replay.Progress{Read: 31, Total: 31, Delivered: 19, Failed: 1, Skipped: 1}); last != want {
		t.Errorf("the last progress is %+v, want %+v", last, want)
	}
	if !slices.IsSortedFunc(listener.progress, func(a, b replay.Progress) int {
		return a.Read + a.Delivered + a.Failed + a.Skipped - b.Read - b.Delivered - b.Failed - b.Skipped
	}) {
		t.Error("the progress goes back")
	}
	if len(listener.failures) != 1 || !slices.Equal(listener.failures, summary.Failures) {
		t.Errorf("failures %+v, want %+v", listener.failures, summary.Failures)
	}
	if len(listener.results) != 21 {
		t.Fatalf("%d results, want 21", len(listener.results))
	}
	for _, d := range listener.results {
		want := replay.Delivery{
			Position: d.Position, Type: schema.TypeTaskSuccess, Subject: id(int(d.Sequence)), Model: "nano banana",
			Outcome: replay.Delivered, Status: "202 Accepted", Attempts: 1, Duration: d.Duration,
		}
		switch d.Sequence {
		case 3, 6, 9, 12, 15, 18:
			want.Type = schema.TypeTaskFailed
		}
		switch d.Sequence {
		case 3:
			want.Outcome, want.Status, want.Reason = replay.Failed, "403 Forbidden", "403 Forbidden"
		case 4:
			want.Attempts = 3
		case 31:
			want = replay.Delivery{Position: d.Position, Outcome: replay.Skipped, Reason: d.Reason}
			if !strings.Contains(d.Reason, "no CloudEvent") {
				t.Errorf("skipped because %q", d.Reason)
			}
		}
		if d != want {
			t.Errorf("got  %+v\nwant %+v", d, want)
		}
		if d.Attempts > 0 && (d.Duration <= 0 || d.Duration > time.Since(began)) || d.Stored.IsZero() || d.ID != want.Subject {
			t.Errorf("%+v", d)
		}
	}
}

// What a dry run would deliver is told like a delivery, with nothing sent.
func TestWhatADryRunTells(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 3)
	o, listener := all(1), new(told)
	o.DryRun = true
	listener.listen(&o)
	run(t.Context(), t, s, replay.Lines(new(bytes.Buffer)), o)
	for i, d := range listener.results {
		if d.Sequence != uint64(i+1) || d.Outcome != replay.Selected || d.Attempts != 0 || d.Status != "" || d.Reason != "" {
			t.Errorf("%+v", d)
		}
	}
	if last := listener.progress[len(listener.progress)-1]; len(listener.results) != 3 || last.Delivered != 3 {
		t.Errorf("%d results, %+v", len(listener.results), last)
	}
}
