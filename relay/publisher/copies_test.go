package publisher_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

func (b bench) stream(t *testing.T) jetstream.Stream {
	t.Helper()
	stream, err := b.js.Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// remove deletes an event as an operator does.
func (b bench) remove(t *testing.T, sequence uint64) {
	t.Helper()
	if err := b.stream(t).DeleteMsg(t.Context(), sequence); err != nil {
		t.Fatal(err)
	}
}

// holds checks which messages there are, by their ids, each with the event of task_1.
func (b bench) holds(t *testing.T, want ...string) {
	t.Helper()
	stream := b.stream(t)
	var ids []string
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			continue
		}
		ids = append(ids, msg.Header.Get(jetstream.MsgIDHeader))
		if e, err := schema.DecodeMessage(msg.Header, msg.Data); err != nil || e.ID != "task_1" {
			t.Errorf("the message %s has the event %q, %v", ids[len(ids)-1], e.ID, err)
		}
	}
	if !slices.Equal(ids, want) {
		t.Errorf("the stream holds %q, want %q", ids, want)
	}
}

func at(sequence uint64) store.Receipt { return store.Receipt{Stream: "APIXO", Sequence: sequence} }

func again(sequence uint64, conflict bool) store.Receipt {
	return store.Receipt{Stream: "APIXO", Sequence: sequence, Duplicate: true, Conflict: conflict}
}

func TestRepeatOfWhatIsGoneIsStoredAnew(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	b, other := start(t, s), start(t, s)
	body, failed := result("task_1", "success", `{"a":1}`), result("task_1", "failed", "")
	b.mustStore(t, body, at(1))
	b.remove(t, 1)
	b.mustStore(t, body, at(2)) // a moment after it was stored, and so known
	b.mustStore(t, body, again(2, false))
	b.holds(t, "task_1~1")
	b.remove(t, 2)
	other.mustStore(t, failed, at(3)) // there is nothing that it contradicts
	b.mustStore(t, failed, again(3, false))
	b.mustStore(t, body, again(3, true))
	b.holds(t, "task_1~2")
	if err := b.stream(t).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.mustStore(t, body, at(4))
	b.holds(t, "task_1~3")
	if n := strings.Count(b.log.String(), "is stored anew"); n != 1 {
		t.Errorf("the log says %d times that an event was stored anew:\n%s", n, b.log)
	}
}

// All who find at once that an event is gone store one.
func TestRepeatsAtOnceOfWhatIsGone(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	relays := []bench{start(t, s), start(t, s)}
	body := result("task_1", "success", `{"a":1}`)
	relays[0].mustStore(t, body, at(1))
	relays[0].remove(t, 1)
	var mu sync.Mutex
	firsts := 0
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			got, err := relays[i%2].Store(within(t, 20*time.Second), webhook(t, body))
			if err != nil || got.Sequence != 2 {
				t.Errorf("%+v, %v", got, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if !got.Duplicate {
				firsts++
			}
		})
	}
	all.Wait()
	if firsts != 1 {
		t.Errorf("%d of the repeats were stored", firsts)
	}
	relays[0].holds(t, "task_1~1")
}

// When a server starts it remembers what it has, and that is not the id of what was
// removed.
func TestRepeatAfterABrokerHasForgotten(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	s := natstest.Start(t, options)
	b := start(t, s)
	body := result("task_1", "success", `{"a":1}`)
	b.mustStore(t, body, at(1))
	for seq := uint64(1); seq <= 2; seq++ {
		b.remove(t, seq)
		b.mustStore(t, body, at(seq+1))
	}
	options.Port = portOf(s)
	away := b.broker.Conn().StatusChanged(nats.RECONNECTING)
	natstest.Stop(s)
	<-away
	s = natstest.Start(t, options)
	b.awaitConnection(t)
	b.js = natstest.JetStream(t, s.ClientURL())
	b.mustStore(t, body, again(3, false)) // by the relay that knows the stream from before
	fresh := start(t, s)
	fresh.mustStore(t, result("task_1", "failed", ""), again(3, true))
	sent := fresh.PublishAsync([]event.Message{webhook(t, body)})
	if got, err := sent[0].Wait(within(t, 20*time.Second)); err != nil || got != again(3, false) {
		t.Errorf("what comes by way of the outbox: %+v, %v", got, err)
	}
	fresh.holds(t, "task_1~2")
	// What was asked has left nothing behind.
	fresh.remove(t, 3)
	fresh.mustStore(t, body, at(4))
	fresh.mustStore(t, body, again(4, false))
}

// What leaves a work queue was consumed, and is not to be done again.
func TestRepeatOfWhatWasConsumed(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, s.ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "APIXO", Subjects: []string{"apixo.task.>"}, Retention: jetstream.WorkQueuePolicy, Duplicates: time.Hour, AllowDirect: true, Discard: jetstream.DiscardNew,
	}); err != nil {
		t.Fatal(err)
	}
	b := start(t, s)
	body := result("task_1", "success", `{"a":1}`)
	b.mustStore(t, body, at(1))
	b.remove(t, 1)
	b.mustStore(t, body, again(1, false))
	b.holds(t)
}

// Who removes something from the quarantine has judged it.
func TestRepeatOfWhatWasRemovedFromTheQuarantine(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	msg, err := encoder.Encode(event.Delivery{Body: []byte("no JSON"), Received: time.Now()})
	if err != nil || msg.Rejection == nil {
		t.Fatal(msg.Rejection, err)
	}
	want := store.Receipt{Stream: "APIXO_QUARANTINE", Sequence: 1}
	for range 2 {
		if got, err := b.Store(within(t, 20*time.Second), msg); err != nil || got != want {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
		if quarantine, err := b.js.Stream(t.Context(), "APIXO_QUARANTINE"); err != nil {
			t.Error(err)
		} else if err := quarantine.Purge(t.Context()); err != nil {
			t.Error(err)
		}
		want.Duplicate = true
	}
}
