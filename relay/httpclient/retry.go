package httpclient

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/apixo-relay/apixo-relay/relay/retry"
)

const (
	// The first and the last interval of the back-off.
	minBackoff = 500 * time.Millisecond
	maxBackoff = 30 * time.Second

	// maxRetryAfter bounds what a receiver can ask for.
	maxRetryAfter = 5 * time.Minute
)

// Retryable reports whether the same request may be answered better later: where
// there was no answer, or one that says so.
func (a Result) Retryable() bool {
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

// RetryAfter is what the answer asks for before the next request, 5 minutes at the most; 0 if
// it asks for nothing.
func (a Result) RetryAfter(now time.Time) time.Duration {
	return RetryAfter(a.Header, now, maxRetryAfter)
}

// RetryAfter is what a header asks for before the next request (RFC 9110, section 10.2.3):
// seconds or a date, and at most limit; 0 if it asks for nothing.
func RetryAfter(header http.Header, now time.Time, limit time.Duration) time.Duration {
	value := header.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		wait = time.Duration(min(seconds, uint64(limit/time.Second))) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, 0), limit)
}

// Backoff returns how long to wait between attempts: from half a second to half a minute,
// twice as long each time.
func Backoff() backoff.BackOff { return retry.Backoff(minBackoff, maxBackoff) }

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

// IsOpen reports whether requests may be made.
func (g *Gate) IsOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Until(g.until) <= 0
}

// Wait returns when the gate is open; with an error if ctx ends first, or at once if its
// deadline will be before that.
func (g *Gate) Wait(ctx context.Context) error {
	for {
		g.mu.Lock()
		until := g.until
		g.mu.Unlock()
		wait := time.Until(until)
		if wait <= 0 {
			return ctx.Err()
		}
		if end, ok := ctx.Deadline(); ok && end.Before(until) {
			return context.DeadlineExceeded
		}
		if err := retry.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}
