package feed

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/schema"
)

// archived stores what the archive tells of a task, and returns its sequence.
func (b *testBroker) archived(t testing.TB, id, target string) uint64 {
	t.Helper()
	msg, err := encoder.Archived(schema.ArchivedTask{ID: id}, target, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return b.publish(t, msg)
}

// What the archive tells of a task is found, whether it was there or came later, and whenever the
// stream was made; with no room for all of it the index says so.
func TestArchived(t *testing.T) {
	t.Parallel()
	b := newTestBroker(t)
	newFeed := func(index int) *Feed {
		f := New(Options{Conn: b.conn, Stream: schema.DefaultStream, Quarantine: schema.DefaultQuarantine, Archive: schema.DefaultArchive, Index: index, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		f.lookInterval = 100 * time.Millisecond
		if err := f.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stop(t, f) })
		return f
	}
	early := newFeed(1000)
	await(t, early, "it is known that there is no archive", func() bool {
		_, complete := early.Archived("task_1")
		return early.Status().Archive.Known && complete
	})
	b.stream(t, schema.DefaultArchive, schema.ArchiveSubjects(schema.DefaultPrefix))
	var last []uint64
	for i := range 100 {
		id := fmt.Sprint("task_", i)
		last = []uint64{b.archived(t, id, "nats:A"), b.archived(t, id, "nats:B")}
	}
	late, small := newFeed(1000), newFeed(50)
	for name, f := range map[string]*Feed{"early": early, "late": late} {
		await(t, f, name+" has what is there", func() bool { return f.Status().Archive.Indexed == 200 })
	}
	await(t, small, "the small one is full", func() bool { return !small.Status().Archive.Filling })
	for name, f := range map[string]*Feed{"early": early, "late": late, "small": small} {
		got, complete := f.Archived("task_99")
		if len(got) != 2 || got[0] != last[1] || got[1] != last[0] || complete != (f != small) {
			t.Errorf("%s: %d, complete %t, want %d backwards", name, got, complete, last)
		}
	}
	if got, _ := small.Archived("task_0"); len(got) > 0 {
		t.Errorf("with room for 50 it has the oldest, %d", got)
	}
	sequence := b.archived(t, "task_new", "nats:A")
	for name, f := range map[string]*Feed{"early": early, "late": late, "small": small} {
		await(t, f, name+" has what has come", func() bool {
			got, _ := f.Archived("task_new")
			return len(got) == 1 && got[0] == sequence
		})
	}
}
