package groupcommit

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// BenchmarkPublish stores messages for so many senders at once, on a store that
// fsyncs and on one that does not.
func BenchmarkPublish(b *testing.B) {
	for _, sync := range []bool{true, false} {
		for _, senders := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("fsync=%v/senders=%d", sync, senders), func(b *testing.B) {
				bench := open(b, func(o *server.Options, _ *jetstream.StreamConfig) { o.SyncAlways = sync })
				bench.run(b)
				publish(b, bench, senders)
			})
		}
	}
}

func publish(b *testing.B, bench *bench, senders int) {
	data := make([]byte, 700)
	next := make(chan int, senders)
	var done sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range senders {
		done.Go(func() {
			for i := range next {
				m := Message{Subject: "s.a", ID: fmt.Sprintf("task_%d", i), Header: map[string][]string{"Content-Type": {"application/cloudevents+json"}}, Data: data}
				if _, err := bench.Send(m).Wait(context.Background()); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range b.N {
		next <- i
	}
	close(next)
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/float64(len(bench.observedSizes())), "messages/ack")
}
