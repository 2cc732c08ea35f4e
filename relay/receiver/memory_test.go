package receiver_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
)

// The README tells how much memory webhooks in flight can take. Nearly all of
// that time they wait for the broker, so what one holds meanwhile is what counts:
// its message, and whatever is still reachable of what that was made from.
//
// This test must not be parallel, since it measures the whole process.
func TestMemoryOfWebhooksInFlight(t *testing.T) {
	const (
		webhooks = 64
		size     = 256 << 10
		most     = 7 * size / 2 // bytes that one may hold
	)
	entered, proceed := make(chan struct{}, webhooks), make(chan struct{})
	r := startWith(t, storeFunc(func(ctx context.Context, msg event.Message) (store.Receipt, error) {
		entered <- struct{}{}
		select {
		case <-proceed:
		case <-ctx.Done():
		}
		runtime.KeepAlive(msg) // as who has to send it again would
		return store.Receipt{Stream: "APIXO", Sequence: 1}, nil
	}))
	head, tail := `{"data":{"taskId":"task_1","state":"success","resultJson":"{\"resultUrls\":[\"`, `\"]}"}}`
	// The addresses come twice in the event: no body makes a larger one.
	body := head + strings.Repeat("u", size-len(head)-len(tail)) + tail

	before := heap()
	var replies []<-chan reply
	for range webhooks {
		replies = append(replies, r.postLater(t, webhookPath, body))
	}
	for range webhooks {
		gate{entered: entered}.hold(t, nil)
	}
	held := (heap() - before) / webhooks
	close(proceed)
	t.Logf("a webhook of %d bytes holds %d, %.1f times as much", size, held, float64(held)/size)
	if held > most {
		t.Errorf("a webhook of %d bytes holds %d while it is being stored, want %d at most", size, held, most)
	}
	for _, replies := range replies {
		if got := <-replies; got.status != http.StatusOK {
			t.Error(fmt.Sprint(got))
		}
	}
}

// heap is how many bytes are reachable.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// A Content-Length that is not kept costs next to nothing.
func TestMemoryOfBodiesThatDoNotCome(t *testing.T) {
	const (
		senders = 64
		most    = 64 << 10 // bytes for one, buffers of its connection included
	)
	r := startWith(t, storeFunc(always), "RELAY_MAX_BODY_BYTES=1048576")
	before := heap()
	for range senders {
		conn := r.dialRaw(t)
		if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1048576\r\n\r\n", webhookPath); err != nil {
			t.Fatal(err)
		}
		var answer [25]byte // HTTP/1.1 100 Continue
		if _, err := conn.Read(answer[:]); err != nil {
			t.Fatal(err)
		}
	}
	if held := (heap() - before) / senders; held > most {
		t.Errorf("a sender of nothing holds %d bytes, want %d at most", held, most)
	}
}

// What has come of a body counts before the rest is there: the program fits its
// garbage collection to it.
func TestBodiesCountAsTheyCome(t *testing.T) {
	t.Parallel()
	r := startWith(t, storeFunc(always))
	conn := r.dialRaw(t)
	const come = 100_000
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n%s", webhookPath, strings.Repeat(" ", come)); err != nil {
		t.Fatal(err)
	}
	wait := func(want int64) {
		t.Helper()
		for start := time.Now(); r.receiver.BytesInFlight() != want; time.Sleep(time.Millisecond) {
			if time.Since(start) > patience {
				t.Fatalf("%d bytes are in flight, want %d", r.receiver.BytesInFlight(), want)
			}
		}
	}
	wait(come)
	conn.Close()
	wait(0)
}
