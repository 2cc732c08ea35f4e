package groupcommit

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/internal/natstest"
)

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
			if ack != (Ack{"S", first.Sequence, true, nil}) {
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
	other.Committer = New(func() bool { return true }, func(Stored) any { return nil })
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
				if ack != (Ack{"S", uint64(i + 1), false, nil}) {
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

// A reply that is not about these messages says nothing of them.
func TestReplyOfAnotherSize(t *testing.T) {
	t.Parallel()
	c := New(func() bool { return true }, func(Stored) any { t.Error("it counts"); return nil })
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
