package receiver_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		err  error
		slug string
	}{
		{"away", &store.Error{Code: store.BrokerUnavailable, Err: errors.New("cause")}, "broker-unavailable"},
		{"no stream", &store.Error{Code: store.StreamMissing, Err: errors.New("cause")}, "stream-missing"},
		{"full", &store.Error{Code: store.StreamFull, Err: errors.New("cause")}, "stream-full"},
		{"write error", &store.Error{Code: store.BrokerError, Err: errors.New("cause")}, "broker-error"},
		{"a reason to come", &store.Error{Code: "new", Err: errors.New("cause")}, "broker-unavailable"},
		{"no refusal", errors.New("cause"), "internal-error"},
	} {
		// A webhook, and a body that only the quarantine could take.
		for _, body := range []string{success("task_1"), "no JSON"} {
			t.Run(test.name+" "+body[:2], func(t *testing.T) {
				t.Parallel()
				r := startWith(t, storeFunc(func(context.Context, event.Message) (store.Receipt, error) {
					return store.Receipt{}, test.err
				}))
				got := r.post(t, webhookPath, body)
				if problem := got.wantProblem(t, http.StatusServiceUnavailable, test.slug); problem.Quarantined != nil || strings.Contains(got.body, "cause") {
					t.Errorf("the answer tells more than it should: %s", got.body)
				}
				line := r.log.webhook(t, 1)
				if cause, _ := line["error"].(string); line["outcome"] != "unavailable" || !strings.Contains(cause, "cause") || line["sequence"] != nil {
					t.Errorf("logged %v", line)
				}
			})
		}
	}
}

// A store that never answers must not take the answer's time with it.
func TestStoreMustAnswerInsideTheBudget(t *testing.T) {
	t.Parallel()
	const whole = 29 * time.Second
	var deadline time.Time
	r := startWith(t, storeFunc(func(ctx context.Context, _ event.Message) (store.Receipt, error) {
		deadline, _ = ctx.Deadline()
		return store.Receipt{Stream: "APIXO", Sequence: 1}, nil
	}), "RELAY_PUBLISH_TIMEOUT="+whole.String())
	before := time.Now()
	r.receiver.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "http://localhost"+webhookPath, strings.NewReader(success("task_1"))))
	if !deadline.Before(before.Add(whole)) || deadline.Before(before.Add(whole*9/10)) {
		t.Errorf("the store has %s, of %s in all", deadline.Sub(before), whole)
	}
}

func TestStoreThatNeverAnswers(t *testing.T) {
	t.Parallel()
	r := startWith(t, storeFunc(untilDone), "RELAY_PUBLISH_TIMEOUT=100ms")
	r.post(t, webhookPath, success("task_1")).wantProblem(t, http.StatusServiceUnavailable, "broker-unavailable")
	r.post(t, webhookPath, "no JSON").wantProblem(t, http.StatusServiceUnavailable, "broker-unavailable")
}

// untilDone stores nothing until nobody waits any more.
func untilDone(ctx context.Context, _ event.Message) (store.Receipt, error) {
	<-ctx.Done()
	return store.Receipt{}, &store.Error{Code: store.BrokerUnavailable, Err: ctx.Err()}
}

// Whoever hung up would only come again.
func TestSenderHangingUpDoesNotStopStoring(t *testing.T) {
	t.Parallel()
	storing, proceed := make(chan context.Context), make(chan struct{})
	r := startWith(t, storeFunc(func(ctx context.Context, _ event.Message) (store.Receipt, error) {
		storing <- ctx
		<-proceed
		if err := ctx.Err(); err != nil {
			return store.Receipt{}, err
		}
		return store.Receipt{Stream: "APIXO", Sequence: 1}, nil
	}))
	gone := make(chan (<-chan struct{}), 1)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		gone <- req.Context().Done()
		r.receiver.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)

	ctx, hangUp := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := r.send(ctx, webhookPath, success("task_1"))
		ended <- err
	}()
	select {
	case <-storing:
	case err := <-ended:
		t.Fatalf("answered without coming to the store: %v", err)
	}
	hangUp()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the sender got %v", err)
	}
	<-<-gone
	close(proceed)
	if line := r.log.webhook(t, 1); line["outcome"] != "published" {
		t.Errorf("logged %v", line)
	}
}
