package publisher_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// What is stored has no header that keeps it out of another stream, to which the broker
// sends it on.
func TestWhatIsStoredIsTakenByAnotherStream(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	for _, name := range []string{"APIXO", "APIXO_QUARANTINE"} {
		change(t, b.js, name, func(c *jetstream.StreamConfig) {
			c.RePublish = &jetstream.RePublish{Source: ">", Destination: "rp.>"}
		})
	}
	forwarded, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FORWARDED", Subjects: []string{"rp.>"}})
	if err != nil {
		t.Fatal(err)
	}
	b.awaitReady(t)
	const n = 20
	var want []string
	for i := range n {
		id := fmt.Sprintf("task_%d", i)
		body, other := result(id, "success", `{"a":1}`), result(id, "failed", "")
		receipt, err := b.Store(t.Context(), webhook(t, body))
		if err != nil || receipt.Duplicate {
			t.Fatalf("%+v, %v", receipt, err)
		}
		b.mustStore(t, body, again(receipt.Sequence, false))
		b.mustStore(t, other, again(receipt.Sequence, true))
		b.remove(t, receipt.Sequence)
		if again, err := b.Store(t.Context(), webhook(t, other)); err != nil || again.Duplicate {
			t.Fatalf("%+v, %v", again, err)
		}
		want = append(want, id, "conflict", id+"~1")
	}
	b.holdsMessages(t, forwarded, uint64(len(want)))
	for i, id := range want {
		msg, err := forwarded.GetMsg(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		for name := range msg.Header {
			if strings.HasPrefix(name, "Nats-Expected-") {
				t.Errorf("%s has the header %s", id, name)
			}
		}
		e, err := schema.DecodeMessage(msg.Header, msg.Data)
		switch got := msg.Header.Get(jetstream.MsgIDHeader); {
		case err != nil:
			t.Errorf("what was forwarded of %s is no event: %v", id, err)
		case id == "conflict" && e.Type != schema.TypeWebhookConflict || id != "conflict" && got != id:
			t.Errorf("number %d is %s of type %s, want %s", i+1, got, e.Type, id)
		}
	}
}
