package publisher_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// BenchmarkRepeat is what a repeat costs whose event is looked at: of tasks by turns,
// so that there is no storm of any, one after the other and 64 at once.
func BenchmarkRepeat(b *testing.B) {
	const tasks = 10_000
	x := start(b, natstest.Start(b, natstest.Options(b)))
	messages := make([]event.Message, tasks)
	for i := range messages {
		messages[i] = webhook(b, result(fmt.Sprintf("task_%d", i), "success", `{"resultUrls":["https://cdn.apixo.ai/output/a.jpg"]}`))
	}
	var next atomic.Uint64
	store := func(duplicate bool) {
		receipt, err := x.Store(b.Context(), messages[next.Add(1)%tasks])
		if err != nil || receipt.Duplicate != duplicate || receipt.Conflict {
			b.Errorf("%+v, %v", receipt, err)
		}
	}
	for range tasks {
		store(false)
	}
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			store(true)
		}
	})
	b.Run("64", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				store(true)
			}
		})
	})
}
