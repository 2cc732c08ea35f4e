//go:build system

package faults

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// makeStreams makes both streams as somebody other than the relay would.
func (b *bench) makeStreams(js jetstream.JetStream, replicas int) {
	b.Helper()
	for name, subject := range map[string]string{"APIXO": "apixo.task.>", "APIXO_QUARANTINE": "apixo.quarantine.>"} {
		b.makeStream(js, name, subject, replicas)
	}
}

func (b *bench) makeStream(js jetstream.JetStream, name, subject string, replicas int) {
	b.Helper()
	create := func() error {
		ctx, cancel := context.WithTimeout(b.ctx, 3*time.Second)
		defer cancel()
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: name, Subjects: []string{subject}, Duplicates: time.Hour, Replicas: replicas, Discard: jetstream.DiscardNew,
		})
		return err
	}
	err := create()
	// Servers that have just found each other count, and listen, a moment later.
	for (noPeers(err) || errors.Is(err, context.DeadlineExceeded)) && b.ctx.Err() == nil {
		err = create()
	}
	b.must(err)
}

// noPeers tells the error of a cluster that has too few servers for a stream.
func noPeers(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == 10005
}

// The relay makes a stream that was deleted under it anew, and the webhook that
// found it missing is stored.
func TestStreamDeleted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	r := b.relay(s.URL())
	b.accepted(r.Sender, "task_before")
	b.must(b.js(s.URL()).DeleteStream(b.ctx, "APIXO"))
	if a := b.accepted(r.Sender, "task_after"); a.Sequence != 1 || a.Duplicate {
		t.Errorf("the first in the new stream got %+v", a)
	}
	if stored := b.stored(s.URL()); len(stored) != 1 || len(stored["task_after"]) != 1 {
		t.Errorf("stored %v", stored)
	}
}

// Where making it is left to others, the relay waits for them.
func TestStreamDeletedThatOthersMake(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	js := b.js(s.URL())
	b.makeStreams(js, 1)
	r := b.relay(s.URL(), "RELAY_STREAM_POLICY=require", "RELAY_PUBLISH_TIMEOUT=3s")
	b.accepted(r.Sender, "task_before")
	b.must(js.DeleteStream(b.ctx, "APIXO"))
	b.refused(r.Sender, "task_1", "stream-missing", 3*time.Second)
	b.notReady(r, "APIXO does not exist")
	b.makeStream(js, "APIXO", "apixo.task.>", 1)
	if a := b.accepted(r.Sender, "task_1"); a.Duplicate {
		t.Errorf("the repeat got %+v", a)
	}
	b.ready(r)
}

// A sealed stream takes nothing, and cannot be opened again: it has to give way
// to a new one.
func TestStreamSealed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	js := b.js(s.URL())
	r := b.relay(s.URL())
	b.accepted(r.Sender, "task_before")
	stream, err := js.Stream(b.ctx, "APIXO")
	b.must(err)
	sealed := stream.CachedInfo().Config
	sealed.Sealed = true
	_, err = js.UpdateStream(b.ctx, sealed)
	b.must(err)
	b.refused(r.Sender, "task_1", "broker-error", time.Second)
	b.notReady(r, "APIXO is sealed")
	if stored := b.stored(s.URL()); len(stored) != 1 || len(stored["task_before"]) != 1 {
		t.Errorf("stored %v", stored)
	}
	b.must(js.DeleteStream(b.ctx, "APIXO"))
	b.ready(r)
	b.accepted(r.Sender, "task_1")
}

// A full stream refuses the new and keeps the old, until there is room.
func TestStreamFull(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	r := b.relay(s.URL(), "RELAY_STREAM_MAX_BYTES=16384")
	var acknowledged []string
	var last rig.Answer
	for i := range 100 {
		id := fmt.Sprintf("task_%d", i)
		a, err := r.Post(b.ctx, id, "success")
		b.must(err)
		if last = a; a.Status != 200 {
			break
		}
		acknowledged = append(acknowledged, id)
	}
	b.isRefused(last, "stream-full", time.Second)
	stored := b.stored(s.URL())
	if missing := stored.Missing(acknowledged); len(missing) > 0 || len(stored) != len(acknowledged) {
		t.Errorf("of %d acknowledged %q are missing, and %d are stored", len(acknowledged), missing, len(stored))
	}
	stream, err := b.js(s.URL()).Stream(b.ctx, "APIXO")
	b.must(err)
	b.must(stream.Purge(b.ctx, jetstream.WithPurgeKeep(1)))
	refused := fmt.Sprintf("task_%d", len(acknowledged))
	if a := b.accepted(r.Sender, refused); a.Duplicate {
		t.Errorf("the repeat got %+v", a)
	}
	// What was purged to make room is there again once somebody repeats it.
	a := b.accepted(r.Sender, acknowledged[0])
	if at := b.stored(s.URL())[acknowledged[0]]; a.Duplicate || len(at) != 1 || at[0] != a.Sequence {
		t.Errorf("the repeat of what was purged got %+v, and is stored at %d", a, at)
	}
}

// Readiness says what a sender would be told.
func TestStreamFullIsNotReady(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := b.server()
	r := b.relay(s.URL(), "RELAY_STREAM_MAX_BYTES=4096")
	full := false
	for i := 0; i < 100 && !full; i++ {
		a, err := r.Post(b.ctx, fmt.Sprintf("task_%d", i), "success")
		b.must(err)
		full = a.Problem() == "stream-full"
	}
	b.notReady(r, "room")
	stream, err := b.js(s.URL()).Stream(b.ctx, "APIXO")
	b.must(err)
	b.must(stream.Purge(b.ctx))
	b.accepted(r.Sender, "task_after")
	b.ready(r)
}
