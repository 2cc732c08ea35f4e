package receiver_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/schema"
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

func TestRepeatsAtOnceAreStoredOnce(t *testing.T) {
	t.Parallel()
	const posts = 50
	r := start(t)
	replies := make([]<-chan reply, posts)
	for i := range replies {
		replies[i] = r.postLater(t, success("task_1"))
	}
	first := 0
	for _, replies := range replies {
		got := <-replies
		var receipt receipt
		strictly(t, got.body, &receipt)
		if got.status != 200 || receipt.TaskID != "task_1" || receipt.Stream != "APIXO" || receipt.Sequence != 1 {
			t.Errorf("answered %d, %s", got.status, got.body)
		}
		if !receipt.Duplicate {
			first++
		}
	}
	if first != 1 {
		t.Errorf("%d answers say that they are the first", first)
	}
	r.wantCounts(t, 1, 0)
	r.log.webhook(t, posts)
	r.wantMetric(t, `apixo_relay_webhooks_total{outcome="published"}`, 1)
	r.wantMetric(t, `apixo_relay_webhooks_total{outcome="duplicate"}`, posts-1)
	r.wantMetric(t, `apixo_relay_events_total{state="success"}`, 1)
}

func TestManyAtOnceAreAllStored(t *testing.T) {
	t.Parallel()
	const posts = 50
	r := start(t)
	replies := make([]<-chan reply, posts)
	for i := range replies {
		replies[i] = r.postLater(t, success(fmt.Sprintf("task_%d", i)))
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

func TestRepeatThatContradictsIsKept(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.post(t, webhookPath, success("task_1")).wantStored(t, receipt{"task_1", "APIXO", 1, false})
	const contradiction = ` {"code":200, "data":{"taskId":"task_1","state":"failed","failCode":"NSFW"}}`
	for range 2 {
		got := r.post(t, webhookPath, contradiction)
		if want := `{"taskId":"task_1","stream":"APIXO","sequence":1,"duplicate":true,"conflict":true}`; got.status != 200 || strings.TrimSpace(got.body) != want {
			t.Errorf("answered %d, %s, want %s", got.status, got.body, want)
		}
	}
	r.post(t, webhookPath, success("task_1")).wantStored(t, receipt{"task_1", "APIXO", 1, true})
	r.wantCounts(t, 1, 1)
	kept := r.events(t, "APIXO_QUARANTINE")[0]
	if kept.Type != schema.TypeWebhookConflict || kept.Subject != "task_1" || string(kept.Data) != contradiction {
		t.Errorf("kept %+v", kept)
	}
	if line := r.log.webhook(t, 2); line["outcome"] != "conflict" || line["level"] != "WARN" || line["taskId"] != "task_1" {
		t.Errorf("logged %v", line)
	}
	r.wantMetric(t, `apixo_relay_webhooks_total{outcome="conflict"}`, 2)
	r.wantMetric(t, `apixo_relay_webhooks_total{outcome="duplicate"}`, 1)
	r.wantMetric(t, `apixo_relay_events_total{state="success"}`, 1)
	r.wantMetric(t, `apixo_relay_events_total{state="failed"}`, 0)
}

// What contradicts and cannot be kept is not acknowledged.
func TestContradictionThatCannotBeKept(t *testing.T) {
	t.Parallel()
	r := startPrepared(t, func(js jetstream.JetStream) {
		for name, subjects := range map[string]string{"APIXO": "apixo.task.>", "APIXO_QUARANTINE": "apixo.quarantine.>"} {
			cfg := jetstream.StreamConfig{Name: name, Subjects: []string{subjects}, Duplicates: time.Hour, Discard: jetstream.DiscardNew}
			if name == "APIXO_QUARANTINE" {
				cfg.MaxBytes = 100
			}
			if _, err := js.CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
		}
	})
	r.post(t, webhookPath, success("task_1")).wantStored(t, receipt{"task_1", "APIXO", 1, false})
	r.post(t, webhookPath, `{"data":{"taskId":"task_1","state":"failed"}}`).wantProblem(t, http.StatusServiceUnavailable, "stream-full")
}
