package apixo_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/apixo-relay/apixo-relay/relay/apixo"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// key is in nothing that is shown.
const key = "sk-t0p/s3cret"

func newClient(t *testing.T, api http.Handler, change func(*apixo.Options)) *apixo.Client {
	t.Helper()
	server := httptest.NewServer(api)
	transport := httpclient.NewTransport(8, nil, nil)
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	o := apixo.Options{
		API: config.API{Key: key, BaseURL: server.URL, Rate: config.MaxAPIRate}, Agent: "test", Transport: transport,
		Timeout: 10 * time.Second, MaxAnswer: 1 << 16,
	}
	if change != nil {
		change(&o)
	}
	c, err := apixo.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What the API says is kept apart from what is said in its place, and nothing shows the key.
func TestAsk(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer fakeapi.Answer
		want   apixo.Kind
	}{
		"final":       {fakeapi.Success, apixo.Final},
		"failed":      {fakeapi.Failure, apixo.Final},
		"pending":     {fakeapi.State("processing"), apixo.Pending},
		"unknown":     {fakeapi.Error(404, "no such task "+key), apixo.Unknown},
		"proxy":       {fakeapi.HTML(404), apixo.Unusable},
		"redirect":    {fakeapi.Redirect("https://example.org/" + key), apixo.Unusable},
		"half":        {fakeapi.Cut, apixo.Retry},
		"large":       {fakeapi.Large(10 << 20), apixo.Retry},
		"another's":   {fakeapi.Body(200, fakeapi.Result("task_2")), apixo.Refused},
		"wrong key":   {fakeapi.Error(401, "bad key "+key), apixo.Denied},
		"bad gateway": {fakeapi.HTML(502), apixo.Retry},
		"gone":        {fakeapi.Gone, apixo.Retry},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := fakeapi.New(key)
			api.Default(test.answer)
			answer := newClient(t, api, nil).Ask(t.Context(), "nano-banana", "task_1")
			if answer.Kind != test.want || (answer.Body != nil) != (test.want == apixo.Final) {
				t.Errorf("%+v, want %d", answer, test.want)
			}
			if strings.Contains(answer.String(), "s3cret") {
				t.Errorf("it shows the key: %s", answer)
			}
		})
	}
}

// Everybody waits while the API asks for a pause, and who cannot wait so long is told at once.
func TestPause(t *testing.T) {
	t.Parallel()
	api := fakeapi.New(key)
	api.Set("task_1", fakeapi.RetryAfter(429, "100"), fakeapi.Success)
	var told []time.Duration
	c := newClient(t, api, func(o *apixo.Options) { o.OnPause = func(d time.Duration) { told = append(told, d) } })
	if answer := c.Ask(t.Context(), "m", "task_1"); answer.Kind != apixo.Retry || !answer.Paused {
		t.Fatalf("%+v", answer)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, p := range []apixo.Priority{apixo.Reconciling, apixo.Verifying} {
		if err := c.Wait(ctx, p); err == nil || ctx.Err() != nil {
			t.Errorf("%v: asked in the pause, or waited for its end: %v, %v", p, err, ctx.Err())
		}
	}
	if len(told) != 1 || told[0] != 100*time.Second {
		t.Errorf("told %v", told)
	}
}

// counted counts pauses of no length.
type counted struct {
	backoff.ZeroBackOff
	pauses int
}

func (c *counted) NextBackOff() time.Duration { c.pauses++; return 0 }

// Many requests that fail at once are one trouble: the pause after them is the first, and not
// the longest.
func TestFailuresAtOnceArePausedForOnce(t *testing.T) {
	t.Parallel()
	const requests = 8
	for name, answer := range map[string]fakeapi.Answer{"bad gateway": fakeapi.HTML(502), "too many requests": fakeapi.Error(429, "slow down")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := fakeapi.New(key)
			came, answers := make(chan struct{}, requests), make(chan struct{})
			api.Default(func(w http.ResponseWriter, r *http.Request, id string) {
				came <- struct{}{}
				fakeapi.Held(answers, answer)(w, r, id)
			})
			var pauses counted
			c := newClient(t, api, func(o *apixo.Options) { o.Backoff = func() backoff.BackOff { return &pauses } })
			var all sync.WaitGroup
			for range requests {
				all.Go(func() { c.Ask(t.Context(), "m", "task_1") })
			}
			for range requests {
				<-came
			}
			close(answers)
			all.Wait()
			if pauses.pauses != 1 {
				t.Errorf("%d pauses after %d requests at once", pauses.pauses, requests)
			}
			c.Ask(t.Context(), "m", "task_1")
			if pauses.pauses != 2 {
				t.Errorf("%d pauses after one more request", pauses.pauses)
			}
		})
	}
}

// Who waits for a turn when the API is found away waits for the end of the pause too, and then
// for a turn.
func TestTurnsStopAtAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := apixo.New(apixo.Options{
			API: config.API{Key: key, BaseURL: "http://127.0.0.1:1", Rate: 1}, Timeout: time.Second, MaxAnswer: 1000,
			Transport: transport(func(*http.Request) (*http.Response, error) { return nil, errors.New("nobody there") }),
			Backoff:   func() backoff.BackOff { return backoff.NewConstantBackOff(time.Minute) },
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var mu sync.Mutex
		var asked []time.Duration
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if err := c.Wait(t.Context(), apixo.Reconciling); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				asked = append(asked, time.Since(began))
				mu.Unlock()
				c.Ask(t.Context(), "m", "task_1")
			})
		}
		all.Wait()
		want := []time.Duration{0, time.Second, 2 * time.Second, 62 * time.Second, 122 * time.Second}
		if !slices.Equal(asked, want) {
			t.Errorf("asked at %v, want %v", asked, want)
		}
	})
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// A key that is refused, and an API that is away, are told until it answers again.
func TestTrouble(t *testing.T) {
	t.Parallel()
	api := fakeapi.New(key)
	api.Set("denied", fakeapi.Error(401, "Invalid API key"))
	api.Set("away", fakeapi.HTML(502))
	c := newClient(t, api, nil)
	for _, step := range []struct{ task, want string }{
		{"good", ""}, {"denied", "does not take the key (401 Unauthorized: Invalid API key)"}, {"good", ""},
		{"away", ""}, {"away", ""}, {"away", "gives no usable answer since "}, {"good", ""}, {"away", ""},
	} {
		answer := c.Ask(t.Context(), "m", step.task)
		err := c.Trouble()
		if pauses := strings.Contains(step.want, "no usable answer"); answer.Paused != pauses {
			t.Errorf("after %s requests wait: %v", step.task, answer.Paused)
		}
		if step.want == "" && err != nil || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)) {
			t.Errorf("after %s: %v, want %q", step.task, err, step.want)
		}
	}
}

// Requests keep to the rate, and who reconciles goes before who verifies.
func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := apixo.New(apixo.Options{API: config.API{Key: key, BaseURL: "http://127.0.0.1:1", Rate: 1}})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var mu sync.Mutex
		var order []apixo.Priority
		var all sync.WaitGroup
		ask := func(p apixo.Priority) {
			all.Go(func() {
				if err := c.Wait(t.Context(), p); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, p)
			})
		}
		for range 5 {
			ask(apixo.Verifying)
		}
		synctest.Wait()
		for range 5 {
			ask(apixo.Reconciling)
		}
		all.Wait()
		if took := time.Since(began); took != 9*time.Second {
			t.Errorf("10 requests took %s at one a second", took)
		}
		// Of those that verify one had its turn, and one was next.
		for i, p := range order {
			if want := apixo.Verifying; i >= 2 && i < 7 && p == want || i >= 7 && p != want {
				t.Fatalf("the order was %v", order)
			}
		}
		// However many of them come one after the other.
		order = nil
		for range 2 {
			all.Go(func() {
				for range 3 {
					if err := c.Wait(t.Context(), apixo.Reconciling); err != nil {
						t.Error(err)
					}
					mu.Lock()
					order = append(order, apixo.Reconciling)
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		ask(apixo.Verifying)
		all.Wait()
		if len(order) != 7 || order[6] != apixo.Verifying {
			t.Errorf("the order was %v", order)
		}
		// Who has no time to wait is told at once.
		for range 100 {
			all.Go(func() { _ = c.Wait(t.Context(), apixo.Verifying) })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := c.Wait(ctx, apixo.Verifying); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		all.Wait()
	})
}
