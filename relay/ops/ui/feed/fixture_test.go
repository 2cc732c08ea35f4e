package feed

import (
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

var encoder = event.Encoder{Source: "https://api.apixo.ai", Prefix: schema.DefaultPrefix}

// testBroker is a broker with the relay's two streams.
type testBroker struct {
	options *server.Options
	server  *server.Server
	conn    *nats.Conn
	js      jetstream.JetStream
}

func newTestBroker(t testing.TB) *testBroker {
	t.Helper()
	b := &testBroker{options: natstest.Options(t)}
	b.server = natstest.Start(t, b.options)
	b.options.Port = b.server.Addr().(*net.TCPAddr).Port
	b.js = natstest.JetStream(t, b.server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	b.conn = b.js.Conn()
	b.stream(t, schema.DefaultStream, schema.TaskSubjects(schema.DefaultPrefix))
	b.stream(t, schema.DefaultQuarantine, schema.QuarantineSubjects(schema.DefaultPrefix))
	return b
}

func (b *testBroker) stream(t testing.TB, name, subject string) jetstream.Stream {
	t.Helper()
	s, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// publish stores a message and returns its sequence.
func (b *testBroker) publish(t testing.TB, m event.Message) uint64 {
	t.Helper()
	msg := &nats.Msg{Subject: m.Subject, Data: m.Data, Header: nats.Header{jetstream.MsgIDHeader: {m.ID}}}
	for name, values := range m.Header {
		msg.Header[name] = values
	}
	ack, err := b.js.PublishMsg(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// task is the message of a task that has completed some time ago.
func task(t testing.TB, id string, state schema.State, ago time.Duration) event.Message {
	t.Helper()
	completed := time.Now().Add(-ago).UnixMilli()
	const body = `{"code":200,"data":{"taskId":%q,"state":%q,"resultJson":"{\"resultUrls\":[\"https://cdn.apixo.ai/1.png\"]}","createTime":%d,"completeTime":%d}}`
	m, err := encoder.Encode(event.Delivery{Body: fmt.Appendf(nil, body, id, state, completed-1000, completed), Received: time.Now()})
	if err != nil || m.Kind != event.TaskEvent {
		t.Fatalf("kind %d, %v", m.Kind, err)
	}
	return m
}

// rejected is the message of a body that is no webhook.
func rejected(t testing.TB, body string) event.Message {
	t.Helper()
	m, err := encoder.Encode(event.Delivery{Body: []byte(body), Received: time.Now()})
	if err != nil || m.Kind != event.RejectedDelivery {
		t.Fatalf("kind %d, %v", m.Kind, err)
	}
	return m
}

// conflict is the message of a webhook that contradicts what is stored.
func conflict(t testing.TB, id string) event.Message {
	t.Helper()
	m, err := encoder.Encode(event.Delivery{Body: task(t, id, schema.StateFailed, 0).Delivery.Body, Received: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	m, err = encoder.Conflict(m, "state")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// newFeed returns a feed of the broker, which looks at the streams often.
func (b *testBroker) newFeed(t testing.TB, index int) *Feed {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	f := New(Options{Conn: b.conn, Stream: schema.DefaultStream, Quarantine: schema.DefaultQuarantine, Archive: schema.DefaultArchive, Prefix: schema.DefaultPrefix, Index: index, Log: log})
	f.lookInterval = 100 * time.Millisecond
	return f
}

// feed starts a feed, which is stopped when the test ends.
func (b *testBroker) feed(t testing.TB, index int) *Feed {
	t.Helper()
	f := b.newFeed(t, index)
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, f) })
	return f
}

func stop(t testing.TB, f *Feed) {
	t.Helper()
	if err := f.Stop(contextWithTimeout(t)); err != nil {
		t.Error(err)
	}
}

// await waits until something holds of a feed.
func await(t testing.TB, f *Feed, what string, holds func() bool) {
	t.Helper()
	late := time.After(patience)
	for {
		changed := f.Changed()
		if holds() {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("never: %s; the status is %+v", what, f.Status())
		}
	}
}

// awaitFilled waits until both streams are known.
func awaitFilled(t testing.TB, f *Feed) {
	t.Helper()
	await(t, f, "the streams are known", func() bool {
		s := f.Status()
		return s.Events.Known && s.Quarantine.Known && !s.Events.Filling && !s.Quarantine.Filling && s.HourCounted
	})
}
