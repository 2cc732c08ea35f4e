//go:build system

package upgrade

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// The store of each version is opened by today's program, by an earlier one, and by today's
// again.
func TestStores(t *testing.T) {
	t.Parallel()
	for _, v := range Versions {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			dir := b.TempDir()
			b.must(Unpack(archiveOf(v), dir))
			m, err := ReadManifest(dir)
			b.must(err)
			s := &store{bench: b, Manifest: m, dir: dir, settings: Settings()}
			s.open(b.today)
			if b.before.file == "" {
				b.Log("not opened by an earlier version: " + errorOfBefore())
				return
			}
			s.open(b.before)
			s.open(b.today)
		})
	}
}

// With the settings that users have, a store goes from an earlier version to today's and back.
func TestStoresWithDefaults(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"upgrade", "downgrade"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.needsBefore()
			order := []program{b.before, b.today, b.before, b.today}
			if name == "downgrade" {
				order = order[1:]
			}
			dir := b.TempDir()
			m, err := Record(b.ctx, b.Rig, order[0].file, order[0].name, dir)
			b.must(err)
			s := &store{bench: b, Manifest: m, dir: dir}
			for _, p := range order[1:] {
				s.open(p)
			}
		})
	}
}

// A stream that was made with other limits is used as it is, and RELAY_STREAM_POLICY=update
// takes nothing out of it.
func TestStoresWithOtherLimits(t *testing.T) {
	t.Parallel()
	for _, v := range Versions {
		for _, policy := range []string{"create", "update"} {
			t.Run(v.Name+"-"+policy, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				dir := b.TempDir()
				b.must(Unpack(archiveOf(v), dir))
				m, err := ReadManifest(dir)
				b.must(err)
				s := &store{bench: b, Manifest: m, dir: dir, settings: []string{"RELAY_STREAM_POLICY=" + policy}}
				s.open(b.today)
			})
		}
	}
}

func errorOfBefore() string {
	p, _ := programs()
	return p.noBefore.Error()
}

// store is a copy of a store that programs open one after the other.
type store struct {
	*bench
	*Manifest
	dir      string
	settings []string
	opened   int
}

// open lets a program open the store, holds it to what has to be in it, and adds to that.
func (s *store) open(p program) {
	s.Helper()
	s.opened++
	limits := s.limits()
	relay, err := s.StartOtherRelay(s.ctx, p.file, slices.Concat(s.settings, expecting(), []string{"RELAY_DATA_DIR=" + filepath.Join(s.dir, StoreFolder)})...)
	s.must(err)
	where := fmt.Sprintf("opened by %s, as program %d", p.name, s.opened)
	s.must(withBroker(relay, func(js jetstream.JetStream) error {
		s.sameStreams(js, where)
		s.repeat(relay, p, where)
		s.sameStreams(js, where+", after repeats")
		s.readOn(js, where)
		s.add(relay, p, where)
		if !p.early {
			s.commands(relay, where)
		}
		// What has been added has to be there for the next one.
		s.Streams, err = ReadStreams(s.ctx, js)
		return err
	}))
	s.stop(relay)
	after := s.limits()
	for name, was := range limits {
		if is := after[name]; is != was {
			s.Errorf("%s: the limits of %s have become %+v, and were %+v", where, name, is, was)
		}
	}
	if s.Failed() {
		s.FailNow()
	}
}

// sameStreams checks that each stream has what it had, and nothing else.
func (s *store) sameStreams(js jetstream.JetStream, where string) {
	s.Helper()
	got, err := ReadStreams(s.ctx, js)
	s.must(err)
	for name, want := range s.Streams {
		for _, m := range want {
			if !slices.ContainsFunc(got[name], m.equal) {
				s.Errorf("%s: %s no longer has, or has otherwise: %s", where, name, m)
			}
		}
		for _, m := range got[name] {
			if !slices.ContainsFunc(want, m.equal) {
				s.Errorf("%s: %s has, and did not have: %s", where, name, m)
			}
		}
	}
}

func (m Message) equal(o Message) bool {
	return m.Sequence == o.Sequence && m.Subject == o.Subject && m.Time.Equal(o.Time) && bytes.Equal(m.Data, o.Data) && maps.EqualFunc(m.Header, o.Header, slices.Equal)
}

// String is for a test's log.
func (m Message) String() string {
	return fmt.Sprintf("%d %s %v %s %.80q", m.Sequence, m.Subject, m.Header, m.Time, m.Data)
}

// mostTold is how many webhooks are told of that go wrong.
const mostTold = 3

// repeat delivers everything once more, which has to be answered as before.
func (s *store) repeat(relay *rig.Relay, p program, where string) {
	s.Helper()
	wrong := 0
	for _, w := range s.Webhooks {
		if p.early && s.cannotGoBack(w) {
			continue
		}
		again, duplicate, err := w.Post(s.ctx, relay.Sender)
		s.must(err)
		if duplicate != (w.Status == 200) || again.Status != w.Status || again.Stream != w.Stream || again.Sequence != w.Sequence || again.Conflict != w.Conflict {
			if wrong++; wrong > mostTold {
				continue
			}
			s.Errorf("%s: a webhook is answered with %d, %s %d, duplicate %t, conflict %t, and was with %d, %s %d, conflict %t: %.80s",
				where, again.Status, again.Stream, again.Sequence, duplicate, again.Conflict, w.Status, w.Stream, w.Sequence, w.Conflict, w.Body)
		}
	}
	if wrong > mostTold {
		s.Errorf("%s: so are %d others", where, wrong-mostTold)
	}
}

// cannotGoBack reports whether a program of before v1.0.0 would take a webhook for a new one:
// one that was refused for its headers, and one whose event had been deleted and is there
// anew, by another message id than the task's.
func (s *store) cannotGoBack(w Webhook) bool {
	if w.Status == 415 {
		return true
	}
	i := slices.IndexFunc(s.Streams[w.Stream], func(m Message) bool { return m.Sequence == w.Sequence })
	return w.Stream == eventStream && strings.Contains(s.Streams[w.Stream][i].Header[jetstream.MsgIDHeader][0], "~")
}

// readOn checks that the consumer gets what it has not acknowledged, and acknowledges some of it.
func (s *store) readOn(js jetstream.JetStream, where string) {
	s.Helper()
	consumer, err := js.Consumer(s.ctx, s.Consumer.Stream, s.Consumer.Name)
	s.must(err)
	left := make(map[uint64]bool)
	for _, m := range s.Streams[s.Consumer.Stream] {
		if !slices.Contains(s.Consumer.Acknowledged, m.Sequence) {
			left[m.Sequence] = true
		}
	}
	acknowledged := 0
	for got := make(map[uint64]bool); len(got) < len(left); {
		// What is not acknowledged may come twice on a machine that is slow.
		done, pending, err := readSome(s.ctx, consumer, 1, func(int) bool { return acknowledged < 3 })
		if err != nil {
			s.Fatalf("%s: %d of %d events came: %s", where, len(got), len(left), err)
		}
		for _, seq := range slices.Concat(done, pending) {
			if !left[seq] {
				s.Errorf("%s: event %d comes to the consumer, and should not", where, seq)
			}
			got[seq] = true
		}
		acknowledged += len(done)
		s.Consumer.Acknowledged = append(s.Consumer.Acknowledged, done...)
	}
	info, err := consumer.Info(s.ctx)
	s.must(err)
	if info.NumPending > 0 {
		s.Errorf("%s: %d events more wait for the consumer", where, info.NumPending)
	}
}

// add delivers webhooks that are new to the store.
func (s *store) add(relay *rig.Relay, p program, where string) {
	s.Helper()
	prefix := fmt.Sprintf("program_%d_", s.opened)
	for _, w := range slices.Concat(tasks(prefix), []Webhook{contradiction(prefix)}, refused(prefix)) {
		answered, duplicate, err := w.Post(s.ctx, relay.Sender)
		s.must(err)
		if answered.Stream == "" && p.early {
			continue // it keeps less
		}
		if answered.Stream == "" || duplicate != answered.Conflict {
			s.Errorf("%s: a new webhook got %+v, duplicate %t", where, answered, duplicate)
		}
		s.Webhooks = append(s.Webhooks, answered)
	}
}
