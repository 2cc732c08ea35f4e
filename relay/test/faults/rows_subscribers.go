package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// subscriberRows are faults of the clients of the embedded broker.
var subscriberRows = []Row{
	{
		Name: "subscribers-stalled", Fault: "clients of the embedded broker that read nothing, and one that floods it",
		Injected: "60 of the 64 clients that are let in subscribe to every event, four times each, read nothing, and come again when they are cut off; one sends requests to JetStream's API of 1 MB, 200 at a time, three times as many as may wait, and one asks for a stream in memory; meanwhile webhooks of 200 kB are delivered, and a good consumer reads; the peak is the resident set's (VmHWM)",
		run:      subscribersStalled,
	},
	{
		Name: "pulls-unread", Fault: "clients of the embedded broker that pull much and read nothing",
		Injected: "60 clients, half of which pull all of 550 events of 200 kB at once, and half all of 20,500 of 2 kB (10,250 in the short form); they acknowledge, or need not, read nothing, and do the same again when they are cut off; meanwhile webhooks of 200 kB are delivered, and a good consumer reads; the peak is the resident set's (VmHWM)",
		run:      pullsUnread,
	},
}

const (
	// brokerClients is how many clients the embedded broker lets in, of which a few are
	// left to who is good: a consumer, the flood, who asks for a stream, and the audit.
	brokerClients = 64
	goodClients   = 4
	// stalledInFlight keeps the part that webhooks have in the bound small, so that
	// clients cannot hide in it.
	stalledInFlight = 32
	// stalledBound is what the README says for these: webhooks, their connections, of which
	// there can be 512 in any case, and for each client what waits for it and three
	// messages, and what pulls bring until they are cut off.
	stalledBound = 300<<20 + stalledInFlight*(3*largestBody+32<<10) + 512*64<<10 + brokerClients*(8<<20+3<<20) + 512<<20
	stalledBody  = 200_000
	// consumerBytes is how much a good consumer of large events asks for at once.
	consumerBytes = 4 << 20
	// apiBurst is how many requests the flood sends without a pause, and apiPause how
	// long it then leaves this machine to others, whose time is measured.
	apiBurst = 200
	apiPause = time.Second
)

func subscribersStalled(t *trial) {
	r := t.embedded(fmt.Sprintf("RELAY_MAX_IN_FLIGHT=%d", stalledInFlight))
	t.must(r.Healthy(t.ctx))
	js := t.js(r.Broker)
	consumed := t.consume(js)
	_, err := js.CreateStream(t.ctx, jetstream.StreamConfig{Name: "IN_MEMORY", Subjects: []string{"memory.>"}, Storage: jetstream.MemoryStorage})
	if refusal := new(jetstream.APIError); !errors.As(err, &refusal) || refusal.ErrorCode != 10028 {
		t.fail("a stream in memory was not refused as it should be: %v", err)
	}
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	addr := strings.TrimPrefix(r.Broker, "nats://")
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	var requests atomic.Int64
	var there sync.WaitGroup
	for range brokerClients - goodClients {
		there.Add(1)
		clients.Go(func() { stall(ctx, addr, sync.OnceFunc(there.Done)) })
	}
	there.Wait()
	clients.Go(func() { floodAPI(ctx, addr, &requests) })

	load := r.StartLoad(t.ctx, "task", rig.Pace{Workers: 4, Padding: stalledBody})
	t.must(load.AwaitAccepted(t.ctx, t.times(150, 1500)))
	o := load.Stop()
	cancel()
	clients.Wait()
	t.count(o)
	t.only(o)
	t.within(o, t.inTime(2*time.Second))
	t.must(r.Healthy(t.ctx))
	cutOff := strings.Count(r.Log(), "Slow Consumer Detected")
	if cutOff == 0 || requests.Load() == 0 {
		t.fail("%d clients were cut off and %d requests sent: this was no test", cutOff, requests.Load())
	}
	if missing := consumed(o.Accepted); missing > 0 {
		t.fail("the good consumer has not got %d of %d events", missing, len(o.Accepted))
	}
	peak, err := r.PeakMemory()
	t.must(err)
	t.note("at its peak the relay had %d MiB of memory; the README's bound is %d MiB. %d times a client that did not read was cut off, and %d requests of 1 MB came to the API", peak>>20, stalledBound>>20, cutOff, requests.Load())
	if peak > stalledBound {
		t.fail("the relay's memory came to %d MiB, over the README's bound of %d MiB", peak>>20, stalledBound>>20)
	}
	t.audit(r.Broker)
}

// consume reads events as consumers of large ones do. The function that it returns waits
// until it has got what was accepted, and tells how many it has not.
func (t *trial) consume(js jetstream.JetStream) func([]rig.Receipt) (missing int) {
	consumer, err := js.CreateOrUpdateConsumer(t.ctx, stream, jetstream.ConsumerConfig{Durable: "good", AckWait: 5 * time.Second})
	t.must(err)
	var mu sync.Mutex
	got := make(map[uint64]bool)
	more := make(chan struct{}, 1)
	reading, err := consumer.Consume(func(msg jetstream.Msg) {
		meta, err := msg.Metadata()
		if err != nil || msg.Ack() != nil {
			return // it comes again
		}
		mu.Lock()
		got[meta.Sequence.Stream] = true
		mu.Unlock()
		select {
		case more <- struct{}{}:
		default:
		}
	}, jetstream.PullMaxBytes(consumerBytes))
	t.must(err)
	context.AfterFunc(t.ctx, reading.Stop)
	missing := func(accepted []rig.Receipt) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, receipt := range accepted {
			if !got[receipt.Sequence] {
				n++
			}
		}
		return n
	}
	return func(accepted []rig.Receipt) int {
		defer reading.Stop()
		late := time.After(time.Minute)
		for {
			n := missing(accepted)
			if n == 0 {
				return 0
			}
			select {
			case <-more:
			case <-late:
				return n
			case <-t.ctx.Done():
				return n
			}
		}
	}
}

// connectText is how a client of NATS begins, and is answered with nothing.
const connectText = "CONNECT {\"verbose\":false}\r\n"

// stall subscribes to every event, several times, and reads nothing, again whenever it is cut off, until
// ctx ends. It calls there when it has subscribed for the first time.
func stall(ctx context.Context, addr string, there func()) {
	defer there()
	for ctx.Err() == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			continue
		}
		_, err = io.WriteString(conn, connectText+"SUB apixo.> 1\r\nSUB apixo.> 2\r\nSUB apixo.> 3\r\nSUB apixo.> 4\r\n")
		for err == nil && ctx.Err() == nil {
			there()
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
			_, err = io.WriteString(conn, "PONG\r\n") // fails once the other end is gone
		}
		_ = conn.Close()
	}
}

// floodAPI sends bursts of requests to JetStream's API, each as large as a message may
// be, until ctx ends. It reads the answers, or it would be cut off.
func floodAPI(ctx context.Context, addr string, requests *atomic.Int64) {
	body := `{"name":"` + strings.Repeat("X", 1_000_000) + `"}`
	request := fmt.Sprintf("PUB $JS.API.STREAM.CREATE.FLOOD answers %d\r\n%s\r\n", len(body), body)
	for ctx.Err() == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		var reading sync.WaitGroup
		reading.Go(func() { _, _ = io.Copy(io.Discard, conn) })
		_, err = io.WriteString(conn, connectText+"SUB answers 1\r\n")
		for sent := 1; err == nil; sent++ {
			if _, err = io.WriteString(conn, request); err == nil {
				requests.Add(1)
			}
			if sent%apiBurst > 0 {
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(apiPause):
			}
		}
		stop()
		_ = conn.Close()
		reading.Wait()
	}
}
