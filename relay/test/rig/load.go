package rig

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// loadWorkers is how many webhooks of a load can wait at once, unless it is said
	// otherwise: enough for a relay that takes seconds while brokers elect.
	loadWorkers = 32
	// refusedPause is after a webhook that was not accepted: those who have been
	// sent away do not come back at once, and all of them are counted afterwards.
	refusedPause = 50 * time.Millisecond
)

// Pace is how hard a load is. The zero Pace is 32 webhooks on the way at any moment.
type Pace struct {
	// Workers is how many webhooks can be on the way at once; 0 means 32.
	Workers int
	// Pause is between the answer to a worker's webhook and its next one.
	Pause time.Duration
	// Padding is that of [Webhook].
	Padding int
}

// Receipt is a 200.
type Receipt struct {
	ID string
	// Stream and Sequence are where the answer says that it is stored.
	Stream   string
	Sequence uint64
}

// Load is fresh webhooks, many at once, until it is stopped.
type Load struct {
	stop    context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	outcome Outcome
	change  chan struct{} // closed, and made anew, with every answer
}

// Outcome is what became of a load's webhooks.
type Outcome struct {
	// Accepted got 200, in this order; Open are the ids of the others: refused, or
	// without any answer.
	Accepted []Receipt
	Open     []string
	// Problems counts the refusals by their name, and what had no answer under
	// what became of the connection: see [NoAnswer].
	Problems map[string]int
	// Duplicates is how many of those accepted were called duplicates: a first
	// try of the relay had been stored, but not acknowledged.
	Duplicates int
	// Slowest is the longest time to an answer.
	Slowest time.Duration
}

// IDs are those that got 200.
func (o Outcome) IDs() []string {
	ids := make([]string, len(o.Accepted))
	for i, r := range o.Accepted {
		ids[i] = r.ID
	}
	return ids
}

// Sent is how many webhooks were sent.
func (o Outcome) Sent() int { return len(o.Accepted) + len(o.Open) }

// String is for a test's log.
func (o Outcome) String() string {
	return fmt.Sprintf("%d accepted (%d as duplicates), %d not %v, slowest %s", len(o.Accepted), o.Duplicates, len(o.Open), o.Problems, o.Slowest.Round(time.Millisecond))
}

// StartLoad sends webhooks whose ids start with a prefix, until [Load.Stop] or
// the end of ctx.
func (s *Sender) StartLoad(ctx context.Context, prefix string, pace Pace) *Load {
	if pace.Workers == 0 {
		pace.Workers = loadWorkers
	}
	ctx, cancel := context.WithCancel(ctx)
	l := newLoad(cancel)
	for worker := range pace.Workers {
		l.workers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%s_%d_%d", prefix, worker, i)
				// What is on its way when the load is stopped is waited for.
				answer, err := s.PostBody(context.WithoutCancel(ctx), Webhook(id, "success", pace.Padding))
				l.record(id, answer, err)
				wait := pace.Pause
				if answer.Status != http.StatusOK {
					wait = max(pace.Pause, refusedPause)
				}
				select {
				case <-time.After(wait):
				case <-ctx.Done():
				}
			}
		})
	}
	return l
}

func newLoad(stop context.CancelFunc) *Load {
	return &Load{stop: stop, change: make(chan struct{}), outcome: Outcome{Problems: make(map[string]int)}}
}

func (l *Load) record(id string, a Answer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcome.add(id, a, err)
	close(l.change)
	l.change = make(chan struct{})
}

func (o *Outcome) add(id string, a Answer, err error) {
	switch {
	case err != nil:
		o.Open = append(o.Open, id)
		o.Problems[NoAnswer(err)]++
	case a.Status == http.StatusOK:
		o.Accepted = append(o.Accepted, Receipt{id, a.Stream, a.Sequence})
		if a.Duplicate {
			o.Duplicates++
		}
	default:
		o.Open = append(o.Open, id)
		o.Problems[a.Problem()]++
	}
	o.Slowest = max(o.Slowest, a.Took)
}

// AwaitAccepted waits until n more webhooks have got 200.
func (l *Load) AwaitAccepted(ctx context.Context, n int) error {
	return l.await(ctx, n, "accepted", func(o *Outcome) int { return len(o.Accepted) })
}

// AwaitRefused waits until n more webhooks have met a problem, which has a name
// of those in [Outcome.Problems].
func (l *Load) AwaitRefused(ctx context.Context, problem string, n int) error {
	return l.await(ctx, n, fmt.Sprintf("refused with %q", problem), func(o *Outcome) int { return o.Problems[problem] })
}

// await waits until a count has grown by n.
func (l *Load) await(ctx context.Context, n int, what string, count func(*Outcome) int) error {
	want := -1
	for {
		l.mu.Lock()
		got, change := count(&l.outcome), l.change
		l.mu.Unlock()
		if want < 0 {
			want = got + n
		}
		if got >= want {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d webhooks were %s: %w", n-(want-got), n, what, context.Cause(ctx))
		}
	}
}

// Stop sends no more, and returns when the last answer is there.
func (l *Load) Stop() Outcome {
	l.stop()
	l.workers.Wait()
	return l.outcome
}
