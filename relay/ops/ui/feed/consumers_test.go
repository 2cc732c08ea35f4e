package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Each consumer is told with its lag and the age of its oldest unread message; those that only
// look at the stream are counted.
func TestConsumers(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	stream, err := b.js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: schema.DefaultStream, Subjects: []string{"apixo.task.>"}, MaxAge: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	const n = 10
	var stored [n + 1]time.Time
	for i := range n {
		state := schema.StateSuccess
		if i == 6 {
			state = schema.StateFailed
		}
		sequence := b.publish(t, task(t, fmt.Sprint("task_", i), state, 0))
		m, err := stream.GetMsg(t.Context(), sequence)
		if err != nil {
			t.Fatal(err)
		}
		stored[sequence] = m.Time
	}
	pausedUntil := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, cfg := range []jetstream.ConsumerConfig{
		{Durable: "behind", AckPolicy: jetstream.AckExplicitPolicy},
		{Durable: "failures", AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: []string{"apixo.task.other", "apixo.task.failed"}, PauseUntil: &pausedUntil},
		{Durable: "idle", AckPolicy: jetstream.AckAllPolicy, DeliverPolicy: jetstream.DeliverNewPolicy},
		{Durable: "looks", AckPolicy: jetstream.AckNonePolicy, FilterSubject: "apixo.task.success"},
		{Name: "reader", AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: time.Hour},
		{Name: "ephemeral", AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 9, InactiveThreshold: time.Hour},
	} {
		if _, err := stream.CreateConsumer(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	fetch := func(name string, n, acked int) {
		t.Helper()
		c, err := stream.Consumer(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			m, err := c.Next(jetstream.FetchMaxWait(patience))
			if err != nil {
				t.Fatal(err)
			}
			if i < acked {
				if err := m.DoubleAck(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	fetch("behind", 5, 3)
	fetch("looks", 2, 0)
	f := b.newFeed(t, 100)
	got, err := f.Consumers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.More != 0 || got.Readers != 1 || !got.Oldest.Equal(stored[1]) || got.MaxAge != time.Hour || time.Since(got.At) > patience {
		t.Errorf("%+v", got)
	}
	type consumer struct {
		name                   string
		durable, paused        bool
		pending                uint64
		ackPending             int
		oldest                 time.Time
		hasDelivered, hasAcked bool
		filters                int
	}
	var told []consumer
	for _, c := range got.Consumers {
		paused := c.Paused && c.PausedUntil.Equal(pausedUntil)
		told = append(told, consumer{c.Name, c.Durable, paused, c.Pending, c.AckPending, c.OldestUnread.UTC(), !c.LastDelivered.IsZero(), !c.LastAcked.IsZero(), len(c.Filters)})
	}
	want := []consumer{
		{"behind", true, false, 5, 2, stored[4].UTC(), true, true, 0},
		{"ephemeral", false, false, 2, 0, stored[9].UTC(), false, false, 0},
		{"failures", true, true, 1, 0, stored[7].UTC(), false, false, 2},
		{"idle", true, false, 0, 0, time.Time{}, false, false, 0},
		{"looks", true, false, 7, 0, stored[3].UTC(), true, false, 1},
	}
	if !slices.Equal(told, want) {
		t.Errorf("told:\n%+v\nwant:\n%+v", told, want)
	}
}

// Many who ask at once are told by one answer, which is soon asked for anew; and no more than
// some consumers are told.
func TestManyConsumers(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	stream, err := b.js.Stream(t.Context(), schema.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	const n = 270
	for i := range n {
		if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: fmt.Sprint("c", i), AckPolicy: jetstream.AckExplicitPolicy, MemoryStorage: true}); err != nil {
			t.Fatal(err)
		}
	}
	asked := make(chan *nats.Msg, 100)
	if _, err := b.conn.ChanSubscribe("$JS.API.CONSUMER.LIST.>", asked); err != nil {
		t.Fatal(err)
	}
	f := b.newFeed(t, 100)
	now := time.Now()
	f.o.Now = func() time.Time { return now }
	ask := func() {
		got, err := f.Consumers(t.Context())
		if err != nil || len(got.Consumers) != maxConsumers || got.More != n-maxConsumers || got.Readers != 0 {
			t.Errorf("%d consumers, %d more, %d readers, %v", len(got.Consumers), got.More, got.Readers, err)
		}
	}
	var many sync.WaitGroup
	for range 20 {
		many.Go(ask)
	}
	many.Wait()
	now = now.Add(consumersAge)
	ask()
	if err := b.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 2 {
		t.Errorf("the broker was asked %d times", len(asked))
	}
}

// A user who may not list consumers is told so, and the broker is not asked for it again at once;
// nobody waits longer than he may, and one who goes takes nobody else with him.
func TestConsumersThatAreNotTold(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.Users = []*server.User{
		{Username: "admin", Password: "admin"},
		{Username: "reader", Password: "reader", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{"$JS.API.CONSUMER.LIST.>"}}}},
	}
	s := natstest.Start(t, options)
	js := natstest.JetStream(t, s.ClientURL(), nats.UserInfo("admin", "admin"))
	b := &testBroker{js: js, conn: natstest.JetStream(t, s.ClientURL(), nats.UserInfo("reader", "reader"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})).Conn()}
	f := b.newFeed(t, 100)
	if _, err := f.Consumers(t.Context()); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("%v", err)
	}
	f = b.newFeed(t, 100)
	b.stream(t, schema.DefaultStream, "apixo.task.>")
	gone := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := f.Consumers(ctx)
		gone <- err
	}()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	now := time.Now()
	f.o.Now = func() time.Time { return now }
	asked := make(chan *nats.Msg, 100)
	if _, err := js.Conn().ChanSubscribe("$JS.API.STREAM.INFO.>", asked); err != nil {
		t.Fatal(err)
	}
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := f.Consumers(t.Context())
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not let this user list them") || time.Since(began) > 2*consumersTimeout {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Consumers(canceled); err == nil {
		t.Error("no error")
	}
	now = now.Add(2 * consumersAge)
	if _, err := f.Consumers(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 1 {
		t.Errorf("the broker was asked %d times", len(asked))
	}
}
