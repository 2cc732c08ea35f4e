package streamreader

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// scan returns the sequences that a scan has.
func (b *testBroker) scan(t *testing.T, s Selection) (sequences []uint64) {
	t.Helper()
	s.Stream = "S"
	if err := Scan(t.Context(), b.conn, s, func(h Head) error {
		if h.ID != fmt.Sprint(h.Sequence) || h.Stored.IsZero() || h.Subject != "a."+string("yx"[h.Sequence%2]) || h.Header.Get(jetstream.MsgIDHeader) != h.ID {
			t.Errorf("%+v", h)
		}
		sequences = append(sequences, h.Sequence)
		return nil
	}); err != nil {
		t.Errorf("%+v: %v", s, err)
	}
	return sequences
}

// A scan has what reading has.
func TestScan(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 9)
	stream, err := b.js.Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	for _, sequence := range []uint64{1, 5, 9} {
		if err := stream.DeleteMsg(t.Context(), sequence); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		s    Selection
		want []uint64
	}{
		"all":                     {Selection{}, []uint64{2, 3, 4, 6, 7, 8}},
		"from":                    {Selection{FromSeq: 5}, []uint64{6, 7, 8}},
		"to":                      {Selection{ToSeq: 4}, []uint64{2, 3, 4}},
		"to what is not there":    {Selection{FromSeq: 2, ToSeq: 5}, []uint64{2, 3, 4}},
		"to the end":              {Selection{FromSeq: 7, ToSeq: 9}, []uint64{7, 8}},
		"one":                     {Selection{FromSeq: 3, ToSeq: 3}, []uint64{3}},
		"none":                    {Selection{FromSeq: 5, ToSeq: 5}, nil},
		"nothing":                 {Selection{FromSeq: 5, ToSeq: 4}, nil},
		"behind the end":          {Selection{FromSeq: 12}, nil},
		"a subject":               {Selection{Subjects: []string{"a.y"}, ToSeq: 7}, []uint64{2, 4, 6}},
		"a subject that has none": {Selection{Subjects: []string{"a.z"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := b.scan(t, tt.s); !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

// fill stores many messages without waiting for each.
func (b *testBroker) fill(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		sequence := i + 1
		if _, err := b.js.PublishAsync("a."+string("yx"[sequence%2]), make([]byte, 100), jetstream.WithMsgID(fmt.Sprint(sequence)), jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			<-b.js.PublishAsyncComplete()
		}
	}
	<-b.js.PublishAsyncComplete()
}

// Whatever becomes of the consumer, each message comes once, in order, and no consumer is left.
func TestScanGoesOn(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"nothing happens", "consumer is dropped", "broker restarts"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := natstest.Options(t)
			s := natstest.Start(t, options)
			options.Port = s.Addr().(*net.TCPAddr).Port
			js := natstest.JetStream(t, s.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1))
			b := &testBroker{js: js, conn: js.Conn()}
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}}); err != nil {
				t.Fatal(err)
			}
			const n = 5 * scanBatch
			b.fill(t, n)
			next, disturbed := uint64(1), make(chan struct{})
			err := Scan(t.Context(), b.conn, Selection{Stream: "S"}, func(h Head) error {
				if h.Sequence != next {
					t.Errorf("%d comes, %d is next", h.Sequence, next)
				}
				next = h.Sequence + 1
				if h.Sequence != n/2 {
					return nil
				}
				go func() {
					defer close(disturbed)
					switch name {
					case "consumer is dropped":
						for _, consumer := range b.consumers(t) {
							if err := js.DeleteConsumer(t.Context(), "S", consumer); err != nil {
								t.Error(err)
							}
						}
					case "broker restarts":
						natstest.Stop(s)
						natstest.Start(t, options)
					}
				}()
				<-disturbed
				return nil
			})
			if err != nil || next != n+1 {
				t.Errorf("it ends before %d: %v", next, err)
			}
			// What was lost with the connection the broker deletes by itself.
			for left := b.consumers(t); len(left) > 0; left = b.consumers(t) {
				if name != "broker restarts" {
					t.Fatalf("it leaves %q", left)
				}
			}
		})
	}
}

// Headers of any size come, a few at a time.
func TestScanOfLargeHeaders(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 0)
	const n = 300
	for i := range n {
		msg := nats.NewMsg("a.x")
		msg.Header.Set("Large", strings.Repeat("x", 30<<10))
		msg.Header.Set(jetstream.MsgIDHeader, fmt.Sprint(i))
		if _, err := b.js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	made := make(chan *nats.Msg, 100)
	if _, err := b.conn.ChanSubscribe("$JS.API.CONSUMER.CREATE.>", made); err != nil {
		t.Fatal(err)
	}
	read := 0
	if err := Scan(t.Context(), b.conn, Selection{Stream: "S"}, func(Head) error { read++; return nil }); err != nil || read != n || len(made) != 1 {
		t.Errorf("%d of %d by %d consumers, %v", read, n, len(made), err)
	}
}

// It ends with the error of its caller, or with ctx, and nothing is delivered any more.
func TestScanEnds(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 0)
	b.fill(t, 3000)
	enough := errors.New("enough")
	for range 2 {
		read := 0
		ctx, cancel := context.WithCancelCause(t.Context())
		err := Scan(ctx, b.conn, Selection{Stream: "S"}, func(Head) error { read++; return enough })
		if !errors.Is(err, enough) || read != 1 {
			t.Errorf("%d, %v", read, err)
		}
		over := false
		err = Scan(ctx, b.conn, Selection{Stream: "S"}, func(h Head) error {
			if over {
				t.Error("something is delivered after the end")
			}
			cancel(enough)
			return nil
		})
		over = true
		if !errors.Is(err, enough) {
			t.Errorf("%v", err)
		}
	}
	if left := b.consumers(t); len(left) > 0 {
		t.Errorf("it leaves %q", left)
	}
	if err := Scan(t.Context(), b.conn, Selection{Stream: "OTHER"}, nil); err == nil || !strings.Contains(err.Error(), "no stream OTHER") {
		t.Errorf("%v", err)
	}
}

// To a user who may not fetch it says so in the end.
func TestScanIsNotAllowed(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.Users = []*server.User{
		{Username: "admin", Password: "admin"},
		{Username: "reader", Password: "reader", Permissions: &server.Permissions{Publish: &server.SubjectPermission{
			Allow: []string{">"}, Deny: []string{"$JS.API.CONSUMER.MSG.NEXT.>"},
		}}},
	}
	s := natstest.Start(t, options)
	js := natstest.JetStream(t, s.ClientURL(), nats.UserInfo("admin", "admin"))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"a.>"}}); err != nil {
		t.Fatal(err)
	}
	b := &testBroker{js: js}
	b.publish(t)
	reader := natstest.JetStream(t, s.ClientURL(), nats.UserInfo("reader", "reader"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})).Conn()
	err := Scan(t.Context(), reader, Selection{Stream: "S"}, func(Head) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "does not let this user fetch") {
		t.Errorf("%v", err)
	}
}

// A message is what reading has of it.
func TestGet(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t, 3)
	var want Message
	if err := Read(t.Context(), b.conn, Selection{Stream: "S", FromSeq: 2, ToSeq: 2}, nil, func(m Message) error { want = m; return nil }); err != nil {
		t.Fatal(err)
	}
	got, err := Get(t.Context(), b.conn, Selection{Stream: "S"}, 2)
	if err != nil || got.Sequence != 2 || !got.Stored.Equal(want.Stored) || got.Subject != "a.y" ||
		string(got.Data) != "2" || got.Header.Get(jetstream.MsgIDHeader) != "2" || got.Err == nil {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if _, err := Get(t.Context(), b.conn, Selection{Stream: "S"}, 4); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("%v", err)
	}
	if _, err := Get(t.Context(), b.conn, Selection{Stream: "OTHER"}, 4); err == nil || !strings.Contains(err.Error(), "no stream OTHER") {
		t.Errorf("%v", err)
	}
}
