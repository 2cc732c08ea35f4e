package faults

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// senderRows are faults of what is sent.
var senderRows = []Row{
	{
		Name: "forged-first", Fault: "a forged call comes before the real one",
		Injected: "first deliveries with another outcome, by one who has the token and by one who has not, before a restart of the relay (SIGKILL and SIGTERM in turns), right before the real ones, and at the same moment on other connections",
		run:      forgedFirst,
	},
	{
		Name: "nobody-gets-in", Fault: "callers without a token, or from elsewhere",
		Injected: "tokens wrong, missing, cut off, longer and in other letters, in the path, as Basic and as Bearer, and addresses outside of RELAY_ALLOWED_CIDRS with forged X-Forwarded-For and Forwarded, each kind without a pause",
		run:      nobodyGetsIn,
	},
}

// Tokens of the callback URLs in these rows.
const (
	firstToken  = "Tok-9f3c2a7d51e84b06"
	secondToken = "Tok-0b1d77e3a49c5f28"
)

// inPath brings a token as the last segment of the path.
func inPath(token string) func(*http.Request) {
	return func(r *http.Request) { r.URL.Path += "/" + token }
}

// asBasic brings a token as the password of HTTP Basic.
func asBasic(token string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth("relay", token) }
}

// asBearer brings a Bearer token.
func asBearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// delivery is one webhook and what became of it.
type delivery struct {
	sender     *rig.Sender
	body       string
	answer     rig.Answer
	noAnswer   error
	id, called string // the task, and for a failure's text which one of its deliveries this is
}

// deliver sends webhooks, so many at once, and waits for all answers.
func (t *trial) deliver(workers int, all []*delivery) {
	next := make(chan *delivery)
	var sending sync.WaitGroup
	for range workers {
		sending.Go(func() {
			for d := range next {
				d.answer, d.noAnswer = d.sender.PostBody(t.ctx, d.body)
			}
		})
	}
	for _, d := range all {
		next <- d
	}
	close(next)
	sending.Wait()
	accepted := 0
	for _, d := range all {
		t.must(d.noAnswer)
		if d.answer.Status == http.StatusOK {
			accepted++
		}
		t.answered(0, 0, d.answer.Took)
	}
	t.answered(len(all), accepted, 0)
}

// patient is how long good webhooks may all be held up by bad ones.
const patient = 10 * time.Second

// goesOn waits for so many more 200s of a load that must not suffer from what
// others do.
func (t *trial) goesOn(load *rig.Load, n int) {
	ctx, cancel := context.WithTimeoutCause(t.ctx, patient, fmt.Errorf("waited %s", patient))
	defer cancel()
	if err := load.AwaitAccepted(ctx, n); err != nil {
		t.fail("good webhooks do not get through: %s", err)
	}
}
