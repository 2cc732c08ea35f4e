package durable

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/disk"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// relaxed is a server with sync_always and a stream that is committed.
type relaxed struct {
	*testing.T
	js    jetstream.JetStream
	store *Store
	disk  *disk.Mounted
	dir   string
}

func startRelaxed(t *testing.T) *relaxed {
	t.Helper()
	folder := t.TempDir()
	d, err := disk.New(64 << 20).Mount(folder)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	r := &relaxed{T: t, disk: d, dir: filepath.Join(folder, "store")}
	options := natstest.Options(t)
	options.StoreDir, options.SyncAlways = r.dir, true
	s := natstest.Start(t, options)
	nc, err := nats.Connect(s.ClientURL())
	r.must(err)
	t.Cleanup(nc.Close)
	r.js, err = jetstream.New(nc)
	r.must(err)
	r.store = New(r.dir, s, slog.New(slog.DiscardHandler))
	t.Cleanup(r.store.Close)
	return r
}

func (r *relaxed) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *relaxed) stream(name string) {
	r.Helper()
	_, err := r.js.CreateOrUpdateStream(r.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name}, Storage: jetstream.FileStorage})
	r.must(err)
}

// publish stores a message, and returns how often the server made anything durable for it.
func (r *relaxed) publish(stream string) int {
	r.Helper()
	before := r.disk.Synced()
	_, err := r.js.Publish(context.Background(), stream, []byte("x"))
	r.must(err)
	return r.disk.Synced() - before
}

// The server fsyncs no message of a stream that is committed, and each of any other. A
// changed configuration gives it back to the server until the next commit.
func TestTheServerLeavesFsyncsToCommits(t *testing.T) {
	t.Parallel()
	r := startRelaxed(t)
	r.stream("S")
	r.stream("OTHER")
	if n := r.publish("S"); n == 0 {
		t.Fatal("a server with sync_always does not fsync: this test cannot tell anything")
	}
	r.must(r.store.Commit(t.Context(), "S"))
	if n := r.publish("S"); n != 0 {
		t.Errorf("the server made %d fsyncs for a message of a stream that is committed", n)
	}
	before := r.disk.Synced()
	r.must(r.store.Commit(t.Context(), "S"))
	if r.disk.Synced() == before {
		t.Error("a commit makes no fsync")
	}
	if n := r.publish("OTHER"); n == 0 {
		t.Error("the server does not fsync a message of another stream")
	}
	_, err := r.js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"S"}, Storage: jetstream.FileStorage, Description: "changed"})
	r.must(err)
	if n := r.publish("S"); n == 0 {
		t.Error("the server does not fsync after a change of the configuration")
	}
	r.must(r.store.Commit(t.Context(), "S"))
	if n := r.publish("S"); n != 0 {
		t.Errorf("the server made %d fsyncs for a message after a change and a commit", n)
	}
}

// What is rewritten is durable before it takes the place of what it was.
func TestTheServerFsyncsWhatItRewrites(t *testing.T) {
	t.Parallel()
	r := startRelaxed(t)
	r.stream("S")
	r.publish("S")
	r.must(r.store.Commit(t.Context(), "S"))
	s, err := r.js.Stream(t.Context(), "S")
	r.must(err)
	before := r.disk.Synced()
	_, err = s.CreateOrUpdateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "C", AckPolicy: jetstream.AckExplicitPolicy})
	r.must(err)
	if r.disk.Synced() == before {
		t.Error("the server does not fsync what it stores of a consumer")
	}
	if _, err := os.Stat(filepath.Join(r.dir, "jetstream", "$G", "streams", "S", "obs", "C", "meta.inf")); err != nil {
		t.Error(err)
	}
}

// A server of a later version may keep its stores otherwise.
func TestRelaxKnowsTheServer(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.SyncAlways = true
	s := natstest.Start(t, options)
	r := &relaxed{T: t}
	nc, err := nats.Connect(s.ClientURL())
	r.must(err)
	t.Cleanup(nc.Close)
	r.js, err = jetstream.New(nc)
	r.must(err)
	r.stream("S")
	r.must(disableSync(s, "S"))
	r.must(disableSync(s, "NONE"))
}
