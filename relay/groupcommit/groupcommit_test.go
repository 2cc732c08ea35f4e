package groupcommit

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/apixo-relay/apixo-relay/relay/internal/natstest"
)

// A server that shuts down while a batch is open can leave a goroutine of its own.
func TestMain(m *testing.M) {
	natstest.Main(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*msgBlock).flushLoop"))
}

// bench is a committer on a server that fsyncs, with a stream S on s.>, and what
// it has observed.
type bench struct {
	*Committer
	server *server.Server
	conn   *nats.Conn
	stream jetstream.Stream
	mu     sync.Mutex
	sizes  []int // of what was acknowledged at once
}

// open makes a bench whose committer does not run yet.
func open(t testing.TB, change func(*server.Options, *jetstream.StreamConfig)) *bench {
	t.Helper()
	options := natstest.Options(t)
	options.SyncAlways = true
	stream := jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Discard: jetstream.DiscardNew, AllowAtomicPublish: true}
	if change != nil {
		change(options, &stream)
	}
	b := &bench{server: natstest.Start(t, options)}
	js := natstest.JetStream(t, b.server.ClientURL())
	b.conn = js.Conn()
	var err error
	if b.stream, err = js.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	b.Committer = New(func() bool { return true }, func(s Stored) any {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.sizes = append(b.sizes, s.Len())
		return nil
	})
	b.Attach(b.conn)
	return b
}

// run runs a committer until the test ends.
func (b *bench) run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// favour makes it believe that batches are for nothing, or not worth anything.
func (b *bench) favour(batches bool) {
	b.locked(func() {
		if batches {
			b.costs = costs{single: time.Hour, batch: time.Microsecond}
		} else {
			b.costs = costs{single: 1, batch: time.Hour}
		}
	})
}

func (b *bench) locked(f func()) {
	b.Committer.mu.Lock()
	defer b.Committer.mu.Unlock()
	f()
}

func (b *bench) observedSizes() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]int(nil), b.sizes...)
}

func message(i int) Message {
	return Message{Subject: "s.a", ID: fmt.Sprintf("task_%d", i), Header: map[string][]string{"X": {"y"}}, Data: fmt.Appendf(nil, `{"n":%d}`, i)}
}

func messages(from, to int) (msgs []Message) {
	for i := from; i < to; i++ {
		msgs = append(msgs, message(i))
	}
	return msgs
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// mustWait waits for acknowledgements.
func mustWait(t testing.TB, sendings []*Sending) (acks []Ack) {
	t.Helper()
	for i, s := range sendings {
		ack, err := s.Wait(within(t, 20*time.Second))
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		acks = append(acks, ack)
	}
	return acks
}

// holds checks that a message is what is stored at a sequence.
func (b *bench) holds(t testing.TB, sequence uint64, want Message) {
	t.Helper()
	raw, err := b.stream.GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	if raw.Subject != want.Subject || string(raw.Data) != string(want.Data) || raw.Header.Get("Nats-Msg-Id") != want.ID || raw.Header.Get("X") != "y" {
		t.Errorf("at %d there is %s %q %q, want %+v", sequence, raw.Subject, raw.Header, raw.Data, want)
	}
}

func (b *bench) count(t testing.TB) uint64 {
	t.Helper()
	info, err := b.stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

// A message that is alone travels alone, whatever batches are believed to cost.
func TestAlone(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	b.run(t)
	for i := range 5 {
		ack := mustWait(t, []*Sending{b.Send(message(i))})[0]
		if ack != (Ack{"S", uint64(i + 1), false, nil}) {
			t.Errorf("%+v", ack)
		}
		b.holds(t, ack.Sequence, message(i))
		if raw, _ := b.stream.GetMsg(t.Context(), ack.Sequence); raw == nil || len(raw.Header) != 2 {
			t.Errorf("it is stored with %v", raw)
		}
	}
	for _, n := range b.observedSizes() {
		if n != 1 {
			t.Errorf("%d messages were acknowledged at once", n)
		}
	}
}

// What waits at the same time shares a batch, and each message gets its own
// sequence, in order.
func TestTogether(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	sendings := b.SendInOrder(messages(0, 300))
	b.run(t)
	for i, ack := range mustWait(t, sendings) {
		if ack != (Ack{"S", uint64(i + 1), false, nil}) {
			t.Fatalf("message %d: %+v", i, ack)
		}
		if i%50 == 0 {
			b.holds(t, ack.Sequence, message(i))
		}
	}
	if sizes := b.observedSizes(); len(sizes) != 1 || sizes[0] != 300 {
		t.Errorf("they were acknowledged in groups of %d", sizes)
	}
}

// A batch is bounded by what the broker takes, in messages and in bytes.
func TestBounds(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	var msgs []Message
	for i := range 5 {
		m := message(i)
		m.Data = make([]byte, 400<<10)
		msgs = append(msgs, m)
	}
	sendings := b.SendInOrder(append(msgs, messages(5, 1505)...))
	b.run(t)
	for i, ack := range mustWait(t, sendings) {
		if ack.Sequence != uint64(i+1) {
			t.Fatalf("message %d: %+v", i, ack)
		}
	}
	for _, n := range b.observedSizes() {
		if n > maxBatch {
			t.Errorf("%d messages in a batch", n)
		}
	}
	if sizes := b.observedSizes(); len(sizes) != 4 || sizes[0] != 2 {
		t.Errorf("they were acknowledged in groups of %d", sizes)
	}
}

// It learns by itself which way is faster: on this disk, where one message and
// many are fsynced, and both ways are taken.
func TestLearns(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.run(t)
	for round := 0; ; round++ {
		mustWait(t, b.SendInOrder(messages(round*200, round*200+200)))
		batches := 0
		for _, n := range b.observedSizes() {
			if n > 1 {
				batches++
			}
		}
		if batches > 0 {
			break
		}
		if round == 50 {
			t.Fatal("no batch was ever tried")
		}
	}
}
