package catalog

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// told is the stream in which archives tell what they have stored.
type told struct {
	js  jetstream.JetStream
	cfg config.Config
}

func newTold(t testing.TB) *told {
	t.Helper()
	cfg, err := config.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &told{js: natstest.JetStream(t, natstest.Start(t, natstest.Options(t)).ClientURL()), cfg: cfg}
	_, err = s.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: schema.DefaultArchive, Subjects: []string{schema.ArchiveSubjects("apixo")}, Duplicates: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// message is what an archive tells of a task.
func message(t testing.TB, to string, task schema.ArchivedTask) *nats.Msg {
	t.Helper()
	msg, err := event.Encoder{Source: "https://api.apixo.ai", Prefix: "apixo"}.Archived(task, to, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: msg.Subject, Data: msg.Data, Header: nats.Header{jetstream.MsgIDHeader: {msg.ID}}}
	for name, values := range msg.Header {
		m.Header[name] = values
	}
	return m
}

func (s *told) publish(t testing.TB, messages ...*nats.Msg) {
	t.Helper()
	for _, m := range messages {
		if _, err := s.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}

func file(location, digest string) schema.ArchivedFile {
	return schema.ArchivedFile{URL: "https://cdn.apixo.ai/" + location[strings.LastIndex(location, "-")+1:], Location: location, Bytes: 7, MediaType: "image/png", SHA256: digest}
}

// What several archives tell of a task is one: each file once, with where it is, the newest first,
// and failures only of what none of them has. What is about something else is left out, with why.
func TestMerge(t *testing.T) {
	t.Parallel()
	s := newTold(t)
	failure := func(name string) schema.ArchiveFailure {
		return schema.ArchiveFailure{URL: "https://cdn.apixo.ai/" + name, Reason: schema.ReasonGone, Detail: "gone"}
	}
	a := "nats:A/task_1/"
	again := message(t, "nats:A", schema.ArchivedTask{ID: "task_1", Files: []schema.ArchivedFile{file(a+"01-a", "old")}})
	s.publish(t,
		again,
		message(t, "nats:B", schema.ArchivedTask{ID: "task_1", Files: []schema.ArchivedFile{file("nats:B/task_1/02-b", "b"), file("nats:B/task_1/01-a", "a")}, Failures: []schema.ArchiveFailure{failure("c"), failure("d")}}),
		message(t, "nats:A", schema.ArchivedTask{ID: "task_12", Files: []schema.ArchivedFile{file("nats:A/task_12/01-a", "a")}}),
		message(t, "nats:C", schema.ArchivedTask{ID: "task_1", Files: []schema.ArchivedFile{file("nats:C/task_2/01-a", "a"), file("nats:C/task_1/03-c", "c")}}),
	)
	other := message(t, "nats:D", schema.ArchivedTask{ID: "task_2"})
	other.Header.Set(jetstream.MsgIDHeader, event.ArchiveID("task_1", "nats:D", false))
	noEvent := &nats.Msg{Subject: "apixo.archive.stored", Data: []byte("{"), Header: nats.Header{jetstream.MsgIDHeader: {event.ArchiveID("task_1", "nats:E", false)}}}
	s.publish(t, other, noEvent)
	// Told again, after the time in which the broker would notice.
	stream, err := s.js.Stream(t.Context(), schema.DefaultArchive)
	if err != nil {
		t.Fatal(err)
	}
	for stream.CachedInfo().State.LastSeq < 7 {
		s.publish(t, message(t, "nats:A", schema.ArchivedTask{ID: "task_1", Files: []schema.ArchivedFile{file(a+"01-a", "new")}}))
		if _, err := stream.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	found, err := Find(t.Context(), s.js.Conn(), s.cfg, Options{}, "task_1", "task_3")
	if err != nil || len(found) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	task := found["task_1"]
	var targets, files, failures []string
	for _, r := range task.Reports {
		targets = append(targets, fmt.Sprint(r.Target, r.Failed))
	}
	for _, f := range task.Files {
		for _, c := range f.Copies {
			files = append(files, fmt.Sprint(f.Number, f.Name, " ", c.Spec, " ", c.Key, " ", c.SHA256))
		}
	}
	for _, f := range task.Failures {
		failures = append(failures, f.URL+" "+f.Target)
	}
	if want := []string{"nats:Afalse", "nats:Cfalse", "nats:Btrue"}; !slices.Equal(targets, want) {
		t.Errorf("reports %q, want %q", targets, want)
	}
	if want := []string{"1a nats:A task_1/01-a new", "1a nats:B task_1/01-a a", "2b nats:B task_1/02-b b", "3c nats:C task_1/03-c c"}; !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	if want := []string{"https://cdn.apixo.ai/d nats:B"}; !slices.Equal(failures, want) {
		t.Errorf("failures %q, want %q", failures, want)
	}
	refused := strings.Join(task.Refused, "\n")
	if len(task.Refused) != 3 || !strings.Contains(refused, `its data are about "task_2"`) || !strings.Contains(refused, "nats:C/task_2/01-a") {
		t.Errorf("refused: %s", refused)
	}
}

// The search ends where of each task an archive has all files, unless all of the stream is asked
// for, and tells how far it is.
func TestFindEnds(t *testing.T) {
	t.Parallel()
	s := newTold(t)
	s.publish(t,
		message(t, "nats:OLD", schema.ArchivedTask{ID: "task_1"}),
		message(t, "nats:OLD", schema.ArchivedTask{ID: "failed", Failures: []schema.ArchiveFailure{{Reason: schema.ReasonTooMany}}}),
	)
	const filler = firstWindow + 100
	for i := range filler {
		if _, err := s.js.PublishMsgAsync(message(t, "nats:NEW", schema.ArchivedTask{ID: fmt.Sprint("filler_", i)}), jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			<-s.js.PublishAsyncComplete()
		}
	}
	<-s.js.PublishAsyncComplete()
	s.publish(t, message(t, "nats:NEW", schema.ArchivedTask{ID: "task_1"}), message(t, "nats:NEW", schema.ArchivedTask{ID: "failed", Failures: []schema.ArchiveFailure{{Reason: schema.ReasonTooMany}}}))
	for _, test := range []struct {
		all     bool
		id      string
		reports int
		read    uint64
	}{
		{false, "task_1", 1, firstWindow},
		{true, "task_1", 2, filler + 4},
		{false, "failed", 2, filler + 4},
		{false, "unknown", 0, filler + 4},
	} {
		var last [2]uint64
		found, err := Find(t.Context(), s.js.Conn(), s.cfg, Options{All: test.all, Progress: func(read, total uint64) { last = [2]uint64{read, total} }}, test.id)
		if err != nil || len(found[test.id].Reports) != test.reports || last != [2]uint64{test.read, filler + 4} {
			t.Errorf("%+v: %+v, %v, after %d messages", test, found[test.id].Reports, err, last)
		}
	}
	if err := s.js.DeleteStream(t.Context(), schema.DefaultArchive); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(t.Context(), s.js.Conn(), s.cfg, Options{}, "task_1"); !errors.Is(err, ErrNoArchive) {
		t.Errorf("without the stream: %v", err)
	}
	if _, err := Read(t.Context(), s.js.Conn(), s.cfg, "task_1", []uint64{1}); !errors.Is(err, ErrNoArchive) {
		t.Errorf("to read without the stream: %v", err)
	}
}

// Only what is the file to its last byte is taken for it.
func TestCheck(t *testing.T) {
	t.Parallel()
	const digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	for _, test := range []struct {
		content string
		bytes   int64
		sha256  string
		err     error
	}{
		{"hello", 5, digest, nil},
		{"hello", 5, strings.ToUpper(digest), ErrDiffers},
		{"hallo", 5, digest, ErrDiffers},
		{"hell", 5, digest, ErrDiffers},
		{"hello", 6, digest, ErrDiffers},
		{"hello", 4, digest, ErrDiffers},
		{"", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", nil},
	} {
		c := Copy{ArchivedFile: schema.ArchivedFile{Bytes: test.bytes, SHA256: test.sha256}}
		if _, err := io.ReadAll(c.Check(strings.NewReader(test.content))); err != test.err {
			t.Errorf("%q of %d bytes: %v", test.content, test.bytes, err)
		}
	}
	endless := Copy{ArchivedFile: schema.ArchivedFile{Bytes: 1000, SHA256: digest}}
	if n, err := io.Copy(io.Discard, endless.Check(zeros{})); err != ErrDiffers || n > 100_000 {
		t.Errorf("of what has no end, %d bytes are read: %v", n, err)
	}
}

// zeros has no end.
type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) { return len(p), nil }
