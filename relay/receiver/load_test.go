package receiver_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

// gate is a store that tells when a message comes in and lets it through when
// it is told to.
type gate struct{ entered, proceed chan struct{} }

func newGate() gate { return gate{make(chan struct{}, 16), make(chan struct{})} }

func (g gate) Store(ctx context.Context, msg event.Message) (store.Receipt, error) {
	g.entered <- struct{}{}
	select {
	case <-g.proceed:
		return store.Receipt{Stream: "APIXO", Sequence: 1}, nil
	case <-ctx.Done():
		return store.Receipt{}, &store.Error{Code: store.BrokerUnavailable, Err: ctx.Err()}
	}
}

// gateBudget is the budget of webhooks in front of a gate: what is let in by
// mistake is answered soon, and not only when the test's patience is at its end.
const gateBudget = "RELAY_PUBLISH_TIMEOUT=10s"

// hold waits until the webhook whose answer is to come is held in the store.
func (g gate) hold(t *testing.T, replies <-chan reply) {
	t.Helper()
	select {
	case <-g.entered:
	case got := <-replies:
		t.Fatalf("answered %d without coming to the store: %s", got.status, got.body)
	case <-time.After(patience):
		t.Fatal("neither stored nor answered")
	}
}

// release lets one webhook through.
func (g gate) release(t *testing.T) {
	t.Helper()
	select {
	case g.proceed <- struct{}{}:
	case <-time.After(patience):
		t.Fatal("nothing is held in the store any more")
	}
}

func TestTooManyAtOnce(t *testing.T) {
	t.Parallel()
	g := newGate()
	r := startWith(t, g, "RELAY_MAX_IN_FLIGHT=2", gateBudget)
	first := r.postLater(t, webhookPath, success("task_1"))
	g.hold(t, first)
	second := r.postLater(t, webhookPath, "no JSON")
	g.hold(t, second)
	r.wantMetric(t, "apixo_relay_in_flight_requests", 2)

	// Both are still in the store, so this is answered without it.
	for _, body := range []string{success("task_3"), "no JSON"} {
		r.post(t, webhookPath, body).wantProblem(t, http.StatusServiceUnavailable, "overloaded")
	}
	// What needs no place has one.
	r.post(t, "/nowhere", "").wantProblem(t, http.StatusNotFound, "not-found")
	r.post(t, webhookPath, "", method("GET")).wantProblem(t, http.StatusMethodNotAllowed, "method-not-allowed")

	g.release(t)
	g.release(t)
	(<-first).wantStored(t, receipt{"task_1", "APIXO", 1, false})
	(<-second).wantProblem(t, http.StatusBadRequest, "not-json")

	third := r.postLater(t, webhookPath, success("task_3"))
	g.hold(t, third)
	g.release(t)
	(<-third).wantStored(t, receipt{"task_3", "APIXO", 1, false})
	r.wantMetric(t, "apixo_relay_in_flight_requests", 0)
}

// Whoever is not let in must not be able to take the place of those who are.
func TestUnauthenticatedTakeNoPlace(t *testing.T) {
	t.Parallel()
	g := newGate()
	r := startWith(t, g, tokenEnv, "RELAY_MAX_IN_FLIGHT=1", gateBudget)
	replies := r.postLater(t, goodPath, success("task_1"))
	g.hold(t, replies)
	r.post(t, webhookPath, success("task_2")).wantProblem(t, http.StatusUnauthorized, "unauthorized")
	r.post(t, goodPath, success("task_2")).wantProblem(t, http.StatusServiceUnavailable, "overloaded")
	g.release(t)
	(<-replies).wantStored(t, receipt{"task_1", "APIXO", 1, false})
}

func TestCloseAnswersWhoStillWaits(t *testing.T) {
	t.Parallel()
	g := newGate()
	r := startWith(t, g, gateBudget)
	webhook := r.postLater(t, webhookPath, success("task_1"))
	g.hold(t, webhook)
	other := r.postLater(t, webhookPath, "no JSON")
	g.hold(t, other)
	r.receiver.CancelInFlight()
	for _, replies := range []<-chan reply{webhook, other} {
		(<-replies).wantProblem(t, http.StatusServiceUnavailable, "draining")
	}
	// And who comes after that.
	r.post(t, webhookPath, success("task_2")).wantProblem(t, http.StatusServiceUnavailable, "draining")
	for n := 1; n <= 3; n++ {
		if line := r.log.webhook(t, n); line["outcome"] != "unavailable" {
			t.Errorf("logged %v", line)
		}
	}
}
