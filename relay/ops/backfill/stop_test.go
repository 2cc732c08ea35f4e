package backfill_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/backfill"
	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func many(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("task_%d", i))
	}
	return ids
}

// says fails the test unless an error has such words.
func says(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%v, want %q", err, words)
	}
}

func TestWrongKeyEndsTheRun(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.api.Default(fakeapi.Error(http.StatusUnauthorized, "Invalid API key "+key))
	out := b.run(t.Context(), t, nil, many(1000)...)
	says(t, out.err, "does not take the key (401 Unauthorized: Invalid API key …): compare APIXO_API_KEY")
	if out.summary.Requests > 16 || out.summary.Failed != int(out.summary.Requests) {
		t.Errorf("%+v", out.summary)
	}
}

func TestAPIAway(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.http.Close()
	out := b.run(t.Context(), t, nil, many(1000)...)
	says(t, out.err, "gave no usable answer for 20 tasks in a row")
	if out.summary.Failed < 20 || out.summary.Failed > 40 || !strings.Contains(out.results["task_0"].Error, "connection refused") {
		t.Errorf("%+v", out.summary)
	}
}

func TestBrokerGoesAway(t *testing.T) {
	t.Parallel()
	b := open(t, "RELAY_PUBLISH_TIMEOUT=200ms")
	var asked atomic.Int64
	b.api.Default(func(w http.ResponseWriter, r *http.Request, id string) {
		if asked.Add(1) == 20 {
			natstest.Stop(b.nats)
		}
		fakeapi.Success(w, r, id)
	})
	out := b.run(t.Context(), t, nil, many(1000)...)
	says(t, out.err, "the broker does not store what the API tells")
	if n := asked.Load(); n > 100 || out.summary.Failed == 0 || out.summary.Stored == 0 {
		t.Errorf("asked %d times: %+v", n, out.summary)
	}
}

func TestStreamFull(t *testing.T) {
	t.Parallel()
	b := open(t, "RELAY_STREAM_MAX_BYTES=4096")
	out := b.run(t.Context(), t, nil, many(1000)...)
	says(t, out.err, "the broker does not store what the API tells")
	full := 0
	for _, r := range out.results {
		if strings.Contains(r.Error, "stream-full") {
			full++
		}
	}
	if full == 0 || full != out.summary.Failed || out.summary.Stored == 0 || out.summary.NotAsked < 900 {
		t.Errorf("%d full: %+v", full, out.summary)
	}
}

// A write that does not fit would end the relay whose broker it is.
func TestDiskOfTheEmbeddedBrokerIsFull(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.config.NATS.URL, b.config.Embedded.Addr, b.config.Embedded.DataDir = "", b.nats.Addr().String(), "the-relays"
	full := func(folder string) error { return errors.New(folder + " is full") }
	out := b.run(t.Context(), t, func(o *backfill.Options) { o.CheckDiskSpace(full) }, many(100)...)
	says(t, out.err, "the-relays is full")
	if out.summary.Stored != 0 || out.summary.NotAsked < 80 || len(b.stored(t)) != 0 {
		t.Errorf("%+v, and %d stored", out.summary, len(b.stored(t)))
	}
	// What another machine's broker has is not for this one to see.
	b.configure(t)
	if out := b.run(t.Context(), t, func(o *backfill.Options) { o.CheckDiskSpace(full) }, "task_A"); out.summary.Stored != 1 {
		t.Errorf("%v, %+v", out.err, out.summary)
	}
}

// Interrupted, the run finishes what is in flight, and begins nothing.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	b := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	release := make(chan struct{})
	var asked atomic.Int64
	b.api.Default(func(w http.ResponseWriter, r *http.Request, id string) {
		if asked.Add(1) == 8 {
			cancel()
			close(release)
		}
		fakeapi.Held(release, fakeapi.Success)(w, r, id)
	})
	out := b.run(ctx, t, nil, many(100)...)
	says(t, out.err, "stopped before the end")
	if out.summary.Stored != 8 || out.summary.NotAsked != 92 || asked.Load() != 8 {
		t.Errorf("%+v, asked %d times", out.summary, asked.Load())
	}
}

// A task that is to be tried again when the run is interrupted has been asked for,
// and is not stored.
func TestInterruptedBetweenAttempts(t *testing.T) {
	t.Parallel()
	b := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.api.Default(fakeapi.RetryAfter(http.StatusServiceUnavailable, "60"))
	out := b.run(ctx, t, func(o *backfill.Options) {
		o.Concurrency = 1
		o.OnWait = func(d time.Duration) {
			if d != time.Minute {
				t.Error(d)
			}
			cancel()
		}
	}, "task_A", "task_B")
	says(t, out.err, "stopped before the end")
	if r := out.results["task_A"]; r.Result != backfill.Failed || !strings.Contains(r.Error, "stopped before it was asked for again: 503") || out.summary.NotAsked != 1 {
		t.Errorf("%+v", out)
	}
}

func TestResultsCannotBeWritten(t *testing.T) {
	t.Parallel()
	b := open(t)
	out := b.run(t.Context(), t, func(o *backfill.Options) {
		inner := o.OnResult
		o.OnResult = func(r backfill.Result, s *backfill.Summary) error {
			return errors.Join(inner(r, s), errors.New("broken pipe"))
		}
	}, many(1000)...)
	says(t, out.err, "the results cannot be written: broken pipe")
	if out.summary.Done() > 50 {
		t.Errorf("%+v", out.summary)
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	b := open(t)
	dry := func(o *backfill.Options) { o.DryRun = true }
	out := b.run(t.Context(), t, dry, "task_A")
	if out.err != nil || out.results["task_A"].Result != backfill.WouldStore || out.summary.WouldStore != 1 {
		t.Errorf("%+v", out)
	}
	if _, err := b.js.Stream(t.Context(), "APIXO"); err == nil {
		t.Fatal("a dry run makes the stream")
	}
	if out := b.run(t.Context(), t, nil, "task_A"); out.err != nil || out.summary.Stored != 1 {
		t.Fatal(out)
	}
	out = b.run(t.Context(), t, dry, "task_A", "task_B")
	if out.err != nil || out.summary.Already != 1 || out.summary.WouldStore != 1 || len(b.stored(t)) != 1 {
		t.Errorf("%+v", out)
	}
}

func TestNoStream(t *testing.T) {
	t.Parallel()
	b := open(t, "RELAY_STREAM_POLICY=require")
	out := b.run(t.Context(), t, nil, "task_A")
	says(t, out.err, "the stream APIXO does not exist")
	if out.summary.Requests != 0 {
		t.Errorf("%+v", out.summary)
	}
}

func TestNoJetStream(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.JetStream = false
	out := openWith(t, natstest.Start(t, options)).run(t.Context(), t, nil, "task_A")
	says(t, out.err, "nothing could be stored, so nothing was asked: the broker has no JetStream")
	if out.summary.Requests != 0 {
		t.Errorf("%+v", out.summary)
	}
}

// Who may publish and not read gets to know that, and nothing is asked.
func TestMayNotRead(t *testing.T) {
	t.Parallel()
	for _, denied := range []string{"$JS.API.CONSUMER.CREATE.>", "$JS.API.CONSUMER.MSG.NEXT.>"} {
		t.Run(denied, func(t *testing.T) {
			t.Parallel()
			options := natstest.Options(t)
			options.Users = []*server.User{
				{Username: "all", Password: "all"},
				{Username: "some", Password: "some", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{denied}}}},
			}
			options.NoAuthUser = "all"
			b := openWith(t, natstest.Start(t, options))
			if out := b.run(t.Context(), t, nil, "task_A"); out.err != nil {
				t.Fatal(out.err)
			}
			b.configure(t, "NATS_USER=some", "NATS_PASSWORD=some")
			out := b.run(t.Context(), t, func(o *backfill.Options) { o.Hurry(300 * time.Millisecond) }, "task_A", "task_B")
			says(t, out.err, "does not let this user create a consumer and fetch from it")
			if out.summary.Requests != 0 || len(b.stored(t)) != 1 {
				t.Errorf("%+v", out.summary)
			}
		})
	}
}

// However long the stream is, nothing in it is asked for.
func TestWholeStreamIsLookedThrough(t *testing.T) {
	t.Parallel()
	b := open(t)
	ids := many(2500)
	if out := b.run(t.Context(), t, nil, ids[:3]...); out.err != nil {
		t.Fatal(out.err)
	}
	for _, id := range ids[3:] {
		if _, err := b.js.PublishAsync("apixo.task.success", []byte("{}"), jetstream.WithMsgID(id), jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	<-b.js.PublishAsyncComplete()
	var scanned []uint64
	out := b.run(t.Context(), t, func(o *backfill.Options) {
		o.OnScan = func(read, total uint64) { scanned = append(scanned, read, total) }
	}, ids...)
	if out.err != nil || out.summary.Already != 2500 || out.summary.Requests != 0 {
		t.Errorf("%+v %v", out.summary, out.err)
	}
	if fmt.Sprint(scanned) != "[1000 2500 2000 2500]" {
		t.Error(scanned)
	}
}
