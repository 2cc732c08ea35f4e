package httpclient

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetryable(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]bool{
		200: false, 301: false, 400: false, 401: false, 404: false, 408: true, 425: true, 429: true,
		500: true, 501: false, 502: true, 503: true, 504: true, 505: false,
	} {
		if got := (Result{Status: status}).Retryable(); got != want {
			t.Errorf("%d: %v", status, got)
		}
	}
	for cause, want := range map[string]bool{
		CauseRefused: true, CauseTimeout: true, CauseReset: true, CauseBrokenOff: true, CauseLookup: true, CauseOther: true,
		CauseInterrupted: false, CauseNoHost: false, CauseUntrusted: false, CauseNoTLS: false, CauseTLS: false,
	} {
		if got := (Result{Cause: cause}).Retryable(); got != want {
			t.Errorf("%s: %v", cause, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-1": 0, "1.5": 0, "0": 0, "7": 7 * time.Second,
		"299": 299 * time.Second, "301": maxRetryAfter, "999999999999": maxRetryAfter, "99999999999999999999999": maxRetryAfter,
		"Sat, 31 Jan 2026 12:00:30 GMT": 30 * time.Second, "Sat, 31 Jan 2026 11:00:00 GMT": 0, "Sun, 31 Jan 2027 12:00:00 GMT": maxRetryAfter,
	} {
		a := Result{Header: http.Header{"Retry-After": {value}}}
		if got := a.RetryAfter(now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// Whoever comes while the gate is closed waits for the longest that was asked for.
func TestGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		began := time.Now()
		if err := g.Wait(t.Context()); err != nil || time.Since(began) != 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		g.Close(3 * time.Second)
		g.Close(time.Second)
		if err := g.Wait(t.Context()); err != nil || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		g.Close(time.Second)
		time.AfterFunc(time.Second/2, func() { g.Close(4 * time.Second) }) // while somebody waits
		if err := g.Wait(t.Context()); err != nil || time.Since(began) != 7500*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		g.Close(time.Hour)
		if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}
