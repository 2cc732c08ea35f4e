package replay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

func subject(name string) replay.NATSOptions {
	return replay.NATSOptions{
		Subject: name, Prefix: "apixo", Own: []string{"APIXO", "APIXO_QUARANTINE"}, Concurrency: 64,
		Backoff: func() backoff.BackOff { return backoff.NewConstantBackOff(20 * time.Millisecond) },
	}
}

func natsTarget(t testing.TB, s *store, o replay.NATSOptions) (replay.Target, string) {
	t.Helper()
	target, notice, err := replay.NATS(t.Context(), s.conn, o)
	if err != nil {
		t.Fatal(err)
	}
	return target, notice
}

// contents are the messages of a stream.
func (s *store) contents(t testing.TB, stream string) (messages []streamreader.Message) {
	t.Helper()
	err := streamreader.Read(t.Context(), s.conn, streamreader.Selection{Stream: stream, FromSeq: 1}, nil, func(m streamreader.Message) error {
		messages = append(messages, m)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

// wantInOrder holds the events of a stream against those with sequences from 1 to n.
func (s *store) wantInOrder(t testing.TB, stream string, n int) {
	t.Helper()
	messages := s.contents(t, stream)
	if len(messages) != n {
		t.Errorf("%s holds %d messages, want %d", stream, len(messages), n)
	}
	for i, m := range messages {
		if m.Event.ID != id(i+1) {
			t.Fatalf("%s has %s as no. %d", stream, m.Event.ID, i+1)
		}
	}
}

// An event that was stored anew is to another stream the one that it may have.
func TestNATSKnowsWhatWasStoredAnew(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.stream(t, jetstream.StreamConfig{Name: "REPLAYED", Subjects: []string{"replayed.>"}})
	anew := func(subject, id string) {
		t.Helper()
		msg := nats.NewMsg(subject)
		for name, value := range map[string]string{"ce-id": "task", "ce-specversion": "1.0", "ce-source": "s", "ce-type": "t"} {
			msg.Header[name] = []string{value}
		}
		if _, err := s.js.PublishMsg(t.Context(), msg, jetstream.WithMsgID(id)); err != nil {
			t.Fatal(err)
		}
	}
	anew("replayed.tasks", "task_1")
	anew("apixo.task.success", "task_1~1")
	anew("apixo.task.success", "task_2~12")
	to, _ := natsTarget(t, s, subject("replayed.tasks"))
	run(t.Context(), t, s, to, all(1))
	is := s.contents(t, "REPLAYED")
	if len(is) != 2 || is[1].Header.Get(jetstream.MsgIDHeader) != "task_2" {
		t.Errorf("the other stream holds %v", is)
	}
}

// A message comes to another stream as it is, but for the headers that steer the
// broker, and once, however often it is replayed.
func TestNATSWithStream(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 5)
	s.tasks(t, event.Binary, 6, 5)
	target := s.stream(t, jetstream.StreamConfig{Name: "REPLAYED", Subjects: []string{"replayed.>"}, AllowRollup: true})
	poisoned := nats.NewMsg("apixo.task.success")
	for name, value := range map[string]string{
		"Nats-Msg-Id": "poisoned", "ce-id": id(11), "ce-specversion": "1.0", "ce-source": "s", "ce-type": "t", "X-Own": "x",
		schema.HeaderRecovered: schema.RecoveredBackfill,
	} {
		poisoned.Header[name] = []string{value}
	}
	if _, err := s.js.PublishMsg(t.Context(), poisoned, jetstream.WithExpectLastSequence(10), jetstream.WithExpectStream("APIXO")); err != nil {
		t.Fatal(err)
	}
	to, notice := natsTarget(t, s, subject("replayed.tasks"))
	if notice != "" {
		t.Errorf("notice %q", notice)
	}
	wantCounts(t, run(t.Context(), t, s, to, all(1)), 11, 0, 0, 0, 12)
	s.wantInOrder(t, "REPLAYED", 11)
	was, is := s.contents(t, "APIXO"), s.contents(t, "REPLAYED")
	for i := range 10 {
		if !slices.Equal(was[i].Data, is[i].Data) || fmt.Sprint(was[i].Header) != fmt.Sprint(is[i].Header) || is[i].Subject != "replayed.tasks" {
			t.Errorf("%v %s became %v %s", was[i].Header, was[i].Data, is[i].Header, is[i].Data)
		}
	}
	if h := is[10].Header; len(h) != 7 || h.Get("Nats-Msg-Id") != "poisoned" || h.Get("X-Own") != "x" || h.Get("Apixo-Recovered") != "backfill" {
		t.Errorf("the headers are %v", h)
	}

	// Again: it is all there. And once more after some of it was not.
	to, _ = natsTarget(t, s, subject("replayed.tasks"))
	summary := run(t.Context(), t, s, to, all(5))
	wantCounts(t, summary, 0, 0, 7, 0, 12)
	if summary.Duplicates != 7 || len(summary.Skips) != 0 {
		t.Errorf("%+v", summary)
	}
	if err := target.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}

	// A dry run leaves nothing.
	to, _ = natsTarget(t, s, subject("replayed.tasks"))
	o := all(1)
	o.DryRun = true
	wantCounts(t, run(t.Context(), t, s, to, o), 11, 0, 0, 0, 1)
	if n := len(s.contents(t, "REPLAYED")); n != 0 {
		t.Errorf("a dry run has left %d messages", n)
	}
}

// Nats-Rollup in a stored message must not empty the target.
func TestNATSKeepsTheTarget(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.stream(t, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other.>"}, AllowRollup: true})
	s.stream(t, jetstream.StreamConfig{Name: "TARGET", Subjects: []string{"target.>"}, AllowRollup: true})
	event := `{"specversion":"1.0","id":"%d","source":"s","type":"t"}`
	for i := range 3 {
		header := map[string][]string{"Content-Type": {"application/cloudevents+json"}, "Nats-Rollup": {"all"}}
		if i == 0 {
			delete(header, "Nats-Rollup")
		}
		if _, err := s.js.PublishMsg(t.Context(), message(fmt.Sprintf("other.%d", i), header, fmt.Sprintf(event, i))); err != nil {
			t.Fatal(err)
		}
		to, _ := natsTarget(t, s, subject("target.x"))
		o := all(uint64(i + 1))
		o.Selection.Stream, o.Selection.Subjects = "OTHER", []string{"other.>"}
		run(t.Context(), t, s, to, o)
	}
	if n := len(s.contents(t, "TARGET")); n != 3 {
		t.Errorf("the target holds %d messages of 3", n)
	}
}

// Without a stream those get the events who listen, and it is said so.
func TestNATSWithoutStream(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const n = 1000
	s.tasks(t, event.Structured, 1, n)
	sub, err := s.conn.SubscribeSync("nobody.stores")
	if err != nil {
		t.Fatal(err)
	}
	to, notice := natsTarget(t, s, subject("nobody.stores"))
	if !strings.Contains(notice, "no stream takes the subject nobody.stores") {
		t.Errorf("notice %q", notice)
	}
	wantCounts(t, run(t.Context(), t, s, to, all(1)), n, 0, 0, 0, n+1)
	for i := range n {
		msg, err := sub.NextMsg(10 * time.Second)
		if err != nil || msg.Header.Get("Nats-Msg-Id") != id(i+1) {
			t.Fatalf("no. %d is %v, %v", i+1, msg, err)
		}
	}
	s.stream(t, jetstream.StreamConfig{Name: "SILENT", Subjects: []string{"silent"}, NoAck: true})
	to, notice = natsTarget(t, s, subject("silent"))
	if !strings.Contains(notice, "SILENT acknowledges nothing") {
		t.Errorf("notice %q", notice)
	}
	wantCounts(t, run(t.Context(), t, s, to, all(1)), n, 0, 0, 0, n+1)
}

// A broker that restarts in the middle loses nothing, doubles nothing and changes
// no order. Without acknowledgements the replay goes on, too; what the broker had
// taken and not yet stored is gone then, and nobody can know.
func TestNATSBrokerRestarts(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"stored", "silent"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			const n = 3000
			s.tasks(t, event.Structured, 1, n)
			s.stream(t, jetstream.StreamConfig{Name: "TARGET", Subjects: []string{"target"}, NoAck: name == "silent"})
			o := subject("target")
			o.AckTimeout = time.Second
			to, _ := natsTarget(t, s, o)
			ro := all(1)
			ro.Concurrency = 64
			ro.OnProgress = atRead(500, func() {
				s.restart(t)
			})
			summary := run(t.Context(), t, s, to, ro)
			// What was stored without having been acknowledged is a duplicate then.
			if summary.Delivered+summary.Duplicates != n || summary.ResumeSequence != n+1 {
				t.Errorf("%+v", summary)
			}
			if name == "stored" {
				s.wantInOrder(t, "TARGET", n)
			}
		})
	}
}

// backoffFunc is called before each retry.
type backoffFunc func() time.Duration

func (f backoffFunc) NextBackOff() time.Duration { return f() }
func (backoffFunc) Reset()                       {}

// What failed for a while is published again before anything that comes after it.
func TestNATSKeepsTheOrder(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const n = 2000
	s.tasks(t, event.Structured, 1, n)
	target := jetstream.StreamConfig{Name: "TARGET", Subjects: []string{"target"}}
	s.stream(t, target)
	o := subject("target")
	o.Backoff = func() backoff.BackOff {
		return backoffFunc(func() time.Duration {
			s.stream(t, target) // which is there again after the first retry
			return time.Millisecond
		})
	}
	to, _ := natsTarget(t, s, o)
	ro := all(1)
	ro.Concurrency = 64
	ro.OnProgress = atRead(100, func() {
		if err := s.js.DeleteStream(t.Context(), "TARGET"); err != nil {
			t.Error(err)
		}
	})
	wantCounts(t, run(t.Context(), t, s, to, ro), n, 0, 0, 0, n+1)
	messages := s.contents(t, "TARGET")
	for i, m := range messages {
		if want := id(n - len(messages) + i + 1); m.Event.ID != want {
			t.Fatalf("%s is where %s should be", m.Event.ID, want)
		}
	}
	if len(messages) < n-100 {
		t.Errorf("%d messages are there", len(messages))
	}
}

// A broker that takes nothing any more ends the replay, and nothing is lost.
func TestNATSBrokerTakesNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 200)
	s.stream(t, jetstream.StreamConfig{Name: "TARGET", Subjects: []string{"target"}})
	o := subject("target")
	o.RetryTimeout, o.AckTimeout = 200*time.Millisecond, 100*time.Millisecond
	to, _ := natsTarget(t, s, o)
	ro := all(1)
	ro.Concurrency = 64
	ro.OnProgress = atRead(100, func() {
		if err := s.js.DeleteStream(t.Context(), "TARGET"); err != nil {
			t.Error(err)
		}
	})
	summary, err := replay.Run(t.Context(), s.conn, to, ro)
	if err == nil || !strings.Contains(err.Error(), "has not taken an event to target for 200ms") {
		t.Errorf("error %v", err)
	}
	// Where an acknowledgement took longer than AckTimeout, the second try found the event
	// in the stream.
	if summary.Failed != 0 || summary.Unfinished == 0 || summary.ResumeSequence != uint64(summary.Delivered+summary.Skipped)+1 {
		t.Errorf("%+v", summary)
	}
}

// A full stream refuses at once.
func TestNATSRefusals(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 50)
	s.stream(t, jetstream.StreamConfig{Name: "TARGET", Subjects: []string{"target"}, MaxMsgs: 10, Discard: jetstream.DiscardNew})
	to, _ := natsTarget(t, s, subject("target"))
	o := all(1)
	o.MaxFailures = 20
	summary, err := replay.Run(t.Context(), s.conn, to, o)
	if !errors.Is(err, replay.ErrTooManyFailures) || summary.Delivered != 10 || summary.ResumeSequence != 11 || !strings.Contains(summary.Failures[0].Reason, "maximum messages") {
		t.Errorf("%v, %+v", err, summary)
	}
}

// What is under way when the signal comes is waited for.
func TestNATSInterrupted(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 500)
	s.stream(t, jetstream.StreamConfig{Name: "TARGET", Subjects: []string{"target"}})
	to, _ := natsTarget(t, s, subject("target"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := all(1)
	o.OnProgress = func(p replay.Progress) {
		if p.Read == 100 {
			cancel()
		}
	}
	summary, err := replay.Run(ctx, s.conn, to, o)
	if !errors.Is(err, replay.ErrStopped) {
		t.Error(err)
	}
	wantCounts(t, summary, 100, 0, 0, 0, 101)
	s.wantInOrder(t, "TARGET", 100)
}

// What a user may not publish is said, with the subject.
func TestNATSDenied(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.Users = []*server.User{
		{Username: "admin", Password: "p"},
		{Username: "u", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"denied.>"}}}},
	}
	natsServer := natstest.Start(t, options)
	admin := natstest.JetStream(t, natsServer.ClientURL(), nats.UserInfo("admin", "p"))
	s := &store{js: admin, conn: admin.Conn()}
	s.stream(t, jetstream.StreamConfig{Name: "APIXO", Subjects: []string{"apixo.task.>"}})
	s.stream(t, jetstream.StreamConfig{Name: "DENIED", Subjects: []string{"denied.stored"}})
	s.tasks(t, event.Structured, 1, 50)
	s.js = natstest.JetStream(t, natsServer.ClientURL(), nats.UserInfo("u", "p"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	s.conn = s.js.Conn()
	for _, name := range []string{"denied.stored", "denied.plain"} {
		o := subject(name)
		o.AckTimeout = time.Hour // nothing is waited for that will not come
		to, _ := natsTarget(t, s, o)
		summary, err := replay.Run(t.Context(), s.conn, to, all(1))
		if err == nil || !strings.Contains(err.Error(), "does not let this user publish to "+name) || summary.ResumeSequence != 1 || summary.Delivered != 0 {
			t.Errorf("%v, %+v", err, summary)
		}
	}
}

// No way leads into the relay's own streams.
func TestNATSRefusesTheRelaysSubjects(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.stream(t, jetstream.StreamConfig{Name: "OWN", Subjects: []string{"anything.*"}, Sources: []*jetstream.StreamSource{{Name: "SOURCE"}}})
	s.stream(t, jetstream.StreamConfig{Name: "SOURCE", Subjects: []string{"source.>"}})
	s.stream(t, jetstream.StreamConfig{Name: "LOUD", Subjects: []string{"loud"}, RePublish: &jetstream.RePublish{Source: "loud", Destination: "apixo.task.success"}})
	s.stream(t, jetstream.StreamConfig{Name: "QUIET", Subjects: []string{"quiet"}, RePublish: &jetstream.RePublish{Source: "quiet", Destination: "elsewhere"}})
	for name, says := range map[string]string{
		"":                          "a subject is missing",
		"a.*":                       "wildcard",
		"a.>":                       "wildcard",
		"a b":                       "no NATS subject",
		".a":                        "no NATS subject",
		"a..b":                      "no NATS subject",
		"a.\n":                      "no NATS subject",
		"$JS.API.STREAM.PURGE.OWN":  "broker's own",
		"_INBOX.x":                  "broker's own",
		"apixo.task.success":        "one of the relay's own subjects",
		"apixo.task.other.thing":    "one of the relay's own subjects",
		"apixo.quarantine.rejected": "one of the relay's own subjects",
		"anything.at_all":           "the relay's own stream OWN",
		"source.x":                  "stream SOURCE, from which the relay's own stream OWN",
		"loud":                      "republishes",
		"quiet":                     "",
		"apixo.replayed":            "",
		"free":                      "",
	} {
		o := subject(name)
		o.Own = []string{"OWN", "APIXO_QUARANTINE"}
		target, _, err := replay.NATS(t.Context(), s.conn, o)
		_, refused := errors.AsType[*replay.SubjectError](err)
		switch {
		case err == nil:
			run(t.Context(), t, s, target, all(1)) // which ends it
			if says != "" {
				t.Errorf("%q is taken", name)
			}
		case says == "" || !refused || !strings.Contains(err.Error(), says):
			t.Errorf("%q: %v", name, err)
		case strings.Contains(says, "own s") && !strings.Contains(err.Error(), "backfill"):
			t.Errorf("%q: %v, and not what to do instead", name, err)
		}
	}
}
