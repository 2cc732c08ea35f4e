package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

const (
	// guarded is what clients of a guarded broker may have in use in a test, in bytes.
	guarded = 32 << 20
	// There is so much to be pulled, and pulled by so many who do not read it, that it
	// comes to 40 times of that.
	pulledEvents, pulledSize, pullers = 300, 200_000, 20
	// maxPulls is how often all of them do so, by consumers of which a stream may have 100.
	maxPulls = 4
	// pulledBody lets all of that wait for each of them, so that nobody is cut off for how much
	// that is but by the guard.
	pulledBody = "RELAY_MAX_BODY_BYTES=8388608"
)

// pulled is a broker with a stream that has something to be pulled.
func pulled(t *testing.T) (*Broker, jetstream.JetStream, *natstest.Log) {
	t.Helper()
	log := new(natstest.Log)
	b, err := Open(t.Context(), load(t, "RELAY_EMBEDDED_SYNC=interval", pulledBody), "test", slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	js := natstest.JetStream(t, b.URL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	event := make([]byte, pulledSize)
	for range pulledEvents {
		if _, err := js.Publish(t.Context(), "s", event); err != nil {
			t.Fatal(err)
		}
	}
	return b, js, log
}

// smallGuard is the guard of a broker of whose process a test has only a part.
func smallGuard(b *Broker, log *natstest.Log) *memoryGuard {
	g := newMemoryGuard(b.embedded.door, guarded, func() int64 { return 0 }, slog.New(slog.NewTextHandler(log, nil)))
	g.own = 0
	return g
}

// pullUnread has clients pull everything, by consumers of their own, and read nothing of it.
func pullUnread(t *testing.T, b *Broker, js jetstream.JetStream, pass int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, pullers)
	for i := range conns {
		name := fmt.Sprintf("unread_%d_%d", pass, i)
		if _, err := js.CreateOrUpdateConsumer(t.Context(), "S", jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckNonePolicy}); err != nil {
			t.Fatal(err)
		}
		conns[i] = stalled(t, b, name)
	}
	for i, conn := range conns {
		body := fmt.Sprintf(`{"batch":%d,"expires":%d}`, pulledEvents, patience)
		fmt.Fprintf(conn, "PUB $JS.API.CONSUMER.MSG.NEXT.S.unread_%d_%d unread_%[1]d_%[2]d %[3]d\r\n%[4]s\r\n", pass, i, len(body), body)
	}
	return conns
}

// The server reads all that is pulled into a queue, whether or not it is read. Those who
// read nothing of it are cut off before it is too much, and nobody loses an event.
func TestPullsThatAreNotReadAreCutOff(t *testing.T) {
	t.Parallel()
	b, js, log := pulled(t)
	good, err := js.CreateOrUpdateConsumer(t.Context(), "S", jetstream.ConsumerConfig{Durable: "good", AckWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	b.embedded.guard(smallGuard(b, log))
	const told = "have asked for more than there is memory for"
	var conns []net.Conn
	for pass := 0; !strings.Contains(log.String(), told); pass++ {
		if pass == maxPulls {
			t.Fatalf("the log never says %q:\n%s", told, log)
		}
		for _, conn := range conns {
			conn.Close()
		}
		conns = pullUnread(t, b, js, pass)
		// Where the server reads as slowly as it passes on, most waits for each client, and it
		// cuts them off by itself after ten seconds.
		for end := time.Now().Add(patience); b.embedded.server.NumClients() > pullers/2 && time.Now().Before(end) && !strings.Contains(log.String(), told); {
			time.Sleep(10 * time.Millisecond)
		}
	}
	cut := 0
	for _, conn := range conns {
		if n, err := io.CopyN(io.Discard, conn, pulledEvents*pulledSize); err != nil {
			t.Logf("a client was cut off after %d bytes: %v", n, err)
			cut++
		}
	}
	if cut == 0 {
		t.Error("the log says that clients were cut off, and all have got what they pulled")
	}
	messages, err := good.Messages(jetstream.PullMaxBytes(4 << 20))
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for got := make(map[uint64]bool); len(got) < pulledEvents; {
		msg, err := messages.Next(jetstream.NextMaxWait(patience))
		if errors.Is(err, jetstream.ErrNoHeartbeat) || errors.Is(err, nats.ErrConnectionClosed) {
			continue // it was cut off itself, and comes again
		}
		if err != nil {
			t.Fatalf("who reads has got %d of %d events: %v", len(got), pulledEvents, err)
		}
		if meta, err := msg.Metadata(); err == nil && msg.Ack() == nil {
			got[meta.Sequence.Stream] = true
		}
	}
	if !b.Conn().IsConnected() {
		t.Error("the relay's own connection was cut off, too")
	}
}

// Nobody is cut off for what stays in use when nothing is queued: it is not the clients',
// as millions of ids that the broker remembers are not.
func TestGuardLearnsWhatIsNotTheClients(t *testing.T) {
	t.Parallel()
	b, _, log := pulled(t)
	stalled(t, b, "nothing")
	g := smallGuard(b, log)
	ids := bytes.Repeat([]byte("id"), guarded)
	for range 3 {
		runtime.GC()
		g.judge()
	}
	if allowed := g.allowed(); allowed < int64(len(ids)) {
		t.Errorf("%d bytes are allowed to be in use, and %d are while nobody asks for anything", allowed, len(ids))
	}
	// As many again may be garbage before the collector runs.
	if room := g.allowed() + g.garbage(); room < 2*int64(len(ids)) {
		t.Errorf("%d bytes may be in use or garbage, while %d are in use", room, len(ids))
	}
	runtime.KeepAlive(ids)
	ids = nil
	for range 3 {
		runtime.GC()
		g.judge()
	}
	g.closed = true
	if g.check(); g.closed {
		t.Error("clients are kept out although nothing is queued")
	}
	if strings.Contains(log.String(), "disconnected") || b.embedded.server.NumClients() < 2 {
		t.Errorf("a client that has asked for nothing was cut off: %s", log)
	}
}

// What was queued when a collection began may still be in its figure when nothing is
// queued any more: that is not taken for somebody else's.
func TestGuardDoesNotLearnFromAQueue(t *testing.T) {
	t.Parallel()
	b, _, log := pulled(t)
	g := smallGuard(b, log)
	ids := bytes.Repeat([]byte("id"), guarded)
	runtime.GC()
	g.long = g.cycle() + 1000 // others of this process collect as well
	g.judge()
	if g.quiet != 0 {
		t.Errorf("%d bytes are taken for others'", g.quiet)
	}
	runtime.KeepAlive(ids)
}

// Closing waits for the guard, and leaves nothing behind.
func TestGuardEndsWithItsBroker(t *testing.T) {
	t.Parallel()
	cfg := load(t)
	b := mustOpen(t, cfg)
	b.Guard(cfg, func() int64 { return 0 })
	if err := b.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
