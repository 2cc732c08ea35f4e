package outbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// A webhook that its headers refused does not become an event on its way through the
// outbox.
func TestWhatHeadersRefusedWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	r := open(t, options, t.TempDir())
	d := delivery(result("task_1", "success"))
	d.Rejection = &schema.Error{Kind: event.ErrMediaType, Code: schema.ReasonContentType, Detail: "it is said to be text"}
	msg, err := encoder.Encode(d)
	if err != nil || msg.Rejection != d.Rejection {
		t.Fatal(msg.Rejection, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if got, err := r.Store(ctx, msg); err != nil || got != inOutbox(1) {
		t.Fatal(got, err)
	}
	r.mustStore(t, result("task_1", "success"), inOutbox(2))
	natstest.Start(t, options)
	r.drained(t)
	kept := arrive(t, options, "APIXO_QUARANTINE", 1)[0]
	if string(kept.Data) != string(d.Body) || kept.Reason() != d.Rejection.Code || kept.Detail() != d.Rejection.Detail || kept.DataContentType != "application/json" {
		t.Errorf("kept %+v", kept)
	}
	if tasks := arrive(t, options, "APIXO", 1); tasks[0].ID != "task_1" || count(t, options, "APIXO") != 1 {
		t.Errorf("stored %+v", tasks)
	}
}
