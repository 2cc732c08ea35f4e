package send

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// respond makes an answer as a transport returns it.
func respond(r *http.Request, status int) *http.Response {
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("")), Request: r}
}

// offline are options for one sample over a transport without a network. They
// are for tests in which time is simulated.
func offline(t *testing.T, transport roundTrip) Options {
	t.Helper()
	return Options{
		URL:         &url.URL{Scheme: "http", Host: "receiver"},
		Transport:   transport,
		Payloads:    []Payload{sample(t, Success)},
		Count:       1,
		Concurrency: 1,
	}
}

// Within the simulated time of synctest, the schedule is APIXO's to the second.
func TestRunFollowsTheSchedule(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		answer   roundTrip
		attempts []time.Duration // when they are made
		ends     time.Duration
	}{
		{
			"refused at once",
			func(r *http.Request) (*http.Response, error) { return respond(r, http.StatusServiceUnavailable), nil },
			[]time.Duration{0, 30 * time.Second, 150 * time.Second, 750 * time.Second},
			750 * time.Second,
		}, {
			"never answered",
			func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() },
			[]time.Duration{0, 60 * time.Second, 210 * time.Second, 840 * time.Second},
			14*time.Minute + 30*time.Second,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var attempts []time.Duration
				o := offline(t, func(r *http.Request) (*http.Response, error) {
					attempts = append(attempts, time.Since(began))
					return test.answer(r)
				})
				o.Retries, _ = RetrySchedule(1)
				s := mustRun(t, o)
				if !slices.Equal(attempts, test.attempts) || time.Since(began) != test.ends || s.Failed != 1 {
					t.Errorf("attempts at %v, the end after %v; want %v and %v", attempts, time.Since(began), test.attempts, test.ends)
				}
			})
		})
	}
}

// An attempt that is due goes out before a webhook that was never tried.
func TestRunPrefersWhatIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var order []string
		o := offline(t, func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second) // simulated: how long an answer takes
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			order = append(order, string(body))
			if len(order) == 1 {
				return respond(r, http.StatusServiceUnavailable), nil
			}
			return respond(r, http.StatusOK), nil
		})
		o.Payloads = nil
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			o.Payloads = append(o.Payloads, File(name, []byte(name), false))
		}
		o.Retries = []time.Duration{1500 * time.Millisecond}
		mustRun(t, o)
		// a ends after 1 s and is due at 2.5 s, while c has the only slot.
		if want := []string{"a", "b", "c", "a", "d", "e"}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	})
}

func TestRunKeepsToTheRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		starts := make(chan time.Duration, 10)
		o := offline(t, func(r *http.Request) (*http.Response, error) {
			starts <- time.Since(began)
			time.Sleep(10 * time.Second) // simulated: slower than the rate
			return respond(r, http.StatusOK), nil
		})
		o.Count, o.Concurrency, o.Rate = 5, 5, 2
		mustRun(t, o)
		close(starts)
		for i := 0; i < 5; i++ {
			if got, want := <-starts, time.Duration(i)*500*time.Millisecond; got != want {
				t.Errorf("attempt %d began after %v, want %v", i, got, want)
			}
		}
	})
}

// A deadline that comes before the next turn ends the run, when it comes.
func TestRunWithDeadlineBeforeTheTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		o := offline(t, func(r *http.Request) (*http.Response, error) { return respond(r, http.StatusOK), nil })
		o.Count, o.Rate = 3, 0.001
		s, err := Run(ctx, o)
		if !errors.Is(err, context.DeadlineExceeded) || s.Delivered != 1 || s.NotStarted != 2 {
			t.Errorf("%v, summary %+v", err, s)
		}
	})
}

// A sample tells the time of its first attempt, in all its attempts.
func TestRunDatesWebhooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var bodies []string
		o := offline(t, func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			bodies = append(bodies, string(body))
			return respond(r, http.StatusServiceUnavailable), err
		})
		o.Retries, _ = RetrySchedule(1)
		o.Now = func() time.Time { return completed.Add(time.Duration(len(bodies)) * time.Hour) }
		mustRun(t, o)
		if len(bodies) != 4 || len(slices.Compact(bodies)) != 1 || !strings.Contains(bodies[0], `"completeTime":1704067212500`) {
			t.Errorf("bodies %q", bodies)
		}
	})
}
