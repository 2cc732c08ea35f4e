package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/outbox"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

func TestMain(m *testing.M) { natstest.Main(m) }

var encoder = event.Encoder{Source: "https://api.apixo.ai", Prefix: "apixo"}

// rig is an outbox before an external broker.
type rig struct {
	*outbox.Outbox
	external *broker.Broker
	metrics  *telemetry.Metrics
	log      *natstest.Log
	close    func() // in order; may be called more than once
}

// brokerAt are the options of an external broker on a port of its own, which it
// keeps when it is stopped and started again.
func brokerAt(t *testing.T) *server.Options {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	options := natstest.Options(t)
	options.Port = l.Addr().(*net.TCPAddr).Port
	return options
}

func open(t *testing.T, options *server.Options, dir string, environ ...string) rig {
	t.Helper()
	r := prepare(t, options, dir, environ...)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// prepare is open without Start.
func prepare(t *testing.T, options *server.Options, dir string, environ ...string) rig {
	t.Helper()
	cfg, err := config.Load(append([]string{fmt.Sprintf("NATS_URL=nats://127.0.0.1:%d", options.Port), "RELAY_OUTBOX=true", "RELAY_DATA_DIR=" + dir}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	r := rig{log: &natstest.Log{}}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	r.external, err = broker.Open(t.Context(), cfg, "test", log)
	if err != nil {
		t.Fatal(err)
	}
	metrics := telemetry.NewMetrics("test")
	r.metrics = metrics
	p := publisher.New(publisher.Options{
		Config: cfg.Stream, Encoder: encoder, MaxMessage: broker.MaxMessageBytes(cfg.Webhooks.MaxBodyBytes),
		Metrics: metrics, Log: log,
	})
	r.external.Observe(p)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	local, err := broker.OpenOutbox(t.Context(), cfg, "test", log)
	if err != nil {
		t.Fatal(err)
	}
	r.Outbox, err = outbox.Open(t.Context(), outbox.Settings{
		Conn: local.Conn(), CheckDiskSpace: local.CheckDiskSpace, Commit: local.Commit, CapacityBytes: cfg.Outbox.CapacityBytes, DedupeWindow: cfg.Stream.Dedupe,
		Broker: p, Encoder: encoder, Metrics: metrics, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.close = sync.OnceFunc(func() {
		_ = r.Stop(context.Background())
		if err := local.Close(context.Background()); err != nil {
			t.Error(err)
		}
		_ = p.Stop(context.Background())
		_ = r.external.Close(context.Background())
	})
	t.Cleanup(r.close)
	return r
}

func delivery(body string) event.Delivery {
	return event.Delivery{Body: []byte(body), Attributes: map[string]string{"model": " a b "}, Received: time.Now()}
}

func result(id, state string) string {
	return `{"code":200,"data":{"taskId":"` + id + `","state":"` + state + `"}}`
}

func (r rig) store(t *testing.T, body string) (store.Receipt, error) {
	t.Helper()
	msg, err := encoder.Encode(delivery(body))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	return r.Store(ctx, msg)
}

func (r rig) mustStore(t *testing.T, body string, want store.Receipt) {
	t.Helper()
	got, err := r.store(t, body)
	if err != nil || got != want {
		t.Errorf("%s: %+v, %v; want %+v", body, got, err, want)
	}
}

// inOutbox is the receipt of an entry.
func inOutbox(sequence uint64) store.Receipt {
	return store.Receipt{Stream: "APIXO_OUTBOX", Sequence: sequence}
}

// arrive waits until a stream has so many events, and returns them.
func arrive(t *testing.T, options *server.Options, name string, n int) (events []schema.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	js := natstest.JetStream(t, fmt.Sprintf("nats://127.0.0.1:%d", options.Port))
	consumer, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	for err != nil {
		if ctx.Err() != nil {
			t.Fatalf("the stream %s does not come: %v", name, err)
		}
		consumer, err = js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	}
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for len(events) < n {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("%d of %d events have come to %s: %v", len(events), n, name, err)
		}
		e, err := schema.DecodeMessage(msg.Headers(), msg.Data())
		if err != nil || msg.Headers().Get("Nats-Msg-Id") != e.ID {
			t.Fatalf("%v with the id %s: %v", e, msg.Headers().Get("Nats-Msg-Id"), err)
		}
		events = append(events, e)
	}
	return events
}

// count is how many messages a stream has.
func count(t *testing.T, options *server.Options, name string) uint64 {
	t.Helper()
	stream, err := natstest.JetStream(t, fmt.Sprintf("nats://127.0.0.1:%d", options.Port)).Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// drained waits until nothing waits in the outbox.
func (r rig) drained(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for r.Stats().Messages > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("the outbox still holds %+v:\n%s", r.Stats(), r.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// While the broker is there, nothing passes through the outbox.
func TestBrokerThatIsThere(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	natstest.Start(t, options)
	r := open(t, options, t.TempDir())
	r.mustStore(t, result("task_1", "success"), store.Receipt{Stream: "APIXO", Sequence: 1})
	r.mustStore(t, result("task_1", "success"), store.Receipt{Stream: "APIXO", Sequence: 1, Duplicate: true})
	r.mustStore(t, result("task_1", "failed"), store.Receipt{Stream: "APIXO", Sequence: 1, Duplicate: true, Conflict: true})
	if s := r.Stats(); s != (outbox.Stats{}) {
		t.Errorf("the outbox holds %+v", s)
	}
}

// A broker that was never there since the start: all is forwarded in order,
// with what came beside the body, and each once.
func TestBrokerThatWasNeverThere(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	r := open(t, options, t.TempDir())
	const n = 200
	for i := range n {
		r.mustStore(t, result(fmt.Sprintf("task_%d", i), "success"), inOutbox(uint64(i+1)))
	}
	repeat := inOutbox(1)
	repeat.Duplicate = true
	r.mustStore(t, result("task_0", "success"), repeat)
	if s := r.Stats(); s.Messages != n || s.Bytes == 0 || s.Age <= 0 {
		t.Errorf("the outbox holds %+v", s)
	}
	if err := r.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
	if notes := strings.Join(r.Notes(), "; "); !strings.Contains(notes, "kept in the outbox: there is no connection") || !strings.Contains(notes, "holds 200 webhooks") {
		t.Errorf("notes: %s", notes)
	}
	natstest.Start(t, options)
	for i, e := range arrive(t, options, "APIXO", n) {
		if want := fmt.Sprintf("task_%d", i); e.ID != want || e.Extensions["model"] != " a b " {
			t.Fatalf("event %d is %+v, want %s", i+1, e, want)
		}
	}
	r.drained(t)
	r.mustStore(t, result("task_new", "success"), store.Receipt{Stream: "APIXO", Sequence: n + 1})
	r.mustStore(t, result("task_7", "success"), store.Receipt{Stream: "APIXO", Sequence: 8, Duplicate: true})
}

// What nobody can understand, and what contradicts, goes the same way.
func TestBadBodiesAndConflictsWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	s := natstest.Start(t, options)
	r := open(t, options, t.TempDir())
	r.mustStore(t, result("task_1", "success"), store.Receipt{Stream: "APIXO", Sequence: 1})
	away := r.external.Conn().StatusChanged(nats.RECONNECTING)
	natstest.Stop(s)
	<-away
	r.mustStore(t, "no JSON", inOutbox(1))
	r.mustStore(t, result("task_1", "failed"), inOutbox(2)) // contradicts what the broker has
	r.mustStore(t, result("task_2", "failed"), inOutbox(3))
	conflict := inOutbox(3)
	conflict.Duplicate, conflict.Conflict = true, true
	r.mustStore(t, result("task_2", "success"), conflict) // contradicts what the outbox has
	r.mustStore(t, result("task_2", "success"), conflict)
	repeat := inOutbox(3)
	repeat.Duplicate = true
	r.mustStore(t, " "+result("task_2", "failed"), repeat)
	natstest.Start(t, options)
	r.drained(t)
	tasks := arrive(t, options, "APIXO", 2)
	if tasks[0].Type != schema.TypeTaskSuccess || tasks[1].ID != "task_2" || tasks[1].Type != schema.TypeTaskFailed || count(t, options, "APIXO") != 2 {
		t.Errorf("stored %+v", tasks)
	}
	kept := arrive(t, options, "APIXO_QUARANTINE", 3)
	if string(kept[0].Data) != "no JSON" || kept[0].Type != schema.TypeWebhookRejected ||
		string(kept[1].Data) != result("task_1", "failed") || kept[1].Type != schema.TypeWebhookConflict ||
		string(kept[2].Data) != result("task_2", "success") || kept[2].Type != schema.TypeWebhookConflict || count(t, options, "APIXO_QUARANTINE") != 3 {
		t.Errorf("kept %+v", kept)
	}
	w := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for outcome, n := range map[string]int{"published": 1, "conflict": 2, "quarantined": 1, "duplicate": 0} {
		if want := fmt.Sprintf("apixo_relay_outbox_forwarded_total{outcome=%q} %d\n", outcome, n); !strings.Contains(w.Body.String(), want) {
			t.Errorf("there is no %s", want)
		}
	}
}

// A task may be called what the digest of another body is.
func TestIDsOfDifferentKindsDoNotMeet(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	r := open(t, options, t.TempDir())
	r.mustStore(t, result(delivery("{evil").Digest(), "success"), inOutbox(1))
	r.mustStore(t, "{evil", inOutbox(2))
	r.mustStore(t, result(delivery("{more").Digest(), "success"), inOutbox(3))
	r.mustStore(t, "{more", inOutbox(4))
	natstest.Start(t, options)
	r.drained(t)
	arrive(t, options, "APIXO", 2)
	if kept := arrive(t, options, "APIXO_QUARANTINE", 2); string(kept[0].Data) != "{evil" || string(kept[1].Data) != "{more" {
		t.Errorf("kept %+v", kept)
	}
}

// What was fetched in the place of a webhook is known by its header after the outbox, too.
func TestRecoveredWhileTheBrokerIsAway(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	r := open(t, options, t.TempDir())
	d := delivery(result("task_1", "success"))
	d.Recovered = schema.RecoveredReconciled
	msg, err := encoder.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	if receipt, err := r.Store(t.Context(), msg); err != nil || receipt != inOutbox(1) {
		t.Fatalf("%+v, %v", receipt, err)
	}
	r.mustStore(t, result("task_2", "success"), inOutbox(2))
	natstest.Start(t, options)
	arrive(t, options, "APIXO", 2)
	stream, err := natstest.JetStream(t, fmt.Sprintf("nats://127.0.0.1:%d", options.Port)).Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"reconciled", ""} {
		msg, err := stream.GetMsg(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		if got := msg.Header.Get(schema.HeaderRecovered); got != want {
			t.Errorf("message %d has the header %q, want %q", i+1, got, want)
		}
	}
}

// A broker that lets nobody publish for a while does not change the order.
func TestOrderWhenTheBrokerRefusesAll(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	users := func(deny ...string) []*server.User {
		return []*server.User{{Username: "relay", Password: "relay", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: deny}}}}
	}
	options.Users = users("apixo.task.>")
	r := open(t, options, t.TempDir(), "NATS_USER=relay", "NATS_PASSWORD=relay")
	const n = 200 // more than are forwarded at once
	for i := range n {
		r.mustStore(t, result(fmt.Sprintf("task_%d", i), "success"), inOutbox(uint64(i+1)))
	}
	s := natstest.Start(t, options)
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(strings.Join(r.Notes(), ""), "does not let this user publish"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it is not denied: %q", r.Notes())
		}
	}
	natstest.Stop(s)
	options.Users = users()
	natstest.Start(t, options)
	r.drained(t)
	js := natstest.JetStream(t, fmt.Sprintf("nats://127.0.0.1:%d", options.Port), nats.UserInfo("relay", "relay"))
	stream, err := js.Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		msg, err := stream.GetMsg(t.Context(), uint64(i+1))
		if want := fmt.Sprintf("task_%d", i); err != nil || msg.Header.Get("Nats-Msg-Id") != want {
			t.Fatalf("message %d is %v (%v), want %s", i+1, msg, err, want)
		}
	}
}

// A contradiction of what has been forwarded meanwhile is judged by the broker.
func TestContradictionOfWhatHasBeenForwarded(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	r := open(t, options, t.TempDir())
	r.mustStore(t, result("task_1", "success"), inOutbox(1))
	s := natstest.Start(t, options)
	arrive(t, options, "APIXO", 1)
	r.drained(t)
	away := r.external.Conn().StatusChanged(nats.RECONNECTING)
	natstest.Stop(s)
	<-away
	repeat := inOutbox(2)
	repeat.Duplicate = true
	r.mustStore(t, result("task_1", "failed"), repeat)
	natstest.Start(t, options)
	kept := arrive(t, options, "APIXO_QUARANTINE", 1)
	if kept[0].Type != schema.TypeWebhookConflict || kept[0].Subject != "task_1" {
		t.Errorf("kept %+v", kept)
	}
}

// An event that was forwarded and then removed from the broker's stream comes back
// by way of the outbox, too, as often as that happens.
func TestRepeatOfWhatHasBeenForwardedAndRemoved(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	r := open(t, options, t.TempDir())
	r.mustStore(t, result("task_1", "success"), inOutbox(1))
	for round := uint64(1); round <= 3; round++ {
		s := natstest.Start(t, options)
		arrive(t, options, "APIXO", 1)
		r.drained(t)
		js := natstest.JetStream(t, s.ClientURL())
		stream, err := js.Stream(t.Context(), "APIXO")
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		away := r.external.Conn().StatusChanged(nats.RECONNECTING)
		natstest.Stop(s)
		<-away
		r.external.Conn().RemoveStatusListener(away)
		repeat := inOutbox(round + 1)
		repeat.Duplicate = true
		for range 3 {
			r.mustStore(t, result("task_1", "success"), repeat)
		}
	}
	natstest.Start(t, options)
	arrive(t, options, "APIXO", 1)
}

// A full outbox refuses, and has every webhook that it has acknowledged.
func TestFullOutbox(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	r := open(t, options, t.TempDir(), "RELAY_OUTBOX_MAX_BYTES=65536")
	stored := 0
	var err error
	for err == nil && stored < 10000 {
		if _, err = r.store(t, result(fmt.Sprintf("task_%d", stored), "success")); err == nil {
			stored++
		}
	}
	var refusal *store.Error
	if !errors.As(err, &refusal) || refusal.Code != store.OutboxFull || stored < 100 {
		t.Fatalf("after %d: %v", stored, err)
	}
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "RELAY_OUTBOX_MAX_BYTES=65536") {
		t.Errorf("ready: %v", err)
	}
	natstest.Start(t, options)
	for i, e := range arrive(t, options, "APIXO", stored) {
		if want := fmt.Sprintf("task_%d", i); e.ID != want {
			t.Fatalf("event %d is %s, want %s", i+1, e.ID, want)
		}
	}
}

// What waits survives a restart of the relay, and of the broker meanwhile.
func TestRestartWithAFullOutbox(t *testing.T) {
	t.Parallel()
	options, dir := brokerAt(t), t.TempDir()
	first := open(t, options, dir)
	for i := range 20 {
		first.mustStore(t, result(fmt.Sprintf("task_%d", i), "success"), inOutbox(uint64(i+1)))
	}
	first.close()
	second := open(t, options, dir)
	if s := second.Stats(); s.Messages != 20 {
		t.Errorf("the outbox holds %+v", s)
	}
	second.mustStore(t, result("task_20", "success"), inOutbox(21))
	natstest.Start(t, options)
	for i, e := range arrive(t, options, "APIXO", 21) {
		if want := fmt.Sprintf("task_%d", i); e.ID != want {
			t.Fatalf("event %d is %s, want %s", i+1, e.ID, want)
		}
	}
	second.drained(t)
}

// A broker that comes and goes: each webhook is stored once, in the end.
func TestBrokerThatFlaps(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	r := open(t, options, t.TempDir())
	stop := make(chan struct{})
	var stored []string
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			id := fmt.Sprintf("task_%d", i)
			if _, err := r.store(t, result(id, "success")); err != nil {
				t.Errorf("%s: %v", id, err)
				return
			}
			stored = append(stored, id)
		}
	})
	for range 5 {
		back := r.external.Conn().StatusChanged(nats.CONNECTED)
		s := natstest.Start(t, options)
		<-back
		r.external.Conn().RemoveStatusListener(back)
		away := r.external.Conn().StatusChanged(nats.RECONNECTING)
		natstest.Stop(s)
		<-away
		r.external.Conn().RemoveStatusListener(away)
	}
	close(stop)
	wg.Wait()
	natstest.Start(t, options)
	seen := make(map[string]int)
	for _, e := range arrive(t, options, "APIXO", len(stored)) {
		seen[e.ID]++
	}
	r.drained(t)
	for _, id := range stored {
		if seen[id] != 1 {
			t.Errorf("%s is stored %d times", id, seen[id])
		}
	}
	if n := count(t, options, "APIXO"); n != uint64(len(stored)) {
		t.Errorf("%d events for %d webhooks", n, len(stored))
	}
}

// What the broker refuses for what it is holds up nobody, and is not dropped.
func TestEntryThatTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	options := brokerAt(t)
	s := natstest.Start(t, options)
	dir := t.TempDir()
	r := open(t, options, dir)
	r.mustStore(t, result("task_1", "success"), store.Receipt{Stream: "APIXO", Sequence: 1})
	js := natstest.JetStream(t, s.ClientURL())
	limit := func(bytes int32) {
		t.Helper()
		stream, err := js.Stream(t.Context(), "APIXO")
		if err != nil {
			t.Fatal(err)
		}
		cfg := stream.CachedInfo().Config
		cfg.MaxMsgSize = bytes
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	limit(2000)
	large := strings.Replace(result("task_large", "success"), `"state"`, `"more":"`+strings.Repeat("x", 4096)+`","state"`, 1)
	r.mustStore(t, large, inOutbox(1))
	r.log.Await(t, "is set aside")
	r.mustStore(t, result("task_2", "success"), inOutbox(2))
	if events := arrive(t, options, "APIXO", 2); events[1].ID != "task_2" {
		t.Errorf("arrived %+v", events[1])
	}
	for deadline := time.Now().Add(2 * time.Minute); r.Stats().Messages != 1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the outbox holds %+v", r.Stats())
		}
	}
	limit(-1)
	// It is tried again after half a minute, or at the next start.
	r.close()
	r = open(t, options, dir)
	if events := arrive(t, options, "APIXO", 3); events[2].ID != "task_large" {
		t.Errorf("arrived %+v", events[2])
	}
	r.drained(t)
}
