package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/catalog"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/ops/tasklist"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// archives is a broker with the stream in which archives tell what they have stored.
type archives struct {
	js  jetstream.JetStream
	cfg config.Config
}

func newArchives(t *testing.T) *archives {
	t.Helper()
	cfg, err := config.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &archives{js: natstest.JetStream(t, natstest.Start(t, natstest.Options(t)).ClientURL()), cfg: cfg}
	if _, err := a.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: schema.DefaultArchive, Subjects: []string{schema.ArchiveSubjects("apixo")}}); err != nil {
		t.Fatal(err)
	}
	return a
}

// put stores a file of a task in a target, and returns what an event tells of it.
func (a *archives) put(t *testing.T, to, id, name, content string) schema.ArchivedFile {
	t.Helper()
	spec, err := target.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := spec.Open(t.Context(), target.Options{JetStream: a.js, LargestFile: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	o, err := opened.Put(t.Context(), id+"/"+name, strings.NewReader(content), target.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return schema.ArchivedFile{URL: "https://cdn.apixo.ai/" + name, Location: opened.Location(id + "/" + name), Bytes: o.Bytes, MediaType: "text/plain", SHA256: o.SHA256}
}

// tell stores the event of an archived task.
func (a *archives) tell(t *testing.T, to string, task schema.ArchivedTask) {
	t.Helper()
	msg, err := event.Encoder{Source: "https://api.apixo.ai", Prefix: "apixo"}.Archived(task, to, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: msg.Subject, Data: msg.Data, Header: nats.Header{jetstream.MsgIDHeader: {msg.ID}}}
	for name, values := range msg.Header {
		m.Header[name] = values
	}
	if _, err := a.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func (a *archives) task(t *testing.T, to, id string, files ...schema.ArchivedFile) {
	t.Helper()
	a.tell(t, to, schema.ArchivedTask{ID: id, Files: files})
}

// fetch fetches tasks into a folder, and returns a line for each result, sorted.
func (a *archives) fetch(t *testing.T, dir string, ids ...string) (lines []string, s Summary) {
	t.Helper()
	tasks, err := tasklist.FromArguments(ids, tasklist.AnyModel)
	if err != nil {
		t.Fatal(err)
	}
	s, err = Run(t.Context(), a.js.Conn(), a.cfg, Options{Tasks: tasks, Dir: dir, Log: slog.New(slog.DiscardHandler), OnResult: func(r Result, _ *Summary) error {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %d %s %s", r.TaskID, r.Number, r.Result, r.Error)))
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines, s
}

// wants compares a line for each result with the beginnings of what is wanted, and then says what
// is below the folder.
func wants(t *testing.T, lines []string, want ...string) {
	t.Helper()
	if len(lines) != len(want) {
		t.Errorf("%d results, want %d:\n%s", len(lines), len(want), strings.Join(lines, "\n"))
		return
	}
	for i, line := range lines {
		begin, middle, _ := strings.Cut(want[i], "…")
		if !strings.HasPrefix(line, begin) || !strings.Contains(line, middle) {
			t.Errorf("%q, want %q", line, want[i])
		}
	}
}

func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			relative, _ := filepath.Rel(dir, name)
			names = append(names, relative)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

// What is not what was archived is not left in the folder, and another target has it; also one that
// was told of long before.
func TestOtherTargets(t *testing.T) {
	t.Parallel()
	a := newArchives(t)
	dir := t.TempDir()
	old := "file://" + dir
	for _, id := range []string{"wrong", "gone", "nowhere"} {
		if id != "nowhere" {
			a.task(t, old, id, a.put(t, old, id, "01-a.txt", "content of "+id))
		}
	}
	// Of so many that they are looked at only if need be.
	for i := range 6000 {
		m := &nats.Msg{Subject: schema.ArchivedSubject("apixo"), Header: nats.Header{jetstream.MsgIDHeader: {event.ArchiveID(fmt.Sprint("filler_", i), "nats:NEW", false)}}}
		if _, err := a.js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			<-a.js.PublishAsyncComplete()
		}
	}
	<-a.js.PublishAsyncComplete()
	for _, id := range []string{"wrong", "gone", "nowhere"} {
		lost := a.put(t, "nats:NEW", id, "01-a.txt", "content of "+id)
		if id == "wrong" {
			lost.SHA256 = strings.Repeat("0", 64)
		} else {
			lost.Location = strings.Replace(lost.Location, "01-a", "01-lost", 1)
		}
		a.task(t, "nats:NEW", id, lost)
	}
	out := t.TempDir()
	lines, s := a.fetch(t, out, "wrong", "gone", "nowhere")
	wants(t, lines, "gone 1 fetched", "nowhere 1 failed nats:NEW/nowhere/01-lost.txt: it is not there any more", "wrong 1 fetched")
	if got := filesIn(t, out); !slices.Equal(got, []string{"gone/01-a.txt", "wrong/01-a.txt"}) {
		t.Errorf("the folder has %q", got)
	}
	if s.Missing() != 1 || s.Bytes != int64(len("content of gone")+len("content of wrong")) {
		t.Errorf("the summary is %+v", s)
	}
	if got, err := os.ReadFile(filepath.Join(out, "wrong", "01-a.txt")); string(got) != "content of wrong" {
		t.Errorf("the file has %q, %v", got, err)
	}
	lines, _ = a.fetch(t, out, "wrong")
	wants(t, lines, "wrong 1 kept") // whichever target was told of
}

// Locations are not trusted, nor what is in the folder: nothing outside of either is read or
// written.
func TestNothingOutside(t *testing.T) {
	t.Parallel()
	a := newArchives(t)
	dir, outside := t.TempDir(), t.TempDir()
	to := "file://" + dir
	file := a.put(t, to, "task_1", "01-a.txt", "content")
	secret := file
	if err := os.WriteFile(filepath.Join(dir, "01-secret"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, location := range []string{to + "/01-secret", to + "/task_1/../01-secret", to + "/task_1/01-a.txt", "file:///etc/passwd", "https://cdn.apixo.ai/hostile/01-a.txt", ""} {
		secret.Location = location
		a.task(t, to, fmt.Sprint("hostile_", i), secret)
	}
	other := schema.ArchivedTask{ID: "task_1", Files: []schema.ArchivedFile{file}}
	a.task(t, to, "task_1", file)
	a.task(t, to, "linked", a.put(t, to, "linked", "01-a.txt", "content"))
	a.tell(t, "file:///elsewhere", other)
	out := t.TempDir()
	for _, link := range [][2]string{{outside, "linked"}} {
		if err := os.Symlink(link[0], filepath.Join(out, link[1])); err != nil {
			t.Fatal(err)
		}
	}
	lines, _ := a.fetch(t, out, "hostile_0", "hostile_1", "hostile_2", "hostile_3", "hostile_4", "hostile_5", "linked", "task_1")
	const refused = "is not that of a file of the task"
	wants(t, lines, "hostile_0 0 failed …"+refused, "hostile_1 0 failed …"+refused, "hostile_2 0 failed …"+refused, "hostile_3 0 failed …"+refused, "hostile_4 0 failed …", "hostile_5 0 failed …"+refused, "linked 1 failed …escapes", "task_1 1 fetched")
	if got := append(filesIn(t, outside), filesIn(t, filepath.Join(out, "hostile_0"))...); len(got) > 0 {
		t.Errorf("there is %q", got)
	}
}

// Of what there is no file of it is said why.
func TestWithoutFiles(t *testing.T) {
	t.Parallel()
	a := newArchives(t)
	a.task(t, "nats:FILES", "none")
	a.tell(t, "nats:FILES", schema.ArchivedTask{ID: "half", Files: []schema.ArchivedFile{a.put(t, "nats:FILES", "half", "01-a.txt", "content")}, Failures: []schema.ArchiveFailure{
		{URL: "https://cdn.apixo.ai/b", Reason: schema.ReasonGone, Detail: "the origin answered 404"},
		{URL: "https://cdn.apixo.ai/02-c.txt", Reason: schema.ReasonTooLarge, Detail: "it has 2 GiB"},
	}})
	// Another target has one of them.
	a.task(t, "nats:MORE", "half", a.put(t, "nats:MORE", "half", "02-c.txt", "large"))
	lines, s := a.fetch(t, t.TempDir(), "none", "half", "unknown")
	wants(t, lines, "half 0 not-archived gone: the origin answered 404", "half 1 fetched", "half 2 fetched", "none 0 no-files", "unknown 0 unknown …is the id right")
	if s.Missing() != 2 {
		t.Errorf("the summary is %+v", s)
	}
}

// A run that is stopped says so, and leaves no part of a file.
func TestStopped(t *testing.T) {
	t.Parallel()
	a := newArchives(t)
	var ids []string
	large := string(bytes.Repeat([]byte("x"), 1<<20))
	for i := range 30 {
		id := fmt.Sprint("task_", i)
		ids = append(ids, id)
		a.task(t, "nats:FILES", id, a.put(t, "nats:FILES", id, "01-a.txt", large))
	}
	tasks, err := tasklist.FromArguments(ids, tasklist.AnyModel)
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Run(ctx, a.js.Conn(), a.cfg, Options{Tasks: tasks, Dir: out, Log: slog.New(slog.DiscardHandler), OnResult: func(r Result, _ *Summary) error {
		cancel()
		if r.Result != Fetched {
			t.Errorf("%+v", r)
		}
		return nil
	}})
	if err == nil || !strings.Contains(err.Error(), "run it again") || s.Fetched == 0 || s.Fetched == len(ids) {
		t.Errorf("%v, %+v", err, s)
	}
	if got := filesIn(t, out); len(got) != s.Fetched {
		t.Errorf("%d files were fetched, and there are %q", s.Fetched, got)
	}
	if lines, s := a.fetch(t, out, ids...); s.Kept+s.Fetched != len(ids) || len(lines) != len(ids) {
		t.Errorf("the second run: %+v", s)
	}
}

// Without the stream nothing was ever archived.
func TestNoArchive(t *testing.T) {
	t.Parallel()
	a := newArchives(t)
	if err := a.js.DeleteStream(t.Context(), schema.DefaultArchive); err != nil {
		t.Fatal(err)
	}
	tasks, err := tasklist.FromArguments([]string{"task_1"}, tasklist.AnyModel)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	if _, err := Run(t.Context(), a.js.Conn(), a.cfg, Options{Tasks: tasks, Dir: out}); !errors.Is(err, catalog.ErrNoArchive) {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("the folder was made for nothing")
	}
}
