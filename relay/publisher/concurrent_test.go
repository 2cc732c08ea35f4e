package publisher_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// Webhooks that come at the same time get the answers that they would have got alone: new
// ones, repeats of what another relay stored, and contradictions of it.
func TestAnswersAtOnce(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	other := start(t, s)

	b := start(t, s)
	const senders, each = 64, 10
	repeated := func(i int) bool { return i%97 == 0 }
	contradicted := func(i int) bool { return i%194 == 0 }
	for round := range 3 {
		id := func(i int) string { return fmt.Sprintf("task_%d_%d", round, i) }
		for i := range senders * each {
			if !repeated(i) {
				continue
			}
			if _, err := other.Store(within(t, 20*time.Second), webhook(t, result(id(i), "success", `{"a":1}`))); err != nil {
				t.Fatal(err)
			}
		}
		var done sync.WaitGroup
		var mu sync.Mutex
		sequences := make(map[uint64]string)
		store := func(i int) {
			body := result(id(i), "success", `{"a":1}`)
			if contradicted(i) {
				body = result(id(i), "failed", "")
			}
			receipt, err := b.Store(within(t, 30*time.Second), webhook(t, body))
			if err != nil || receipt.Duplicate != repeated(i) || receipt.Conflict != contradicted(i) || receipt.Stream != "APIXO" {
				t.Errorf("webhook %d: %+v, %v", i, receipt, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if before := sequences[receipt.Sequence]; before != "" {
				t.Errorf("%s and %s are both at %d", before, id(i), receipt.Sequence)
			}
			sequences[receipt.Sequence] = id(i)
		}
		for sender := range senders {
			done.Go(func() {
				for i := range each {
					store(sender*each + i)
				}
			})
		}
		done.Wait()
		stream, err := other.js.Stream(t.Context(), "APIXO")
		if err != nil {
			t.Fatal(err)
		}
		for sequence, id := range sequences {
			msg, err := stream.GetMsg(t.Context(), sequence)
			if err != nil || msg.Header.Get("Nats-Msg-Id") != id {
				t.Errorf("%s is not at %d: %v, %v", id, sequence, msg, err)
			}
		}
		if n := stream.CachedInfo().State.Msgs; n != uint64((round+1)*senders*each) {
			t.Errorf("%d events are stored", n)
		}
	}
}
