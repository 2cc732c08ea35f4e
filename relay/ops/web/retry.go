package web

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// The back-off doubles from the first to the last figure.
	minBackoff = 500 * time.Millisecond
	maxBackoff = 30 * time.Second

	// maxRetryAfter bounds what a receiver can ask for.
	maxRetryAfter = 5 * time.Minute
)

// Retryable reports whether the same request may be answered better later: where
// there was no answer, or one that says so.
func (a Answer) Retryable() bool {
	switch a.Status {
	case 0:
		switch a.Cause {
		case CauseInterrupted, CauseNoHost, CauseUntrusted, CauseNoTLS, CauseTLS:
			return false
		}
		return true
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return a.Status >= 500
}

// RetryAfter is what the answer asks for before the next request (RFC 9110, section
// 10.2.3): seconds or a date, 5 minutes at the most; 0 if it asks for nothing.
func (a Answer) RetryAfter(now time.Time) time.Duration {
	value := a.Header.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		wait = time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// Backoff is how long to wait after a number of failed attempts, 1 or more: twice
// as long each time, from half a second to half a minute, and a random half of it
// more or less, so that many that failed together do not come back together.
func Backoff(failed int) time.Duration {
	wait := min(minBackoff<<min(failed-1, 10), maxBackoff)
	return wait/2 + rand.N(wait)
}

// Gate holds all requests back while their receiver asks for that. Its zero value
// is open.
type Gate struct {
	mu    sync.Mutex
	until time.Time
}

// Close holds back for a time from now, unless it does so for longer already.
func (g *Gate) Close(wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until := time.Now().Add(wait); until.After(g.until) {
		g.until = until
	}
}

// Wait returns when the gate is open; with an error if ctx ends first.
func (g *Gate) Wait(ctx context.Context) error {
	for {
		g.mu.Lock()
		wait := time.Until(g.until)
		g.mu.Unlock()
		if wait <= 0 {
			return ctx.Err()
		}
		if err := Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// Sleep waits; it returns ctx's error if that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
