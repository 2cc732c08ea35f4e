package feed

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/service/servicetest"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

func contextWithTimeout(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestService(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	for i := range 100 {
		b.publish(t, task(t, fmt.Sprint("task_", i), schema.StateSuccess, 0))
	}
	servicetest.Stress(t, func(t *testing.T) service.Service { return b.newFeed(t, 1000) })
	// One that was being made when the feed was stopped is gone after some seconds without a
	// request.
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		left := b.consumersLeft(t)
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it leaves the consumers %q", left)
		}
	}
}

// consumersLeft are the consumers of both streams.
func (b *testBroker) consumersLeft(t testing.TB) (names []string) {
	t.Helper()
	for _, stream := range []string{schema.DefaultStream, schema.DefaultQuarantine} {
		s, err := b.js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		for name := range s.ConsumerNames(t.Context()).Name() {
			names = append(names, name)
		}
	}
	return names
}

// Each task is found where it is, whether it was there or came later, also as a copy, and the
// index says whether it knows all.
func TestFind(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		index    int
		complete bool
	}{"all": {10_000, true}, "the newest": {1000, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newTestBroker(t)
			const n = 3000
			for i := range n {
				m := task(t, fmt.Sprint("task_", i), schema.StateSuccess, 0)
				if i == n-1 {
					m.ID += "~1"
				}
				b.publish(t, m)
			}
			f := b.feed(t, tt.index)
			awaitFilled(t, f)
			last := b.publish(t, task(t, "task_live", schema.StateFailed, 0))
			if err := f.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := f.Status().Events
			if s.Problem != "" || s.First != 1 || s.Last != last || (s.IndexedFrom <= 1) != tt.complete || s.Indexed > tt.index || s.Indexed < min(n, tt.index*3/4) {
				t.Errorf("%+v", s)
			}
			for i := range n {
				want := []uint64{uint64(i + 1)}
				if want[0] < s.IndexedFrom {
					want = nil
				}
				got, complete := f.Find(fmt.Sprint("task_", i))
				if len(got) > len(want) && len(got) <= len(want)+1 {
					got = slices.DeleteFunc(got, func(s uint64) bool { return !slices.Contains(want, s) }) // one of the same hash
				}
				if !slices.Equal(got, want) || complete != tt.complete {
					t.Fatalf("task %d: %v (%v), want %v", i, got, complete, want)
				}
			}
			if got, _ := f.Find("task_live"); !slices.Equal(got, []uint64{last}) {
				t.Errorf("%v, want %d", got, last)
			}
			if got, complete := f.Find("task_none"); got != nil || complete != tt.complete {
				t.Errorf("%v, %v", got, complete)
			}
		})
	}
}

// Where a broker goes away for a while, the feed says so, keeps what it knows, and goes on.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	b.publish(t, task(t, "task_1", schema.StateSuccess, 0))
	f := b.feed(t, 100)
	awaitFilled(t, f)
	await(t, f, "the newest are shown", func() bool { items, _, _ := f.Latest(0); return len(items) == 1 })
	natstest.Stop(b.server)
	await(t, f, "it says that the broker is away", func() bool {
		s := f.Status()
		return s.Events.Problem != "" && s.Quarantine.Problem != ""
	})
	if got, complete := f.Find("task_1"); len(got) != 1 || complete {
		t.Errorf("%v, %v", got, complete)
	}
	b.server = natstest.Start(t, b.options)
	await(t, f, "the broker is back", func() bool { return f.Status().Events.Problem == "" && f.Status().Quarantine.Problem == "" })
	b.publish(t, task(t, "task_2", schema.StateSuccess, 0))
	b.publish(t, rejected(t, `{`))
	await(t, f, "it goes on", func() bool {
		got, complete := f.Find("task_2")
		items, _, _ := f.Latest(0)
		return len(got) == 1 && complete && len(items) == 3
	})
}

// It starts and stops without a broker too, and begins when that comes.
func TestBrokerComesLater(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	b.publish(t, task(t, "task_1", schema.StateSuccess, 0))
	natstest.Stop(b.server)
	never := b.newFeed(t, 100)
	if err := never.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, never, "it says that the broker is away", func() bool { return never.Status().Events.Problem == errAway.Error() })
	if err := never.CatchUp(t.Context()); err == nil {
		t.Error("it knows everything without a broker")
	}
	stop(t, never)
	f := b.feed(t, 100)
	if got, complete := f.Find("task_1"); got != nil || complete {
		t.Errorf("%v, %v", got, complete)
	}
	b.server = natstest.Start(t, b.options)
	await(t, f, "it begins", func() bool {
		got, complete := f.Find("task_1")
		items, _, _ := f.Latest(0)
		return len(got) == 1 && complete && len(items) == 1 && f.Status().HourCounted
	})
	natstest.Stop(b.server)
	stop(t, f)
	b.server = natstest.Start(t, b.options)
}

// A stream that is deleted is known no more, and one that is made anew is another one.
func TestStreamMadeAnew(t *testing.T) {
	t.Parallel()
	for _, name := range []string{schema.DefaultStream, schema.DefaultQuarantine} {
		for _, quick := range []bool{false, true} {
			t.Run(fmt.Sprint(name, quick), func(t *testing.T) {
				t.Parallel()
				b := newTestBroker(t)
				for i := range 10 {
					b.publish(t, task(t, fmt.Sprint("task_", i), schema.StateSuccess, 0))
					b.publish(t, conflict(t, fmt.Sprint("task_", i)))
				}
				f := b.feed(t, 100)
				awaitFilled(t, f)
				await(t, f, "the newest are shown", func() bool { items, _, _ := f.Latest(0); return len(items) == 20 })
				isEvents := name == schema.DefaultStream
				find := func(id string) []uint64 {
					if got, _ := f.Find(id); isEvents {
						return got
					}
					return f.Quarantined(id)
				}
				if got := find("task_3"); !slices.Equal(got, []uint64{4}) {
					t.Errorf("%v", got)
				}
				if err := b.js.DeleteStream(t.Context(), name); err != nil {
					t.Fatal(err)
				}
				subject := schema.TaskSubjects(schema.DefaultPrefix)
				if !isEvents {
					subject = schema.QuarantineSubjects(schema.DefaultPrefix)
				}
				if !quick {
					await(t, f, "the stream is gone", func() bool {
						s := f.Status()
						if isEvents {
							return !s.Events.Exists && s.Events.Problem != "" && s.Quarantine.Problem == ""
						}
						return !s.Quarantine.Exists && s.Quarantine.Problem == "" && s.Events.Problem == ""
					})
					if got := find("task_3"); got != nil {
						t.Errorf("%v", got)
					}
				}
				b.stream(t, name, subject)
				n := 1
				if quick {
					n = 12 // by its sequences it could be the old one
				}
				for i := range n {
					if id := fmt.Sprint("task_new_", i); isEvents {
						b.publish(t, task(t, id, schema.StateSuccess, 0))
					} else {
						b.publish(t, conflict(t, id))
					}
				}
				await(t, f, "the new stream is known", func() bool {
					items, _, _ := f.Latest(0)
					return slices.Equal(find("task_new_0"), []uint64{1}) && find("task_3") == nil && len(items) >= 11
				})
				if err := f.CatchUp(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A stream that was made anew is another one also if it was empty when that was noticed.
func TestStreamMadeAnewSeenEmpty(t *testing.T) {
	t.Parallel()
	for _, name := range []string{schema.DefaultStream, schema.DefaultQuarantine, schema.DefaultArchive} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newTestBroker(t)
			b.stream(t, schema.DefaultArchive, schema.ArchiveSubjects(schema.DefaultPrefix))
			f := b.newFeed(t, 100)
			f.lookInterval = time.Hour // it looks when it is told to
			var publish func(id string)
			var source *source
			var subject string
			var find func(id string) []uint64
			switch name {
			case schema.DefaultStream:
				source, subject = f.events, schema.TaskSubjects(schema.DefaultPrefix)
				publish = func(id string) { b.publish(t, task(t, id, schema.StateSuccess, 0)) }
				find = func(id string) []uint64 { got, _ := f.Find(id); return got }
			case schema.DefaultQuarantine:
				source, subject = f.quarantine, schema.QuarantineSubjects(schema.DefaultPrefix)
				publish = func(id string) { b.publish(t, conflict(t, id)) }
				find = f.Quarantined
			case schema.DefaultArchive:
				source, subject = f.archive, schema.ArchiveSubjects(schema.DefaultPrefix)
				publish = func(id string) { b.archived(t, id, "nats:A") }
				find = func(id string) []uint64 { got, _ := f.Archived(id); return got }
			}
			status := func() StreamStatus {
				f.mu.RLock()
				defer f.mu.RUnlock()
				return source.report()
			}
			publish("task_old_1")
			publish("task_old_2")
			if err := f.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { stop(t, f) })
			await(t, f, "the old stream is known", func() bool { return slices.Equal(find("task_old_2"), []uint64{2}) && !status().Filling })
			if err := b.js.DeleteStream(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			created := b.stream(t, name, subject).CachedInfo().Created
			source.again <- struct{}{}
			await(t, f, "the new stream is seen", func() bool { return status().Created.Equal(created) })
			for i := range 3 {
				publish(fmt.Sprint("task_new_", i))
			}
			await(t, f, "the new stream is known", func() bool {
				return slices.Equal(find("task_new_0"), []uint64{1}) && find("task_old_2") == nil && status().Indexed == 3
			})
		})
	}
}

// Who wants to know what is stored now is told, although the stream was made a moment ago.
func TestCatchUpWithANewStream(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	b.publish(t, task(t, "task_1", schema.StateSuccess, 0))
	f := b.newFeed(t, 100)
	f.lookInterval = time.Hour
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer stop(t, f)
	awaitFilled(t, f)
	if err := b.js.DeleteStream(t.Context(), schema.DefaultStream); err != nil {
		t.Fatal(err)
	}
	if err := f.CatchUp(t.Context()); err != nil {
		t.Error(err)
	}
	b.stream(t, schema.DefaultStream, schema.TaskSubjects(schema.DefaultPrefix))
	b.publish(t, task(t, "task_2", schema.StateSuccess, 0))
	if err := f.CatchUp(contextWithTimeout(t)); err != nil {
		t.Error(err)
	}
	if got, _ := f.Find("task_2"); !slices.Equal(got, []uint64{1}) {
		t.Errorf("%v", got)
	}
	if got, _ := f.Find("task_1"); got != nil {
		t.Errorf("%v", got)
	}
}

// What is purged is known no more.
func TestPurge(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	for i := range 10 {
		b.publish(t, task(t, fmt.Sprint("task_", i), schema.StateSuccess, 0))
		b.publish(t, conflict(t, fmt.Sprint("task_", i)))
	}
	f := b.feed(t, 16)
	awaitFilled(t, f)
	for _, name := range []string{schema.DefaultStream, schema.DefaultQuarantine} {
		s, err := b.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(7)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, f, "what was purged is gone", func() bool {
		got, complete := f.Find("task_1")
		counts, whole := f.Reasons()
		return got == nil && complete && whole && slices.Equal(counts, []ReasonCount{{schema.ReasonConflict, 4}}) && f.Quarantined("task_5") == nil && len(f.Quarantined("task_7")) == 1
	})
}

// A change is told soon, and many changes are told together.
func TestChanged(t *testing.T) {
	t.Parallel()
	var n notifier
	first := n.next()
	n.notify()
	<-first
	began := time.Now()
	second := n.next()
	for range 1000 {
		n.notify()
	}
	<-second
	if took := time.Since(began); took < notifyInterval/2 {
		t.Errorf("told again after %s", took)
	}
	last := n.next()
	n.stop()
	<-last
	n.notify()
	n.stop()
}
