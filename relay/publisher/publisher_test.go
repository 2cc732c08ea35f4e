package publisher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// bench is a publisher on an external broker, and a plain client beside it.
type bench struct {
	*publisher.Publisher
	broker  *broker.Broker
	js      jetstream.JetStream
	log     *natstest.Log
	metrics *telemetry.Metrics
}

// open connects a publisher; its streams are not looked at yet.
func open(t testing.TB, s *server.Server, environ ...string) bench {
	t.Helper()
	return openAt(t, s.ClientURL(), environ...)
}

func openAt(t testing.TB, url string, environ ...string) bench {
	t.Helper()
	cfg, err := config.Load(append([]string{"NATS_URL=" + url}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	b := bench{log: &natstest.Log{}, metrics: telemetry.NewMetrics("test")}
	log := slog.New(slog.NewTextHandler(b.log, nil))
	b.broker, err = broker.Open(t.Context(), cfg, "test", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.broker.Close(context.Background()) })
	b.Publisher = publisher.New(publisher.Options{
		Config: cfg.Stream, Encoder: encoder, MaxMessage: broker.MaxMessageBytes(cfg.Webhooks.MaxBodyBytes),
		Metrics: b.metrics, Log: log,
	})
	b.broker.Observe(b.Publisher)
	return b
}

// start is open, and Start, which must succeed.
func start(t testing.TB, s *server.Server, environ ...string) bench {
	t.Helper()
	b := open(t, s, environ...)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	b.js = natstest.JetStream(t, s.ClientURL())
	return b
}

// awaitConnection waits until the publisher knows that there is a connection.
func (b bench) awaitConnection(t *testing.T) {
	t.Helper()
	for ctx := within(t, 30*time.Second); !b.IsConnected(); {
		if ctx.Err() != nil {
			t.Fatal("never connected")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

var encoder = event.Encoder{Source: "https://api.apixo.ai", Prefix: "apixo"}

// webhook is the message of a delivery.
func webhook(t testing.TB, body string) event.Message {
	t.Helper()
	msg, err := encoder.Encode(event.Delivery{Body: []byte(body), Received: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// message is the message of a task that has no result to speak of.
func message(id string) event.Message {
	msg, err := encoder.Encode(event.Delivery{Body: []byte(`{"data":{"taskId":"` + id + `","state":"success"}}`), Received: time.Now()})
	if err != nil {
		panic(err)
	}

	return msg
}

func reasonOf(t *testing.T, err error) store.Code {
	t.Helper()
	refusal, ok := errors.AsType[*store.Error](err)
	if !ok {
		t.Fatalf("%v is no refusal", err)
	}
	return refusal.Code
}

func TestStoreReturnsWhereTheMessageIs(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	for i := range 3 {
		id := fmt.Sprintf("task_%d", i)
		msg := message(id)
		receipt, err := b.Store(within(t, 10*time.Second), msg)
		if err != nil || receipt != (store.Receipt{Stream: "APIXO", Sequence: uint64(i + 1)}) {
			t.Fatalf("%+v, %v", receipt, err)
		}
		stream, err := b.js.Stream(t.Context(), receipt.Stream)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := stream.GetMsg(t.Context(), receipt.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		if raw.Subject != "apixo.task.success" || raw.Header.Get("Nats-Msg-Id") != id ||
			raw.Header.Get("Content-Type") != "application/cloudevents+json" || string(raw.Data) != string(msg.Data) {
			t.Errorf("stored %+v", raw)
		}
	}
	again, err := b.Store(within(t, 10*time.Second), message("task_1"))
	if err != nil || again != (store.Receipt{Stream: "APIXO", Sequence: 2, Duplicate: true}) {
		t.Errorf("the repeat got %+v, %v", again, err)
	}
	rejected := webhook(t, "no JSON")
	receipt, err := b.Store(within(t, 10*time.Second), rejected)
	if err != nil || receipt != (store.Receipt{Stream: "APIXO_QUARANTINE", Sequence: 1}) {
		t.Errorf("the quarantined got %+v, %v", receipt, err)
	}
}

func TestOneIDAtOnceIsStoredOnce(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	var first atomic.Int64
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			receipt, err := b.Store(within(t, 20*time.Second), message("task_storm"))
			switch {
			case err != nil || receipt.Sequence != 1:
				t.Errorf("%+v, %v", receipt, err)
			case !receipt.Duplicate:
				first.Add(1)
			}
		})
	}
	wg.Wait()
	if first.Load() != 1 {
		t.Errorf("%d were told that they were the first", first.Load())
	}
}

func TestFullStreamRefusesAndKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)), "RELAY_STREAM_MAX_BYTES=4096")
	stored := 0
	var err error
	for stored < 100 {
		if _, err = b.Store(within(t, 10*time.Second), message(fmt.Sprintf("task_%d", stored))); err != nil {
			break
		}
		stored++
	}
	if err == nil {
		t.Fatal("the stream never became full")
	}
	if reason := reasonOf(t, err); reason != store.StreamFull {
		t.Errorf("refused with %v", err)
	}
	stream, err := b.js.Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	if state := stream.CachedInfo().State; state.Msgs != uint64(stored) || state.FirstSeq != 1 {
		t.Errorf("%d were acknowledged, the stream has %d from %d", stored, state.Msgs, state.FirstSeq)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Store(within(t, 10*time.Second), message("task_after")); err != nil {
		t.Errorf("after making room: %v", err)
	}
}

// An account at its limit has no room either, though the broker has another error
// for it.
func TestFullAccountRefuses(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	b := start(t, s)
	limit := func(bytes int64) {
		t.Helper()
		limits := map[string]server.JetStreamAccountLimits{"": {MaxMemory: -1, MaxStore: bytes, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1}}
		if err := s.GlobalAccount().UpdateJetStreamLimits(limits); err != nil {
			t.Fatal(err)
		}
	}
	limit(4096)
	var err error
	for i := 0; i < 100 && err == nil; i++ {
		_, err = b.Store(within(t, 10*time.Second), message(fmt.Sprintf("task_%d", i)))
	}
	if err == nil {
		t.Fatal("the account never became full")
	}
	if reason := reasonOf(t, err); reason != store.StreamFull {
		t.Errorf("refused with %v", err)
	}
	limit(-1)
	if _, err := b.Store(within(t, 10*time.Second), message("task_after")); err != nil {
		t.Errorf("after making room: %v", err)
	}
}

func TestDeletedStreamIsMadeAnew(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	if err := b.js.DeleteStream(t.Context(), "APIXO"); err != nil {
		t.Fatal(err)
	}
	receipt, err := b.Store(within(t, 20*time.Second), message("task_1"))
	if err != nil || receipt.Sequence != 1 {
		t.Errorf("%+v, %v", receipt, err)
	}
}

func TestDeletedStreamIsNotMadeWhenSomebodyElseDoes(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, s.ClientURL())
	for name, subject := range map[string]string{"APIXO": "apixo.task.>", "APIXO_QUARANTINE": "apixo.quarantine.>"} {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Duplicates: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	b := start(t, s, "RELAY_STREAM_POLICY=require")
	if err := js.DeleteStream(t.Context(), "APIXO"); err != nil {
		t.Fatal(err)
	}
	_, err := b.Store(within(t, 2*time.Second), message("task_1"))
	if reason := reasonOf(t, err); reason != store.StreamMissing {
		t.Errorf("refused with %v", err)
	}
	if err := b.Ready(); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("ready: %v", err)
	}
}

// While the broker is away a message is refused at once, and what was
// acknowledged is still there, and still known, when it is back.
func TestBrokerAwayAndBack(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	s := natstest.Start(t, options)
	b := start(t, s)
	if _, err := b.Store(within(t, 10*time.Second), message("task_1")); err != nil {
		t.Fatal(err)
	}
	away := b.broker.Conn().StatusChanged(nats.RECONNECTING)
	options.Port = portOf(s)
	natstest.Stop(s)
	<-away
	_, err := b.Store(t.Context(), message("task_2"))
	if reason := reasonOf(t, err); reason != store.BrokerUnavailable {
		t.Errorf("refused with %v", err)
	}
	if b.Ready() == nil {
		t.Error("ready without a broker")
	}
	natstest.Start(t, options)
	b.awaitConnection(t)
	again, err := b.Store(within(t, 20*time.Second), message("task_1"))
	if err != nil || !again.Duplicate || again.Sequence != 1 {
		t.Errorf("%+v, %v", again, err)
	}
	if receipt, err := b.Store(within(t, 20*time.Second), message("task_2")); err != nil || receipt.Sequence != 2 {
		t.Errorf("%+v, %v", receipt, err)
	}
}

// A message that another stream would take is not what a receipt means.
func TestAnotherStreamsAcknowledgementDoesNotCount(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	b := start(t, s)
	if err := b.js.DeleteStream(t.Context(), "APIXO"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"apixo.task.*"}}); err != nil {
		t.Fatal(err)
	}
	_, err := b.Store(within(t, 5*time.Second), message("task_1"))
	if reason := reasonOf(t, err); reason != store.BrokerError {
		t.Errorf("refused with %v", err)
	}
	if !strings.Contains(err.Error(), "OTHER") {
		t.Errorf("the error does not name the stream that took it: %v", err)
	}
}

func TestTooLargeForTheBroker(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	large := message("task_1")
	large.Data = bytes.Repeat([]byte("x"), 2<<20)
	_, err := b.Store(within(t, 10*time.Second), large)
	if reason := reasonOf(t, err); reason != store.TooLarge {
		t.Errorf("refused with %v", err)
	}
}

func portOf(s *server.Server) int { return s.Addr().(*net.TCPAddr).Port }
