// Package verify holds webhooks against APIXO's status API, since APIXO signs nothing.
//
// However many webhooks come, it asks within bounds: so many at once, for one task once
// though many webhooks tell of it, and behind whoever asks for tasks whose webhook does not
// come. It must not know HTTP, nor what is done with a webhook.
package verify

import (
	"context"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/apixo-relay/apixo-relay/relay/apixo"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// maxAsking is how many tasks are being asked for at once.
	maxAsking = 32
	// cacheSize is how many answers are remembered, at about 150 bytes each.
	cacheSize = 1024
	// How long an answer is believed: a result does not change, and what else the API says
	// may be otherwise when the sender comes again after half a minute.
	finalFor, unknownFor, otherFor = time.Minute, 10 * time.Second, time.Second
)

// Verdict is what the status API makes of a webhook.
type Verdict string

// The verdicts, as the attribute verified of an event has them.
const (
	// Confirmed: the API tells the same outcome.
	Confirmed Verdict = "true"
	// Contradicted: it tells another outcome, or knows no such task.
	Contradicted Verdict = "false"
	// Unknown: it was not asked, gave no answer in time, or calls the task pending.
	Unknown Verdict = "unknown"
)

// Result is a verdict, and why it is not Confirmed, in printable ASCII.
type Result struct {
	Verdict Verdict
	Detail  string
}

// Verifier asks the status API. It may be used by many goroutines.
type Verifier struct {
	client  *apixo.Client
	timeout time.Duration
	metrics *telemetry.Metrics
	asking  singleflight.Group
	slots   chan struct{}
	cache   cache
	// closing ends requests that others may wait for.
	closing context.Context
	close   context.CancelFunc
}

// New returns a verifier; timeout bounds the wait for one answer.
func New(client *apixo.Client, timeout time.Duration, metrics *telemetry.Metrics) *Verifier {
	closing, cancel := context.WithCancel(context.Background())
	return &Verifier{
		client: client, timeout: timeout, metrics: metrics, closing: closing, close: cancel,
		slots: make(chan struct{}, maxAsking), cache: cache{seed: maphash.MakeSeed()},
	}
}

// Close ends the requests that are under way. Webhooks that wait for them are Unknown.
func (v *Verifier) Close() { v.close() }

// Verify returns what the API makes of a webhook, within the verifier's timeout and the
// deadline of ctx. It reports false for a body that is no webhook, of which nobody is asked.
func (v *Verifier) Verify(ctx context.Context, d event.Delivery) (result Result, isTask bool) {
	w, err := schema.ParseWebhook(d.Body)
	if err != nil {
		return Result{}, false
	}
	told, err := schema.OutcomeOf(w.EventData)
	if err != nil {
		return Result{}, false
	}
	result = v.verify(ctx, d.Attributes["model"], w.Task.ID, told)
	v.metrics.Verification(map[Verdict]telemetry.VerificationResult{
		Confirmed: telemetry.Confirmed, Contradicted: telemetry.Contradicted, Unknown: telemetry.Unverified,
	}[result.Verdict])
	return result, true
}

func (v *Verifier) verify(ctx context.Context, model, taskID string, told schema.Outcome) Result {
	if !schema.ValidModel(model) {
		return Result{Unknown, "the callback URL does not tell the task's model (?model=...), without which the status API cannot be asked"}
	}
	a, ok := v.ask(ctx, model, taskID)
	switch {
	case !ok:
		return Result{Unknown, "the status API gave no answer in time"}
	case a.kind == apixo.Unknown:
		return Result{Contradicted, "the status API knows no such task of the model " + model}
	case a.kind == apixo.Pending:
		return Result{Unknown, "the status API says that the task has not ended yet"}
	case a.kind != apixo.Final:
		return Result{Unknown, "the status API gave no usable answer"}
	}
	if members := told.Differences(a.outcome); len(members) > 0 {
		return Result{Contradicted, fmt.Sprintf("the status API tells another %s of the task", strings.Join(members, ", "))}
	}
	return Result{Verdict: Confirmed}
}

// ask returns what the API says of a task. Whoever wants to know it at once shares one
// request.
func (v *Verifier) ask(ctx context.Context, model, taskID string) (answer, bool) {
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	key := model + " " + taskID
	if a, ok := v.cache.get(key, time.Now()); ok {
		return a, true
	}
	done := v.asking.DoChan(key, func() (any, error) {
		// Others may wait for it, whatever becomes of who came first.
		shared, cancel := context.WithTimeout(v.closing, v.timeout)
		defer cancel()
		return v.request(shared, model, taskID, key)
	})
	select {
	case r := <-done:
		return r.Val.(answer), r.Err == nil
	case <-ctx.Done():
		return answer{}, false
	}
}

// request asks the API for a task when there is a place and a turn for that.
func (v *Verifier) request(ctx context.Context, model, taskID, key string) (answer, error) {
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	if err := v.client.Wait(ctx, apixo.Verifying); err != nil {
		return answer{}, err
	}
	said := v.client.Ask(ctx, model, taskID)
	a := answer{kind: said.Kind}
	believed := otherFor
	switch said.Kind {
	case apixo.Final:
		outcome, err := event.Delivery{Body: said.Body}.Outcome()
		if a.outcome = outcome; err != nil {
			a.kind = apixo.Unusable
		} else {
			believed = finalFor
		}
	case apixo.Unknown:
		believed = unknownFor
	}
	v.cache.put(key, a, time.Now().Add(believed))
	return a, nil
}

// answer is what is remembered of what the API says.
type answer struct {
	kind    apixo.Kind
	outcome schema.Outcome // of a final one
}

// cache remembers the last answers, in a table of a fixed size.
type cache struct {
	seed  maphash.Seed
	mu    sync.Mutex
	table [cacheSize]struct {
		hash   uint64
		answer answer
		until  time.Time
	}
}

func (c *cache) get(key string, now time.Time) (answer, bool) {
	hash := maphash.String(c.seed, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := &c.table[hash%cacheSize]
	return slot.answer, slot.hash == hash && now.Before(slot.until)
}

func (c *cache) put(key string, a answer, until time.Time) {
	hash := maphash.String(c.seed, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := &c.table[hash%cacheSize]
	slot.hash, slot.answer, slot.until = hash, a, until
}
