package replay_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
)

// following selects what is stored from a sequence on and what comes; 0 is from now on.
func following(from uint64) replay.Options {
	o := all(from)
	o.Selection.Follow, o.Concurrency = true, 1
	return o
}

// interrupt restarts the broker, and waits until the connection is there again.
func (s *store) interrupt(t *testing.T) {
	t.Helper()
	back := s.conn.StatusChanged(nats.CONNECTED)
	defer s.conn.RemoveStatusListener(back)
	s.restart(t)
	select {
	case <-back:
	case <-time.After(2 * time.Minute):
		t.Error("the connection does not come back")
	}
}

// wantOnce checks that each task came once, in order.
func wantOnce(t *testing.T, order []string, from, to int) {
	t.Helper()
	var want []string
	for _, n := range sequences(from, to) {
		want = append(want, id(n))
	}
	if !slices.Equal(order, want) {
		t.Errorf("there came, of %d to %d, these %d: %v", from, to, len(order), order)
	}
}

// What comes is delivered as it comes, each event once and in order, although the broker goes
// away meanwhile; the end of the context is the ordinary end.
func TestFollow(t *testing.T) {
	t.Parallel()
	const stored, come = 300, 200
	for name, from := range map[string]uint64{"from now on": 0, "history first": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			s.tasks(t, event.Structured, 1, stored)
			first := stored + 1
			if from > 0 {
				first = int(from)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			got := new(seen)
			h := consumer(t, func(_ http.ResponseWriter, _ *http.Request, task string) { got.add(task) })
			o, listener := following(from), new(told)
			listener.listen(&o)
			o.OnStart = func(target string, sequence uint64) {
				if sequence != uint64(first) || target != "http://"+h.URL.Host {
					t.Errorf("it begins with %d to %s, want %d", sequence, target, first)
				}
				go s.tasks(t, event.Binary, stored+1, come/2)
			}
			count := o.OnResult
			o.OnResult = func(d replay.Delivery) error {
				switch d.Sequence {
				case stored + come/2:
					s.interrupt(t)
					s.tasks(t, event.Structured, stored+come/2+1, come/2)
				case stored + come:
					cancel()
				}
				return count(d)
			}
			summary := run(ctx, t, s, replay.HTTP(h), o)
			n := stored + come - first + 1
			wantCounts(t, summary, n, 0, 0, 0, stored+come+1)
			wantOnce(t, got.order, first, stored+come)
			if !summary.Complete() || summary.LastSequence != stored+come || len(listener.results) != n {
				t.Errorf("%d results, %+v", len(listener.results), summary)
			}
			for _, p := range listener.progress {
				if p.Total != -1 {
					t.Fatalf("the total is known: %+v", p)
				}
			}
		})
	}
}

// Stopped while a receiver that is down is tried again, what is under way is given up, and is
// where the next one resumes. That is no failure.
func TestFollowIsStoppedBetweenAttempts(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 5)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := consumer(t, func(w http.ResponseWriter, _ *http.Request, task string) {
		if task == id(3) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	h.Attempts = 100
	h.Backoff = func() backoff.BackOff { return backoff.NewConstantBackOff(time.Hour) }
	h.OnTrouble = func(string) { cancel() }
	o, listener := following(1), new(told)
	listener.listen(&o)
	wantCounts(t, run(ctx, t, s, replay.HTTP(h), o), 2, 0, 0, 1, 3)
	if last := listener.results[len(listener.results)-1]; last.Outcome != replay.Unfinished || last.Attempts != 1 || last.Status != "503 Service Unavailable" ||
		last.Reason != "503 Service Unavailable; given up, because the replay was stopped" {
		t.Errorf("%+v", last)
	}
}

// A name that is not found is a mistake at the beginning; later on it is a network that is away
// for a while, for whoever follows.
func TestReceiverThatIsNotFoundForAWhile(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 5)
	for name, tt := range map[string]struct {
		patient bool
		missing []int64 // requests
		stops   bool
		failed  int
	}{
		"from the beginning": {patient: true, missing: []int64{1}, stops: true},
		"later":              {patient: true, missing: []int64{2, 3, 6, 7, 8}, failed: 1},
		"not patient":        {missing: []int64{2}, stops: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := consumer(t, func(http.ResponseWriter, *http.Request, string) {})
			h.Patient = tt.patient
			var requests atomic.Int64
			there := h.Transport
			h.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
				if slices.Contains(tt.missing, requests.Add(1)) {
					return nil, &net.DNSError{Err: "no such host", Name: "consumer.example", IsNotFound: true}
				}
				return there.RoundTrip(r)
			})
			o := all(1)
			o.Concurrency = 1
			summary, err := replay.Run(t.Context(), s.conn, replay.HTTP(h), o)
			if stopped := err != nil && strings.Contains(err.Error(), "host not found"); stopped != tt.stops || !stopped && err != nil {
				t.Errorf("%v", err)
			}
			if !tt.stops {
				wantCounts(t, summary, 5-tt.failed, tt.failed, 0, 0, 4)
			}
		})
	}
}

// roundTripper is an http.RoundTripper of one function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Lines that nobody can read any more end it, and what ended it is told although the context
// ends, too.
func TestFollowEndsWithWhoeverIsTold(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	full, o := errors.New("the disk is full"), following(1)
	o.OnResult = func(d replay.Delivery) error {
		if d.Sequence < 4 {
			return nil
		}
		context.AfterFunc(t.Context(), cancel)
		return full
	}
	o.OnProgress = func(p replay.Progress) {
		if p.Delivered == 4 {
			cancel()
		}
	}
	summary, err := replay.Run(ctx, s.conn, replay.HTTP(consumer(t, func(http.ResponseWriter, *http.Request, string) {})), o)
	if !errors.Is(err, full) || summary.Delivered > 5 || summary.ResumeSequence != uint64(summary.Delivered+1) {
		t.Errorf("%v, %+v", err, summary)
	}
}

// A stream elsewhere gets what comes in order and once, although the broker that has both goes
// away meanwhile.
func TestFollowToASubject(t *testing.T) {
	t.Parallel()
	const n = 400
	s := newStore(t)
	s.stream(t, jetstream.StreamConfig{Name: "TARGET", Subjects: []string{"target"}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	to, _ := natsTarget(t, s, subject("target"))
	o := following(0)
	o.Concurrency = 64
	o.OnStart = func(string, uint64) { go s.tasks(t, event.Structured, 1, n/2) }
	o.OnResult = func(d replay.Delivery) error {
		switch {
		case d.Outcome != replay.Delivered && d.Outcome != replay.Skipped:
			t.Errorf("%+v", d)
		case d.Sequence == n/2:
			s.interrupt(t)
			s.tasks(t, event.Structured, n/2+1, n/2)
		case d.Sequence == n:
			cancel()
		}
		return nil
	}
	summary := run(ctx, t, s, to, o)
	if summary.Delivered+summary.Duplicates != n || summary.ResumeSequence != n+1 {
		t.Errorf("%+v", summary)
	}
	s.wantInOrder(t, "TARGET", n)
}

// However long it follows, what it keeps of what has gone is little.
func TestFollowInBoundedMemory(t *testing.T) {
	if underRace {
		t.Skip("the race detector's memory is not the program's")
	}
	s := newStore(t)
	s.tasks(t, event.Structured, 1, *manyEvents)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	before, most := heap(), uint64(0)
	var read atomic.Int64
	o := following(1)
	o.OnResult = func(replay.Delivery) error {
		switch n := int(read.Add(1)); {
		case n == *manyEvents:
			cancel()
		case n%(*manyEvents/5) == 0:
			most = max(most, heap())
		}
		return nil
	}
	wantCounts(t, run(ctx, t, s, replay.Lines(io.Discard), o), *manyEvents, 0, 0, 0, uint64(*manyEvents+1))
	if most > before+24<<20 {
		t.Errorf("the heap grew from %d to %d MiB", before>>20, most>>20)
	}
}
