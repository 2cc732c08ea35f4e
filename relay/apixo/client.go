// Package apixo asks APIXO's status API how tasks ended. One client is shared by all who
// ask, so that they keep to one rate and one pause together.
//
// It must not know what becomes of an answer.
package apixo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/time/rate"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
)

// troubleAfter is how many requests in a row must fail before the API is said to be away.
const troubleAfter = 3

// Options are what a client is made of.
type Options struct {
	// API names the API, the key and the rate; all are required.
	API config.API
	// Agent names the program to the API.
	Agent string
	// Transport makes the requests. Who made it closes its idle connections.
	Transport http.RoundTripper
	// Timeout is how long an answer may take, its body included.
	Timeout time.Duration
	// MaxAnswer bounds an answer, in bytes: as much as a webhook may have.
	MaxAnswer int64

	// OnAnswer is told the kind of each answer and how long it took; it may be nil.
	OnAnswer func(Kind, time.Duration)
	// OnTrouble is told what [Client.Trouble] returns whenever that changes; it may be nil.
	OnTrouble func(error)
	// OnPause is told that the API asks for a pause; it may be nil.
	OnPause func(time.Duration)
	// Backoff makes the back-off for pauses of which the API does not say how long they are
	// to be; nil means [httpclient.Backoff].
	Backoff func() backoff.BackOff
}

// Client asks the status API. It may be used by many goroutines.
type Client struct {
	o      Options
	http   *httpclient.Client
	header http.Header
	gate   httpclient.Gate
	turns  turns

	mu      sync.Mutex
	pauses  backoff.BackOff
	paused  time.Time // when the last of them began
	denied  string    // why the key was not taken, if the last answer says so
	failed  int       // requests in a row without a usable answer
	since   time.Time // the first of them
	trouble string    // the last of them
}

// New returns a client. Its error is about the address, which package config checks.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.API.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("APIXO_BASE_URL is no URL: %w", err)
	}
	if o.Backoff == nil {
		o.Backoff = func() backoff.BackOff { return httpclient.Backoff() }
	}
	c := &Client{
		o: o, pauses: o.Backoff(),
		header: http.Header{"Authorization": {"Bearer " + o.API.Key}, "Accept": {"application/json"}},
		turns:  turns{limiter: rate.NewLimiter(rate.Limit(o.API.Rate), 1), turn: make(chan struct{}, 1)},
		http: httpclient.NewClient(httpclient.Options{
			Agent: o.Agent, URL: base, Transport: o.Transport, Timeout: o.Timeout, MaxAnswer: o.MaxAnswer,
		}),
	}
	c.http.RedactURL(o.API.Key)
	return c, nil
}

// Redact makes text from the API fit to be shown: without the key, in one line, and of a
// bounded length.
func (c *Client) Redact(s string) string { return c.http.Redact(s) }

// Wait waits until a request may be made: within the rate, behind whoever has a higher
// priority, and while the API does not ask for a pause. Its error is the cause of ctx's end,
// or comes at once if that will be before a request may be made.
func (c *Client) Wait(ctx context.Context, p Priority) error {
	return c.turns.wait(ctx, p, &c.gate)
}

// Ask makes one request about a task, whose id and model are valid (see schema.ValidTaskID).
// [Client.Wait] comes before it. What goes wrong is an answer, too.
func (c *Client) Ask(ctx context.Context, model, taskID string) Answer {
	target := c.o.API.BaseURL + "/api/v1/statusTask/" + url.PathEscape(model) + "?taskId=" + url.QueryEscape(taskID)
	began := time.Now()
	result := c.http.Do(ctx, http.MethodGet, target, c.header, nil)
	answer := classify(taskID, result, c.http.Redact)
	if answer.Kind == Final {
		answer.Body = result.Body
	}
	answer.Paused = c.pause(result, began)
	c.note(&answer, began)
	if c.o.OnAnswer != nil {
		c.o.OnAnswer(answer.Kind, time.Since(began))
	}
	return answer
}

// pause has all requests wait if the API asks for that, for as long as it says.
func (c *Client) pause(result httpclient.Result, began time.Time) bool {
	wait := result.RetryAfter(time.Now())
	limited := result.Status == http.StatusTooManyRequests
	if limited && wait == 0 {
		c.mu.Lock()
		wait = c.nextPause(began)
		c.mu.Unlock()
	}
	if wait <= 0 {
		return limited
	}
	c.gate.Close(wait)
	if c.o.OnPause != nil {
		c.o.OnPause(wait)
	}
	return true
}

// nextPause returns how long to wait after an answer that does not say it. Requests that were
// under way when the last pause began are of the same trouble: however many there were, they
// make no pause longer. The lock is held.
func (c *Client) nextPause(began time.Time) time.Duration {
	if began.Before(c.paused) {
		return 0
	}
	c.paused = time.Now()
	return c.pauses.NextBackOff()
}

// note keeps what an answer says of the API as such. While it is in trouble, requests wait
// for longer and longer.
func (c *Client) note(a *Answer, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.troubled()
	c.denied = ""
	switch a.Kind {
	case Denied, Retry, Unusable:
		if a.Kind == Denied {
			c.denied = a.Detail
		}
		if c.failed++; c.failed == 1 {
			c.since = time.Now()
		}
		c.trouble = a.Detail
		if c.failed >= troubleAfter && !a.Paused {
			c.gate.Close(c.nextPause(began))
			a.Paused = true
		}
	default:
		c.failed = 0
		c.pauses.Reset()
	}
	if now := c.troubled(); now != before && c.o.OnTrouble != nil {
		c.o.OnTrouble(c.inTrouble())
	}
}

// troubled returns whether the API is in trouble, and in which.
func (c *Client) troubled() [2]bool { return [2]bool{c.denied != "", c.failed >= troubleAfter} }

// Trouble returns an error if the API does not take the key, or has given no usable answer to
// the last few requests. Nobody is asked for that.
func (c *Client) Trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inTrouble()
}

func (c *Client) inTrouble() error {
	switch {
	case c.denied != "":
		return c.deniedError(c.denied)
	case c.failed >= troubleAfter:
		return fmt.Errorf("the status API at %s gives no usable answer since %s: %s", c.o.API.BaseURL, c.since.UTC().Format(time.RFC3339), c.trouble)
	}
	return nil
}

// DeniedError returns the error of an answer of the kind [Denied].
func (c *Client) DeniedError(a Answer) error { return c.deniedError(a.Detail) }

func (c *Client) deniedError(detail string) error {
	return fmt.Errorf("the status API at %s does not take the key (%s): compare APIXO_API_KEY with APIXO's console", c.o.API.BaseURL, detail)
}

// Priority says whose requests go first.
type Priority int

const (
	// Reconciling is for tasks whose webhook has not come.
	Reconciling Priority = iota
	// Verifying is for webhooks that came: senders come again, and whoever sends forged ones
	// is not to keep others waiting.
	Verifying
)

// turns lets one request after another begin, within a rate.
type turns struct {
	limiter *rate.Limiter
	turn    chan struct{} // held by who waits with a low priority: one at a time

	mu     sync.Mutex
	urgent int           // who wait with a high priority
	calm   chan struct{} // closed when nobody does any more; nil while nobody does
}

var errNoTurn = errors.New("the status API may not be asked in time: RELAY_API_RATE, or a pause that it asked for")

func (t *turns) wait(ctx context.Context, p Priority, gate *httpclient.Gate) error {
	if p == Reconciling {
		t.begin()
		defer t.end()
	} else {
		select {
		case t.turn <- struct{}{}:
			defer func() { <-t.turn }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := t.awaitCalm(ctx); err != nil {
			return err
		}
	}
	for {
		if err := gate.Wait(ctx); err != nil {
			return err
		}
		if t.limiter.Wait(ctx) != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return errNoTurn
		}
		if gate.IsOpen() { // the request before this one may have found the API away
			return nil
		}
	}
}

func (t *turns) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.urgent++; t.urgent == 1 {
		t.calm = make(chan struct{})
	}
}

func (t *turns) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.urgent--; t.urgent == 0 {
		close(t.calm)
		t.calm = nil
	}
}

func (t *turns) awaitCalm(ctx context.Context) error {
	for {
		t.mu.Lock()
		calm := t.calm
		t.mu.Unlock()
		if calm == nil {
			return nil
		}
		select {
		case <-calm:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
