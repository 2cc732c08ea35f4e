package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*msgBlock).flushLoop"))
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
	b.Committer = New(func() bool { return true }, func(n int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.sizes = append(b.sizes, n)
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
		if ack != (Ack{"S", uint64(i + 1), false}) {
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
		if ack != (Ack{"S", uint64(i + 1), false}) {
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

// A duplicate costs a batch its company, and nobody anything else.
func TestDuplicatesInABatch(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.run(t)
	first := mustWait(t, []*Sending{b.Send(message(7))})[0]
	other := open2(t, b) // another relay, which does not know the id
	other.favour(true)
	sendings := other.SendInOrder(messages(0, 50))
	other.run(t)
	acks := mustWait(t, sendings)
	last := uint64(0)
	for i, ack := range acks {
		if i == 7 {
			if ack != (Ack{"S", first.Sequence, true}) {
				t.Errorf("the duplicate: %+v", ack)
			}
			continue
		}
		if ack.Duplicate || ack.Sequence <= last {
			t.Errorf("message %d: %+v after %d", i, ack, last)
		}
		last = ack.Sequence
		if i%10 == 0 {
			b.holds(t, ack.Sequence, message(i))
			if raw, _ := b.stream.GetMsg(t.Context(), ack.Sequence); raw == nil || raw.Header.Get("Nats-Batch-Id") != "" {
				t.Error("it kept the headers of the batch that was refused")
			}
		}
	}
	if n := b.count(t); n != 50 {
		t.Errorf("%d messages are stored", n)
	}
	if other.costs.batch == time.Microsecond {
		t.Error("nothing was learnt from the refusal")
	}
}

// open2 is a second committer on the same stream.
func open2(t testing.TB, b *bench) *bench {
	t.Helper()
	other := &bench{server: b.server, conn: natstest.JetStream(t, b.server.ClientURL()).Conn(), stream: b.stream}
	other.Committer = New(func() bool { return true }, func(int) {})
	other.Attach(other.conn)
	return other
}

// A repeat of what is on its way does not spoil a batch: it goes apart.
func TestRepeatsGoApart(t *testing.T) {
	t.Parallel()
	largest := 0
	for round := 0; largest < 50; round++ {
		if round == 5 { // now and then an id has the place of another in the table
			t.Fatalf("the largest batch had %d messages", largest)
		}
		b := open(t, nil)
		b.favour(true)
		var fresh, repeats []*Sending
		for i := range 100 {
			fresh = append(fresh, b.Send(message(i)))
			repeats = append(repeats, b.Send(message(i/10)))
		}
		b.run(t)
		stored := 0
		for _, ack := range mustWait(t, append(fresh, repeats...)) {
			if !ack.Duplicate {
				stored++
			}
		}
		if n := b.count(t); n != 100 || stored != 100 {
			t.Errorf("%d are stored, %d were told so", n, stored)
		}
		for _, n := range b.observedSizes() {
			largest = max(largest, n)
		}
	}
}

// Streams that take no batches, or smaller ones, get messages singly.
func TestBatchesThatAreNotTaken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*server.Options, *jetstream.StreamConfig){
		"stream":        func(_ *server.Options, s *jetstream.StreamConfig) { s.AllowAtomicPublish = false },
		"size":          func(o *server.Options, _ *jetstream.StreamConfig) { o.JetStreamLimits.MaxBatchSize = 10 },
		"at once":       func(o *server.Options, _ *jetstream.StreamConfig) { o.JetStreamLimits.MaxBatchInflightPerStream = -1 },
		"memory stream": func(_ *server.Options, s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, change)
			b.favour(true)
			sendings := b.SendInOrder(messages(0, 100))
			b.run(t)
			for i, ack := range mustWait(t, sendings) {
				if ack != (Ack{"S", uint64(i + 1), false}) {
					t.Fatalf("message %d: %+v", i, ack)
				}
			}
		})
	}
}

// A stream that gets full in the middle of a batch stores what fits.
func TestFullInTheMiddle(t *testing.T) {
	t.Parallel()
	b := open(t, func(_ *server.Options, s *jetstream.StreamConfig) { s.MaxMsgs = 30 })
	b.favour(true)
	sendings := b.SendInOrder(messages(0, 50))
	b.run(t)
	for i, s := range sendings {
		ack, err := s.Wait(within(t, 20*time.Second))
		var api *jetstream.APIError
		if i < 30 && (err != nil || ack.Sequence != uint64(i+1)) || i >= 30 && !errors.As(err, &api) {
			t.Errorf("message %d: %+v, %v", i, ack, err)
		}
	}
}

// A message that is too large for the broker is refused for itself.
func TestTooLargeInABatch(t *testing.T) {
	t.Parallel()
	b := open(t, func(o *server.Options, _ *jetstream.StreamConfig) { o.MaxPayload = 4096 })
	b.favour(true)
	msgs := messages(0, 10)
	msgs[4].Data = make([]byte, 5000)
	sendings := b.SendInOrder(msgs)
	b.run(t)
	for i, s := range sendings {
		ack, err := s.Wait(within(t, 20*time.Second))
		var notSent *NotSentError
		if i == 4 && (!errors.Is(err, nats.ErrMaxPayload) || !errors.As(err, &notSent)) || i != 4 && err != nil {
			t.Errorf("message %d: %+v, %v", i, ack, err)
		}
	}
	if n := b.count(t); n != 9 {
		t.Errorf("%d messages are stored", n)
	}
}

// What is not allowed is told apart from what is, in a batch too.
func TestDeniedInABatch(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	other := message(1)
	other.Subject = "nobody.listens"
	sendings := b.SendInOrder([]Message{message(0), message(2), other})
	b.sendAll()
	denied := errors.New("denied")
	b.Denied("elsewhere", errors.New("for another subject"))
	b.Denied("nobody.listens", denied)
	b.run(t)
	mustWait(t, sendings[:2])
	if _, err := sendings[2].Wait(within(t, 10*time.Second)); !errors.Is(err, denied) {
		t.Errorf("the denied one: %v", err)
	}
	if n := b.count(t); n != 2 {
		t.Errorf("%d messages are stored", n)
	}
}

// sendAll sends what is to be sent now, in the test's own goroutine.
func (b *bench) sendAll() {
	for b.sendNext() {
	}
}

// Without a connection nothing is sent, and everybody knows at once that it was
// not. What was on its way when it got lost may be stored.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	sendings := b.SendInOrder(messages(0, 3))
	b.sendAll()
	later := b.SendInOrder(messages(3, 6)) // which wait for the batch
	b.Lost()
	var notSent *NotSentError
	for _, s := range sendings {
		if _, err := s.Wait(within(t, 10*time.Second)); !errors.Is(err, nats.ErrDisconnected) || errors.As(err, &notSent) {
			t.Errorf("on its way: %v", err)
		}
	}
	b.run(t)
	for _, s := range append(later, b.Send(message(7))) {
		if _, err := s.Wait(within(t, 10*time.Second)); !errors.Is(err, nats.ErrDisconnected) || !errors.As(err, &notSent) {
			t.Errorf("not on its way: %v", err)
		}
	}
	b.Attach(b.conn)
	for i, ack := range mustWait(t, b.SendInOrder(messages(0, 3))) {
		if ack.Sequence != uint64(i+1) || !ack.Duplicate {
			t.Errorf("%+v", ack)
		}
	}
}

// A broker that does not answer is given up on, and what waits behind is not sent
// past what may have failed.
func TestSilence(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	sendings := b.SendInOrder(messages(0, 3))
	b.sendAll()
	later := b.SendInOrder(messages(3, 6))
	b.giveUp(ErrNoAck, func(f *flight) bool { return time.Since(f.sent) > AckTimeout })
	select {
	case o := <-sendings[0].done:
		t.Errorf("it was given up on too early: %+v", o)
	default:
	}
	b.locked(func() {
		for _, f := range b.flights {
			f.sent = f.sent.Add(-AckTimeout)
		}
	})
	b.giveUp(ErrNoAck, func(f *flight) bool { return time.Since(f.sent) > AckTimeout })
	for _, s := range append(sendings, later...) {
		if _, err := s.Wait(within(t, 10*time.Second)); !errors.Is(err, ErrNoAck) {
			t.Errorf("%v", err)
		}
	}
}

// What nobody waits for any more is not sent.
func TestAbandoned(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	var kept []*Sending
	for i := range 9 {
		s := b.Send(message(i))
		if i%3 == 1 {
			kept = append(kept, s)
			continue
		}
		var notSent *NotSentError
		if _, err := s.Wait(over); !errors.As(err, &notSent) || !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	b.run(t)
	mustWait(t, kept)
	if n := b.count(t); n != 3 {
		t.Errorf("%d messages are stored", n)
	}
}

// Nothing is held back for good, however many repeats go by.
func TestFreshAmidAStormOfRepeats(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.run(t)
	mustWait(t, []*Sending{b.Send(message(0))})
	b.favour(true)
	ctx, cancel := context.WithCancel(t.Context())
	var storm sync.WaitGroup
	for range 20 {
		storm.Go(func() {
			for ctx.Err() == nil {
				if ack, err := b.Send(message(0)).Wait(within(t, 20*time.Second)); err != nil || !ack.Duplicate {
					t.Errorf("%+v, %v", ack, err)
					return
				}
			}
		})
	}
	for i := 1; i < 100; i += 3 {
		mustWait(t, b.SendInOrder(messages(i, i+3)))
	}
	cancel()
	storm.Wait()
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

// What waits goes as a batch after those that were waiting before it, and after no
// others.
func TestWhoGoesFirst(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	b.SendInOrder(messages(0, 3))
	b.locked(func() {
		b.singles, b.ahead = 1, 1
		if f := b.board(); f != nil {
			t.Errorf("%d messages go before one that waited longer", len(f.members))
		}
		b.singles, b.ahead = 5, 0
		if f := b.board(); f == nil || len(f.members) != 3 {
			t.Error("they wait for repeats")
		}
	})
}

// After a message that could not be sent none is sent that waited behind it.
func TestConnectionThatTakesNothing(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	sendings := b.SendInOrder(messages(0, 3))
	b.sendNext() // which opens the inbox
	b.conn.Close()
	b.sendNext()
	b.locked(func() {
		if n := len(b.waiting); n > 0 || b.batchable != 0 || len(b.flights) > 0 {
			t.Errorf("%d wait, and %d are on their way", n, len(b.flights))
		}
	})
	for _, s := range sendings {
		var notSent *NotSentError
		if _, err := s.Wait(within(t, 10*time.Second)); !errors.As(err, &notSent) || !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("%v", err)
		}
	}
}

// A reply that is not about these messages says nothing of them.
func TestReplyOfAnotherSize(t *testing.T) {
	t.Parallel()
	c := New(func() bool { return true }, func(int) { t.Error("it counts") })
	sendings := c.SendInOrder(messages(0, 3))
	c.costs = costs{single: time.Hour, batch: time.Microsecond}
	f := c.board()
	c.reply(&nats.Msg{Data: []byte(`{"stream":"S", "seq":9,"batch":"x","count":2}`)}, "zz")
	c.reply(&nats.Msg{Data: []byte(`{"stream":"S", "seq":9,"batch":"x","count":2}`)}, strconv.FormatUint(f.token, 36))
	for _, s := range sendings {
		if ack, err := s.Wait(within(t, 10*time.Second)); !errors.Is(err, jetstream.ErrInvalidJSAck) {
			t.Errorf("%+v, %v", ack, err)
		}
	}
}

// What has left a queue is not held by it: messages may be large.
func TestQueuesLetGo(t *testing.T) {
	t.Parallel()
	c := New(func() bool { return true }, func(int) {})
	c.SendInOrder(messages(0, 3))
	queue := c.waiting
	c.board()
	c.costs = costs{single: time.Hour, batch: time.Microsecond}
	c.ahead = 0
	c.board()
	for i, s := range queue {
		if s != nil {
			t.Errorf("the queue holds message %d", i)
		}
	}
}

// BenchmarkPublish stores messages for so many senders at once, on a store that
// fsyncs and on one that does not.
func BenchmarkPublish(b *testing.B) {
	for _, sync := range []bool{true, false} {
		for _, senders := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("fsync=%v/senders=%d", sync, senders), func(b *testing.B) {
				bench := open(b, func(o *server.Options, _ *jetstream.StreamConfig) { o.SyncAlways = sync })
				bench.run(b)
				publish(b, bench, senders)
			})
		}
	}
}

func publish(b *testing.B, bench *bench, senders int) {
	data := make([]byte, 700)
	next := make(chan int, senders)
	var done sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range senders {
		done.Go(func() {
			for i := range next {
				m := Message{Subject: "s.a", ID: fmt.Sprintf("task_%d", i), Header: map[string][]string{"Content-Type": {"application/cloudevents+json"}}, Data: data}
				if _, err := bench.Send(m).Wait(context.Background()); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range b.N {
		next <- i
	}
	close(next)
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/float64(len(bench.observedSizes())), "messages/ack")
}
