package target_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func newJetStream(t *testing.T, change func(*server.Options)) jetstream.JetStream {
	t.Helper()
	options := natstest.Options(t)
	change(options)
	return natstest.JetStream(t, natstest.Start(t, options).ClientURL())
}

func unchanged(*server.Options) {}

// Every client reads what is stored here, and what others have stored can be read here.
func TestObjectStoreSpeaksToOtherClients(t *testing.T) {
	t.Parallel()
	js := newJetStream(t, unchanged)
	at := open(t, "nats:FILES", target.Options{JetStream: js})
	store, err := js.ObjectStore(t.Context(), "FILES")
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range []int{0, 1, chunk, 2*chunk + 1} {
		key, p := fmt.Sprintf("task/%02d-x", i), bytes.Repeat([]byte{byte(i)}, size)
		mustPut(t, at, key, p)
		if got, err := store.GetBytes(t.Context(), key); err != nil || !bytes.Equal(got, p) {
			t.Errorf("another client reads %d bytes of %d, %v", len(got), size, err)
		}
		info, err := store.GetInfo(t.Context(), key)
		if err != nil || info.Metadata["source-sha256"] == "" || info.Metadata["media-type"] != target.Sniff(p) {
			t.Errorf("another client sees %+v, %v", info, err)
		}
		if _, err := store.PutBytes(t.Context(), key, append(p, "more"...)); err != nil {
			t.Fatal(err)
		}
		if !has(t, at, key, append(p, "more"...)) {
			t.Error("what another client has stored cannot be read")
		}
		if o, err := at.Stat(t.Context(), key); err != nil || o.Bytes != int64(size+4) || o.IsFrom != nil {
			t.Errorf("what another client has stored is %+v, %v", o, err)
		}
	}
	info, err := store.AddLink(t.Context(), "link/01-x", mustInfo(t, store, "task/00-x"))
	if err != nil || info == nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), "task/01-x"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"link/01-x", "task/01-x"} {
		if o, err := at.Stat(t.Context(), key); !errors.Is(err, target.ErrNotFound) {
			t.Errorf("what is no file is %+v, %v", o, err)
		}
	}
	mustPut(t, at, "task/01-x", []byte("again"))
	if !has(t, at, "task/01-x", []byte("again")) {
		t.Error("what was deleted is not stored again")
	}
}

func mustInfo(t *testing.T, store jetstream.ObjectStore, name string) *jetstream.ObjectInfo {
	t.Helper()
	info, err := store.GetInfo(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestObjectStoreIsMadeAsItIsTold(t *testing.T) {
	t.Parallel()
	js := newJetStream(t, unchanged)
	for range 2 { // the second finds it, and changes nothing
		open(t, "nats:FILES", target.Options{JetStream: js, MaxAge: time.Hour, MaxBytes: 1 << 20})
	}
	open(t, "nats:FILES", target.Options{JetStream: js, MaxAge: time.Minute})
	s, err := js.Stream(t.Context(), "OBJ_FILES")
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo().Config; c.MaxAge != time.Hour || c.MaxBytes != 1<<20 || c.Replicas != 1 || c.Storage != jetstream.FileStorage || c.Discard != jetstream.DiscardNew {
		t.Errorf("the object store is made as %+v", c)
	}
	spec, err := target.Parse("nats:OTHER")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spec.Open(t.Context(), target.Options{JetStream: js, ReadOnly: true}); err == nil || !strings.Contains(err.Error(), "there is no object store OTHER") {
		t.Errorf("an object store that is missing is opened for reading: %v", err)
	}
	if _, err := js.Stream(t.Context(), "OBJ_OTHER"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("opening for reading makes an object store: %v", err)
	}
	if _, err := spec.Open(t.Context(), target.Options{}); err == nil {
		t.Error("an object store is opened without a broker")
	}
}

// A store that is full says so and what to do, keeps what it has, and goes on when there is room.
func TestFullObjectStore(t *testing.T) {
	t.Parallel()
	js := newJetStream(t, unchanged)
	at := open(t, "nats:FILES", target.Options{JetStream: js, MaxBytes: 3 << 20})
	old := bytes.Repeat([]byte("a"), 2<<20)
	mustPut(t, at, "old/01-x", old)
	for range 3 {
		err := put(at, key, bytes.Repeat([]byte("b"), 2<<20))
		if err == nil || !strings.Contains(err.Error(), "nats stream edit OBJ_FILES --max-bytes") {
			t.Errorf("a full store says %v", err)
		}
		if n := countOrphans(t, js, "FILES"); n != 0 {
			t.Errorf("%d parts are left", n)
		}
	}
	if !has(t, at, "old/01-x", old) {
		t.Error("what was there is not there any more")
	}
	store, err := js.ObjectStore(t.Context(), "FILES")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), "old/01-x"); err != nil {
		t.Fatal(err)
	}
	mustPut(t, at, key, old)
}

// A broker whose disk is full says so, and what to do.
func TestFullBroker(t *testing.T) {
	t.Parallel()
	js := newJetStream(t, func(o *server.Options) { o.JetStreamMaxStore = 2 << 20 })
	at := open(t, "nats:FILES", target.Options{JetStream: js})
	err := put(at, key, make([]byte, 4<<20))
	if err == nil || !strings.Contains(err.Error(), "make room on its disk") {
		t.Errorf("a broker that is full says %v", err)
	}
	mustPut(t, at, key, []byte("small"))
}

// Of a file whose chunks an age limit has begun to take away nothing is there, and no reader
// takes the rest for a whole file.
func TestObjectWithoutAllChunksIsNone(t *testing.T) {
	t.Parallel()
	js := newJetStream(t, unchanged)
	at := open(t, "nats:FILES", target.Options{JetStream: js})
	p := bytes.Repeat([]byte("a"), 3*chunk)
	for i, gone := range []uint64{1, 2, 3} {
		key := fmt.Sprintf("task%d/01-x", i)
		mustPut(t, at, key, p)
		body, err := at.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := js.Stream(t.Context(), "OBJ_FILES")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteMsg(t.Context(), uint64(i*8)+gone); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(body); !errors.Is(err, target.ErrNotFound) {
			t.Errorf("without chunk %d: %v", gone, err)
		}
		if o, err := at.Stat(t.Context(), key); !errors.Is(err, target.ErrNotFound) {
			t.Errorf("without chunk %d: %+v, %v", gone, o, err)
		}
		mustPut(t, at, key, p)
		if !has(t, at, key, p) {
			t.Error("the file is not stored again")
		}
	}
	if n := countOrphans(t, js, "FILES"); n != 0 {
		t.Errorf("%d parts are left", n)
	}
}

// Messages are no larger than the broker takes.
func TestChunksFitTheBroker(t *testing.T) {
	t.Parallel()
	js := newJetStream(t, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	at := open(t, "nats:FILES", target.Options{JetStream: js})
	p := bytes.Repeat([]byte("a"), 1<<20)
	mustPut(t, at, key, p)
	if !has(t, at, key, p) {
		t.Error("the file is not there")
	}
}

// Clean sees every object of a store, in several batches.
func TestCleanSeesAllObjects(t *testing.T) {
	t.Parallel()
	js := newJetStream(t, unchanged)
	at := open(t, "nats:FILES", target.Options{JetStream: js, Abandoned: time.Nanosecond})
	const objects = 1203
	for i := range objects {
		mustPut(t, at, fmt.Sprintf("task%d/01-x", i), []byte("a"))
	}
	if err := at.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range objects {
		if _, err := at.Stat(t.Context(), fmt.Sprintf("task%d/01-x", i)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := js.Stream(t.Context(), "OBJ_FILES")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("%d consumers are left", n)
	}
}

// A broker that always fsyncs, as the embedded one does by default, has made each chunk durable,
// and what makes them an object, before Put returns. (Names it leaves to the file system, as
// those do that are in use.)
func TestBrokerFsyncsObjects(t *testing.T) {
	t.Parallel()
	for _, always := range []bool{true, false} {
		d, folder := mount(t, 64<<20)
		js := newJetStream(t, func(o *server.Options) { o.StoreDir, o.SyncAlways = filepath.Join(folder, "store"), always })
		at := open(t, "nats:FILES", target.Options{JetStream: js})
		before := d.Synced()
		mustPut(t, at, key, make([]byte, 3*chunk))
		if n := d.Synced() - before; always && n < 4 || !always && n > 3 {
			t.Errorf("with sync_always %t the broker has made %d fsyncs for 4 messages", always, n)
		}
	}
}

// A reader that is given up ends.
func TestReadersEndWithTheirContext(t *testing.T) {
	t.Parallel()
	at := open(t, "nats:FILES", target.Options{JetStream: newJetStream(t, unchanged)})
	mustPut(t, at, key, make([]byte, 3*chunk))
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	body, err := at.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(body, make([]byte, chunk)); err != nil {
		t.Fatal(err)
	}
	cancel(why)
	if _, err := io.ReadAll(body); !errors.Is(err, why) {
		t.Errorf("the reader ends in %v", err)
	}
}
