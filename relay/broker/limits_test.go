package broker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// patience is more than anything takes that these tests wait for.
const patience = 2 * time.Minute

// stalled subscribes to a subject, and reads nothing more once the broker has heard of it.
func stalled(t *testing.T, b *Broker, subject string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false}\r\nSUB %s 1\r\nPING\r\n", subject)
	said := bufio.NewReaderSize(conn, 16) // with little of what comes later in it
	for {
		line, err := said.ReadString('\n')
		if err != nil {
			t.Fatalf("no PONG: %v", err)
		}
		if line == "PONG\r\n" {
			return conn
		}
	}
}

// What waits for a client that does not read is bounded, and is nobody else's loss.
func TestStalledSubscriberIsCutOff(t *testing.T) {
	t.Parallel()
	cfg := load(t)
	b := mustOpen(t, cfg)
	reader, err := nats.Connect(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	events, err := reader.SubscribeSync("apixo.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := reader.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	conn := stalled(t, b, "apixo.>")
	const size = 256 << 10
	const kernel = 32 << 20 // what the kernel has room for on the way
	event := make([]byte, size)
	most := int((cfg.EmbeddedPending() + kernel) / size)
	for sent := 1; b.embedded.server.NumSlowConsumersClients() == 0; sent++ {
		if sent > most {
			t.Fatalf("%d events of %d bytes wait for a client that does not read", sent, size)
		}
		if err := b.Conn().Publish("apixo.task.success", event); err != nil {
			t.Fatal(err)
		}
		if err := b.Conn().FlushTimeout(patience); err != nil {
			t.Fatal(err)
		}
		if _, err := events.NextMsg(patience); err != nil {
			t.Fatalf("who reads has not got event %d: %v", sent, err)
		}
	}
	if n, err := io.Copy(io.Discard, conn); errors.Is(err, net.ErrClosed) || isTimeout(err) {
		t.Errorf("it was not cut off after %d bytes: %v", n, err)
	}
	if !b.Conn().IsConnected() || reader.Stats().Reconnects > 0 {
		t.Error("others were cut off, too")
	}
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// The relay's own connection has a place of its own beside those of clients.
func TestEmbeddedBrokerLetsSoManyIn(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, load(t))
	for i := range config.EmbeddedConnections {
		conn, err := nats.Connect(b.URL())
		if err != nil {
			t.Fatalf("client %d: %v", i+1, err)
		}
		defer conn.Close()
	}
	err := everyWay["Connect"](t.Context(), load(t, "RELAY_EMBEDDED_ADDR="+strings.TrimPrefix(b.URL(), "nats://")))
	why, ok := errors.AsType[*ConnectError](err)
	if !ok || !strings.Contains(why.Problem, "as many connections as it takes") {
		t.Errorf("one more: %v", err)
	}
	if err := b.Conn().FlushTimeout(patience); err != nil {
		t.Errorf("the relay's own connection: %v", err)
	}
}

// Streams in memory are refused, with an error that says why; consumers that keep
// their state there are not, as those of commands are.
func TestEmbeddedBrokerHasNoStreamsInMemory(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, load(t))
	js := natstest.JetStream(t, b.URL())
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "IN_MEMORY", Subjects: []string{"memory.>"}, Storage: jetstream.MemoryStorage})
	refusal, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || refusal.ErrorCode != 10028 || !strings.Contains(refusal.Description, "memory") {
		t.Errorf("a stream in memory: %v", err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ON_DISK", Subjects: []string{"disk.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "disk.1", []byte("stored")); err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateConsumer(t.Context(), "ON_DISK", jetstream.ConsumerConfig{MemoryStorage: true})
	if err != nil {
		t.Fatal(err)
	}
	if msg, err := consumer.Next(jetstream.FetchMaxWait(patience)); err != nil || string(msg.Data()) != "stored" {
		t.Errorf("read %v, %v", msg, err)
	}
}

// Readers of large events ask for them by size, which to the server is a pull of a
// million.
func TestEmbeddedBrokerTakesPullsBySize(t *testing.T) {
	t.Parallel()
	js := natstest.JetStream(t, mustOpen(t, load(t)).URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("stored")); err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateOrUpdateConsumer(t.Context(), "S", jetstream.ConsumerConfig{Durable: "d"})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(4 << 20))
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	if msg, err := messages.Next(jetstream.NextMaxWait(patience)); err != nil || string(msg.Data()) != "stored" {
		t.Errorf("read %v, %v", msg, err)
	}
}

// The bound on memory counts on these. A server that is told none of them has its own.
func TestEmbeddedBrokersLimits(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"1024", "262144", "32505856"} {
		cfg := load(t, "RELAY_MAX_BODY_BYTES="+body)
		options, err := embeddedOptions(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if options.JetStreamMaxMemory != 0 || !options.JetStream {
			t.Errorf("%s: %d bytes for streams in memory, JetStream %v", body, options.JetStreamMaxMemory, options.JetStream)
		}
		if int64(options.MaxPayload)*2 > options.MaxPending {
			t.Errorf("%s: messages of %d bytes, and %d may wait", body, options.MaxPayload, options.MaxPending)
		}
		for what, limit := range map[string]int64{
			"connections": int64(options.MaxConn), "requests": options.JetStreamRequestQueueLimit, "requests for information": options.JetStreamInfoQueueLimit,
			"subscriptions": int64(options.MaxSubs), "tokens": int64(options.MaxSubTokens), "consumers": int64(options.JetStreamLimits.DefaultMaxConsumers),
		} {
			if limit <= 0 {
				t.Errorf("%s: no limit of %s", body, what)
			}
		}
		held := int64(options.MaxConn-1)*(options.MaxPending+int64(options.MaxPayload)) +
			(options.JetStreamRequestQueueLimit+options.JetStreamInfoQueueLimit)*int64(options.MaxPayload)
		if room := cfg.MemoryBound() - config.ProgramMemory; held > cfg.EmbeddedMemory() || room < held {
			t.Errorf("%s: clients can take %d bytes, and the bound has %d for them", body, held, cfg.EmbeddedMemory())
		}
	}
}

// What no client needs is refused, and said so.
func TestEmbeddedBrokerBoundsSubscriptions(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, load(t))
	for name, test := range map[string]struct {
		subjects []string
		want     string
	}{
		"too many": {make([]string, maxSubscriptions+1), "maximum subscriptions exceeded"},
		"too deep": {[]string{strings.Repeat("t.", maxSubjectTokens) + "t"}, "too many tokens"},
	} {
		told := make(chan error, 2*maxSubscriptions)
		conn, err := nats.Connect(b.URL(), nats.NoReconnect(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { told <- err }))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for i, subject := range test.subjects {
			if subject == "" {
				subject = fmt.Sprint("subject.", i)
			}
			if _, err := conn.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case err := <-told:
			if !strings.Contains(strings.ToLower(err.Error()), test.want) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(patience):
			t.Errorf("%s: nothing is said against it", name)
		}
	}
}
