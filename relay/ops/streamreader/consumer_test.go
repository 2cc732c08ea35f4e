package streamreader

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// consumers are the names of those that the stream has.
func (b *testBroker) consumers(t *testing.T) (names []string) {
	t.Helper()
	stream, err := b.js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	lister := stream.ConsumerNames(t.Context())
	for name := range lister.Name() {
		names = append(names, name)
	}
	if err := lister.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestReadLeavesNoConsumer(t *testing.T) {
	t.Parallel()
	stop := errors.New("enough")
	for name, tt := range map[string]struct {
		s    Selection
		ends func(m Message, cancel func()) error
	}{
		"at the end":    {Selection{FromSeq: 1}, func(Message, func()) error { return nil }},
		"nothing there": {Selection{FromSeq: 9}, nil},
		"by an error":   {Selection{FromSeq: 1, Follow: true}, func(Message, func()) error { return stop }},
		"by its context": {Selection{FromSeq: 1, Follow: true}, func(m Message, cancel func()) error {
			if m.Pending == 0 {
				cancel()
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newTestBroker(t, 3)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tt.s.Stream = "S"
			err := Read(ctx, b.conn, tt.s, func(Start) {
				if n := len(b.consumers(t)); n != 1 {
					t.Errorf("%d consumers while it reads", n)
				}
			}, func(m Message) error { return tt.ends(m, cancel) })
			if err != nil && err != stop {
				t.Error(err)
			}
			if left := b.consumers(t); len(left) > 0 {
				t.Errorf("it leaves %q", left)
			}
		})
	}
}

// Many readers, one after the other, need no more consumers than one at a time.
func TestReadWhereConsumersAreFew(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	account := server.NewAccount("A")
	options.Accounts = []*server.Account{account}
	options.Users = []*server.User{{Username: "a", Password: "a", Account: account}}
	s := natstest.Start(t, options)
	a, err := s.LookupAccount("A")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.EnableJetStream(map[string]server.JetStreamAccountLimits{"": {
		MaxMemory: -1, MaxStore: -1, MaxStreams: -1, MaxConsumers: 3, MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1,
	}}, nil); err != nil {
		t.Fatal(err)
	}
	js := natstest.JetStream(t, s.ClientURL(), nats.UserInfo("a", "a"))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}}); err != nil {
		t.Fatal(err)
	}
	b := &testBroker{url: s.ClientURL(), conn: js.Conn(), js: js}
	b.publish(t)
	for range 20 {
		if got := b.read(t, Selection{FromSeq: 1}); !slices.Equal(got, []uint64{1}) {
			t.Errorf("read %v", got)
		}
	}
}

const soon = 300 * time.Millisecond

// A reader that takes its time keeps its consumer.
func TestSlowReaderKeepsItsConsumer(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 3)
	asked := make(chan *nats.Msg, 100)
	if _, err := b.conn.ChanSubscribe("$JS.API.CONSUMER.MSG.NEXT.S.*", asked); err != nil {
		t.Fatal(err)
	}
	if err := b.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	reading := natstest.JetStream(t, b.url).Conn()
	var read []uint64
	err := Read(ctx, reading, Selection{Stream: "S", FromSeq: 1, inactiveThreshold: soon}, nil, func(m Message) error {
		read = append(read, m.Sequence)
		if m.Sequence > 1 {
			return nil
		}
		for n := 0; n < 12; { // which takes four times as long as it may be inactive
			select {
			case request := <-asked:
				if strings.Contains(string(request.Data), `"max_bytes":1,`) {
					n++
				}
			case <-ctx.Done():
				t.Fatal("nothing keeps the consumer")
			}
		}
		if names := b.consumers(t); len(names) != 1 || !strings.HasSuffix(names[0], "_1") {
			t.Errorf("the consumers are %q", names)
		}
		return nil
	})
	if err != nil || !slices.Equal(read, []uint64{1, 2, 3}) {
		t.Errorf("read %v, %v", read, err)
	}
}

// A user who may not delete a consumer reads all the same, and the broker deletes it.
func TestReadWithoutPermissionToDelete(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.Users = []*server.User{
		{Username: "admin", Password: "admin"},
		{Username: "reader", Password: "reader", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{"$JS.API.CONSUMER.DELETE.>"}}}},
	}
	s := natstest.Start(t, options)
	js := natstest.JetStream(t, s.ClientURL(), nats.UserInfo("admin", "admin"))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}}); err != nil {
		t.Fatal(err)
	}
	b := &testBroker{url: s.ClientURL(), js: js, conn: natstest.JetStream(t, s.ClientURL(), nats.UserInfo("reader", "reader"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})).Conn()}
	b.publish(t)
	deleted := make(chan *nats.Msg, 1)
	if _, err := js.Conn().ChanSubscribe("$JS.EVENT.ADVISORY.CONSUMER.DELETED.S.*", deleted); err != nil {
		t.Fatal(err)
	}
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if got := b.read(t, Selection{FromSeq: 1, inactiveThreshold: soon}); !slices.Equal(got, []uint64{1}) {
		t.Errorf("read %v", got)
	}
	if took := time.Since(began); took >= deleteTimeout {
		t.Errorf("it waited for an answer that does not come: %s", took)
	}
	select {
	case <-deleted:
	case <-time.After(2 * time.Minute):
		t.Error("the consumer stays")
	}
}
