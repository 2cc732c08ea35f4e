package publisher_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// mirrored is how many tasks the tests beside a mirror have: every second direct get is
// its to answer.
const mirrored = 50

// mirror makes a mirror of the events that answers direct gets, and returns when it has
// given the first of its answers.
func (b bench) mirror(t *testing.T, change func(*jetstream.StreamConfig)) jetstream.Stream {
	t.Helper()
	cfg := jetstream.StreamConfig{Name: "MIRROR", AllowDirect: true, MirrorDirect: true, Mirror: &jetstream.StreamSource{Name: "APIXO"}}
	change(&cfg)
	mirror, err := b.js.CreateStream(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.mustStore(t, result("mirrored", "failed", ""), at(1))
	b.await(t, "the mirror never answers", func() bool {
		msg, err := b.stream(t).GetMsg(t.Context(), 1)
		return err == nil && msg.Header.Get("Nats-Stream") == "MIRROR" || errors.Is(err, jetstream.ErrMsgNotFound)
	})
	return mirror
}

// holdsMessages waits until a stream has so many messages.
func (b bench) holdsMessages(t *testing.T, s jetstream.Stream, n uint64) {
	t.Helper()
	b.await(t, fmt.Sprintf("%s never has %d messages", s.CachedInfo().Config.Name, n), func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.State.Msgs == n
	})
}

func (b bench) await(t *testing.T, never string, is func() bool) {
	t.Helper()
	for ctx := within(t, 60*time.Second); !is(); {
		if ctx.Err() != nil {
			t.Fatal(never)
		}
	}
}

// mirroredResult is what a task of the tests says first, and in contradiction to that.
func mirroredResult(i int, says string) string {
	return result(fmt.Sprintf("task_%d", i), "success", `{"says":"`+says+`"}`)
}

// complete is a mirror of everything.
func complete(*jetstream.StreamConfig) {}

// A mirror that has not got yet what the stream has says that it is not there. This one
// never gets the results that contradict each other here.
func TestContradictionsBesideAMirrorThatLags(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	b, other := start(t, s), start(t, s)
	b.mirror(t, func(c *jetstream.StreamConfig) { c.Mirror.FilterSubject = "apixo.task.failed" })
	const pairs = 4 * mirrored
	var all sync.WaitGroup
	for i := range pairs {
		receipts := make(chan store.Receipt, 2)
		for says, relay := range map[string]bench{"one": b, "two": other} {
			all.Go(func() {
				receipt, err := relay.Store(within(t, time.Minute), webhook(t, mirroredResult(i, says)))
				if err != nil {
					t.Error(err)
				}
				receipts <- receipt
			})
		}
		all.Go(func() {
			one, two := <-receipts, <-receipts
			if one.Sequence != two.Sequence || one.Duplicate == two.Duplicate || one.Conflict != one.Duplicate || two.Conflict != two.Duplicate {
				t.Errorf("task %d: %+v and %+v", i, one, two)
			}
		})
	}
	all.Wait()
	if kept := b.kept(t); len(kept) != pairs {
		t.Errorf("%d contradictions of %d are kept", len(kept), pairs)
	}
}

// A mirror may be of a shorter age than the stream.
func TestContradictionsBesideAMirrorThatHasExpired(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	mirror := b.mirror(t, func(c *jetstream.StreamConfig) { c.MaxAge = time.Second })
	for i := range mirrored {
		b.mustStore(t, mirroredResult(i, "one"), at(uint64(i+2)))
	}
	b.holdsMessages(t, mirror, 0)
	for i := range mirrored {
		b.mustStore(t, mirroredResult(i, "two"), again(uint64(i+2), true))
		b.mustStore(t, mirroredResult(i, "one"), again(uint64(i+2), false))
	}
	if kept := b.kept(t); len(kept) != mirrored {
		t.Errorf("%d contradictions of %d are kept", len(kept), mirrored)
	}
}

// A mirror goes on having what was removed from the stream.
func TestRepeatsOfWhatOnlyAMirrorHas(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	mirror := b.mirror(t, complete)
	for i := range mirrored {
		b.mustStore(t, mirroredResult(i, "one"), at(uint64(i+2)))
	}
	b.holdsMessages(t, mirror, 1+mirrored)
	for i := range mirrored {
		b.remove(t, uint64(i+2))
	}
	for i := range mirrored {
		says := []string{"one", "two"}[i%2] // there is nothing that it contradicts
		b.mustStore(t, mirroredResult(i, says), at(uint64(i+2+mirrored)))
		b.mustStore(t, mirroredResult(i, says), again(uint64(i+2+mirrored), false))
	}
}

// A stream that is made anew counts from 1 again, and a mirror of the old one has other
// messages there.
func TestRepeatsBesideTheMirrorOfAnEarlierStream(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	mirror := b.mirror(t, complete)
	for i := range mirrored {
		b.mustStore(t, mirroredResult(i, "one"), at(uint64(i+2)))
	}
	b.holdsMessages(t, mirror, 1+mirrored)
	if err := b.js.DeleteStream(t.Context(), "APIXO"); err != nil {
		t.Fatal(err)
	}
	b.mustStore(t, result("mirrored", "failed", ""), at(1))
	for i := range mirrored {
		b.mustStore(t, mirroredResult(i, "two"), at(uint64(i+2)))
	}
	for i := range mirrored {
		b.mustStore(t, mirroredResult(i, "two"), again(uint64(i+2), false))
		b.mustStore(t, mirroredResult(i, "one"), again(uint64(i+2), true))
	}
}
