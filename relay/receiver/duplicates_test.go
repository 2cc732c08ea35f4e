package receiver_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

func TestRepeatIsStoredOnce(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.post(t, webhookPath, success("task_1")).wantStored(t, receipt{"task_1", "APIXO", 1, false})
	r.post(t, webhookPath, success("task_2")).wantStored(t, receipt{"task_2", "APIXO", 2, false})
	r.post(t, webhookPath, success("task_1")).wantStored(t, receipt{"task_1", "APIXO", 1, true})
	r.post(t, webhookPath, success("task_1")).wantStored(t, receipt{"task_1", "APIXO", 1, true})
	r.post(t, webhookPath, success("task_2")).wantStored(t, receipt{"task_2", "APIXO", 2, true})
	r.wantCounts(t, 2, 0)
	for n, want := range []string{"published", "published", "duplicate", "duplicate", "duplicate"} {
		if line := r.log.webhook(t, n+1); line["outcome"] != want || line["status"] != 200.0 {
			t.Errorf("logged %v, want %s", line, want)
		}
	}
}

func TestManyAtOnceAreAllStored(t *testing.T) {
	t.Parallel()
	const posts = 50
	r := start(t)
	replies := make([]<-chan reply, posts)
	for i := range replies {
		replies[i] = r.postLater(t, webhookPath, success(fmt.Sprintf("task_%d", i)))
	}
	told := make(map[uint64]string)
	for _, replies := range replies {
		got := <-replies
		var receipt receipt
		strictly(t, got.body, &receipt)
		if got.status != 200 || receipt.Duplicate {
			t.Errorf("answered %d, %s", got.status, got.body)
		}
		told[receipt.Sequence] = receipt.TaskID
	}
	r.wantCounts(t, posts, 0)
	// Each answer tells the place of its own event.
	for i, e := range r.events(t, "APIXO") {
		if sequence := uint64(i + 1); told[sequence] != e.ID {
			t.Errorf("the event %s is at %d, which was told to %q", e.ID, sequence, told[sequence])
		}
	}
}

// Whoever sends an outcome that contradicts the stored one is told, and so is the operator.
func TestContradictionIsTold(t *testing.T) {
	t.Parallel()
	r := startWith(t, storeFunc(func(context.Context, event.Message) (store.Receipt, error) {
		return store.Receipt{Stream: "APIXO", Sequence: 1, Duplicate: true, Conflict: true}, nil
	}))
	got := r.post(t, webhookPath, failed("task_1", "NSFW"))
	if want := `{"taskId":"task_1","stream":"APIXO","sequence":1,"duplicate":true,"conflict":true}`; got.status != http.StatusOK || strings.TrimSpace(got.body) != want {
		t.Errorf("answered %d, %s, want %s", got.status, got.body, want)
	}
	if line := r.log.webhook(t, 1); line["outcome"] != "conflict" || line["level"] != "WARN" || line["taskId"] != "task_1" {
		t.Errorf("logged %v", line)
	}
	r.wantMetric(t, `apixo_relay_webhooks_total{outcome="conflict"}`, 1)
	r.wantMetric(t, `apixo_relay_events_total{state="failed"}`, 0)
}
