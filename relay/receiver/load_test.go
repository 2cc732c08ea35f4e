package receiver_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/event"
)

// gate is a store that tells when a message comes in and lets it through when
// it is told to.
type gate struct{ entered, proceed chan struct{} }

func newGate() gate { return gate{make(chan struct{}), make(chan struct{})} }

func (g gate) Store(ctx context.Context, msg event.Message) (event.Receipt, error) {
	select {
	case g.entered <- struct{}{}:
	case <-ctx.Done():
	}
	select {
	case <-g.proceed:
		return event.Receipt{Stream: "APIXO", Sequence: 1}, nil
	case <-ctx.Done():
		return event.Receipt{}, &event.Refusal{Reason: event.BrokerUnavailable, Err: ctx.Err()}
	}
}

// postLater posts a webhook and delivers its answer.
func (r *relay) postLater(t *testing.T, body string) <-chan reply {
	replies := make(chan reply, 1)
	go func() {
		got, err := r.send(t.Context(), webhookPath, body)
		if err != nil {
			t.Error(err)
		}
		replies <- got
	}()
	return replies
}

func TestTooManyAtOnce(t *testing.T) {
	t.Parallel()
	g := newGate()
	r := startWith(t, g, "RELAY_MAX_IN_FLIGHT=2")
	first := r.postLater(t, success("task_1"))
	<-g.entered
	second := r.postLater(t, "no JSON")
	<-g.entered
	r.wantMetric(t, "apixo_relay_in_flight_requests", 2)

	// Both are still in the store, so this is answered without it.
	for _, body := range []string{success("task_3"), "no JSON"} {
		r.post(t, webhookPath, body).wantProblem(t, http.StatusServiceUnavailable, "overloaded")
	}
	// What needs no place has one.
	r.post(t, "/nowhere", "").wantProblem(t, http.StatusNotFound, "not-found")
	r.post(t, webhookPath, "", method("GET")).wantProblem(t, http.StatusMethodNotAllowed, "method-not-allowed")

	g.proceed <- struct{}{}
	g.proceed <- struct{}{}
	(<-first).wantStored(t, receipt{"task_1", "APIXO", 1, false})
	(<-second).wantProblem(t, http.StatusBadRequest, "not-json")

	third := r.postLater(t, success("task_3"))
	<-g.entered
	g.proceed <- struct{}{}
	(<-third).wantStored(t, receipt{"task_3", "APIXO", 1, false})
	r.wantMetric(t, "apixo_relay_in_flight_requests", 0)
}

// Whoever is not let in must not be able to take the place of those who are.
func TestUnauthenticatedTakeNoPlace(t *testing.T) {
	t.Parallel()
	g := newGate()
	r := startWith(t, g, tokenEnv, "RELAY_MAX_IN_FLIGHT=1")
	replies := make(chan reply, 1)
	go func() {
		got, err := r.send(t.Context(), goodPath, success("task_1"))
		if err != nil {
			t.Error(err)
		}
		replies <- got
	}()
	<-g.entered
	r.post(t, webhookPath, success("task_2")).wantProblem(t, http.StatusUnauthorized, "unauthorized")
	r.post(t, goodPath, success("task_2")).wantProblem(t, http.StatusServiceUnavailable, "overloaded")
	g.proceed <- struct{}{}
	(<-replies).wantStored(t, receipt{"task_1", "APIXO", 1, false})
}

func TestCloseAnswersWhoStillWaits(t *testing.T) {
	t.Parallel()
	g := newGate()
	r := startWith(t, g)
	webhook := r.postLater(t, success("task_1"))
	<-g.entered
	other := r.postLater(t, "no JSON")
	<-g.entered
	r.receiver.Close()
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
