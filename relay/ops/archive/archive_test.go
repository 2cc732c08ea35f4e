package archive_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Each task is told once, with all that became of its files; what cannot be had keeps no
// other file out.
func TestWhatBecomesOfFiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"file", "nats"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			to := map[string]func(*testing.T) target.Target{"file": p.fileTarget, "nats": p.natsTarget}[name](t)
			p.success(t, "pictures", false, p.urls("a.png", "b/c%20d.png?sig=1&e=2"))
			p.success(t, "music", false, fmt.Sprintf(`{"tracks":[{"audio_url":%q,"title":"https"}]}`, p.origin.URL+"/t1.mp3"))
			p.success(t, "nothing", false, `{"seed":1}`)
			p.success(t, "mixed", false, p.urls("first.png", "gone/x.png", "large/x.png", "../../last.png"))
			p.success(t, "elsewhere", false, `{"resultUrls":["https://example.com/x.png","http://127.0.0.1:1/x.png","ftp://x/y","https://user@`+strings.TrimPrefix(p.origin.URL, "http://")+`/x"]}`)
			p.webhook(t, `{"data":{"taskId":"failed","state":"failed","failCode":"NSFW"}}`)

			summary := p.run(t, p.options(t, to))
			told := p.told(t)
			for id, want := range map[string]struct {
				keys    []string
				reasons []string
			}{
				"pictures":  {keys: []string{"pictures/01-a.png", "pictures/02-c_d.png"}},
				"music":     {keys: []string{"music/01-t1.mp3"}},
				"nothing":   {},
				"mixed":     {keys: []string{"mixed/01-first.png", "mixed/04-last.png"}, reasons: []string{schema.ReasonGone, schema.ReasonTooLarge}},
				"elsewhere": {reasons: []string{schema.ReasonForbiddenHost, schema.ReasonNotHTTPS, schema.ReasonInvalidAddress, schema.ReasonForbiddenHost}},
			} {
				if len(told[id]) != 1 {
					t.Errorf("%s was told %d times", id, len(told[id]))
					continue
				}
				task := told[id][0]
				if len(task.Files) != len(want.keys) {
					t.Fatalf("%s: %+v", id, task)
				}
				for i, key := range want.keys {
					p.holds(t, to, key, task.Files[i])
				}
				var reasons []string
				for _, f := range task.Failures {
					reasons = append(reasons, f.Reason)
				}
				if !slices.Equal(reasons, want.reasons) {
					t.Errorf("%s: the failures are %+v, want %v", id, task.Failures, want.reasons)
				}
			}
			if len(told) != 5 || p.pending(t) != 0 {
				t.Errorf("told of %d tasks, %d are pending", len(told), p.pending(t))
			}
			if summary.Archived != 3 || summary.Failed != 2 || summary.Files != 5 || summary.FailedFiles != 6 || summary.Tasks() != 5 {
				t.Errorf("the summary is %+v", summary)
			}
			if name == "file" && len(p.files(t)) != 5 {
				t.Errorf("the folder has %v", p.files(t))
			}
		})
	}
}

// What is there is not stored again, and where the target knows where it is from, it is not
// asked for either.
func TestAgain(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"file", "nats"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			to := map[string]func(*testing.T) target.Target{"file": p.fileTarget, "nats": p.natsTarget}[name](t)
			p.success(t, "task", false, p.urls("a.png"))
			p.run(t, p.options(t, to))
			path := filepath.Join(p.folder, "task", "01-a.png")
			before, _ := os.Stat(path)

			o := p.options(t, to)
			o.Durable = "another"
			if summary := p.run(t, o); summary.There != 1 || summary.Files != 0 {
				t.Errorf("the summary is %+v", summary)
			}
			if told := p.told(t)["task"]; len(told) != 1 {
				t.Errorf("told %d times", len(told))
			}
			want := 1
			if name == "file" {
				want = 2
				if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
					t.Errorf("it was stored again (%v)", err)
				}
			}
			if n := p.origin.requests("/a.png"); n != want {
				t.Errorf("it was asked for %d times", n)
			}
		})
	}
}

// What an object store has from another address is replaced, too.
func TestAnotherObjectThere(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	to := p.natsTarget(t)
	if _, err := to.Put(t.Context(), "task/01-a.png", strings.NewReader("else"), target.Meta{Source: p.origin.URL + "/other/a.png"}); err != nil {
		t.Fatal(err)
	}
	p.success(t, "task", false, p.urls("a.png"))
	p.run(t, p.options(t, to))
	p.holds(t, to, "task/01-a.png", p.told(t)["task"][0].Files[0])
}

// A result has so many files at the most; of more it is told that they are not archived.
func TestTooMany(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	var names []string
	for i := range archive.MaxFiles + 2 {
		names = append(names, fmt.Sprint("gone/", i))
	}
	p.success(t, "task", false, p.urls(names...))
	p.run(t, p.options(t, p.fileTarget(t)))
	failures := p.told(t)["task"][0].Failures
	if n := len(failures); n != archive.MaxFiles+1 || failures[n-1].Reason != schema.ReasonTooMany || !strings.Contains(failures[n-1].Detail, "2 addresses") {
		t.Errorf("%d failures, the last is %+v", n, failures[n-1])
	}
}

// An origin is left alone for as long as it asks to be.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.success(t, "task", true, p.urls("503/a.png?after=3600"))
	stop := p.start(t, p.options(t, p.fileTarget(t)), 0)
	p.log.Await(t, "wait=1h0m0s")
	stop()
}

// A file that is not the one at the address is replaced by that.
func TestAnotherFileThere(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	to := p.fileTarget(t)
	if err := os.Mkdir(filepath.Join(p.folder, "task"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.folder, "task", "01-a.png"), []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.success(t, "task", false, p.urls("a.png"))
	p.run(t, p.options(t, to))
	p.holds(t, to, "task/01-a.png", p.told(t)["task"][0].Files[0])
}

// What passes is tried again, and so is a file that was cut off.
func TestTriedAgain(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	to := p.fileTarget(t)
	p.success(t, "task", true, p.urls("a.png", "503/b.png", "cut/c.png"))
	stop := p.start(t, p.options(t, to), 0)
	// More often than what has expired is tried at least.
	await(t, "ten tries", func() bool { return p.origin.requests("/503/b.png") >= 10 })
	if n := len(p.told(t)); n != 0 {
		t.Errorf("told of %d tasks", n)
	}
	p.origin.healthy.Store(true)
	await(t, "the end", func() bool { return p.pending(t) == 0 })
	if summary := stop(); summary.Archived != 1 || summary.Retries < 9 {
		t.Errorf("the summary is %+v", summary)
	}
	task := p.told(t)["task"][0]
	for i, key := range []string{"task/01-a.png", "task/02-b.png", "task/03-c.png"} {
		p.holds(t, to, key, task.Files[i])
	}
	if n := p.origin.requests("/a.png"); n != 1 {
		t.Errorf("what was safe was asked for %d times", n)
	}
}

// What lasts until the address has expired is given up, told, and kept as a dead letter.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	to := p.fileTarget(t)
	p.success(t, "task", false, p.urls("a.png", "503/b.png"))
	summary := p.run(t, p.options(t, to))
	if n := p.origin.requests("/503/b.png"); n != 5 {
		t.Errorf("it was tried %d times", n)
	}
	task := p.told(t)["task"][0]
	if len(task.Files) != 1 || len(task.Failures) != 1 || task.Failures[0].Reason != schema.ReasonUnavailable || !strings.Contains(task.Failures[0].Detail, "503") {
		t.Errorf("told: %+v", task)
	}
	if summary.Failed != 1 || summary.DeadLetters != 1 || p.pending(t) != 0 {
		t.Errorf("the summary is %+v, %d are pending", summary, p.pending(t))
	}
	letters, err := p.js.Stream(t.Context(), "DEAD_LETTERS")
	if err != nil {
		t.Fatal(err)
	}
	letter, err := letters.GetMsg(t.Context(), 1)
	if err != nil || letter.Subject != "dead.apixo-archive" || letter.Header.Get("Dead-Letter-Sequence") != "1" || !strings.Contains(letter.Header.Get("Dead-Letter-Reason"), "503") {
		t.Errorf("the dead letter is %+v (%v)", letter, err)
	}
	if e, err := schema.DecodeMessage(letter.Header, letter.Data); err != nil || e.ID != "task" {
		t.Errorf("it holds %+v (%v)", e, err)
	}
}

// A run that is to end leaves what cannot be had for another one.
func TestLeft(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	to := p.fileTarget(t)
	p.success(t, "task", true, p.urls("503/b.png"))
	p.success(t, "other", true, p.urls("a.png"))
	if summary := p.run(t, p.options(t, to)); summary.Left != 1 || summary.Archived != 1 {
		t.Errorf("the summary is %+v", summary)
	}
	if p.pending(t) != 1 || len(p.told(t)) != 1 {
		t.Errorf("%d are pending, told: %v", p.pending(t), p.told(t))
	}
	p.origin.healthy.Store(true)
	if summary := p.run(t, p.options(t, to)); summary.Left != 0 || summary.Archived != 1 {
		t.Errorf("the second summary is %+v", summary)
	}
	p.holds(t, to, "task/01-b.png", p.told(t)["task"][0].Files[0])
}

// What is no event becomes a dead letter, and holds nothing up.
func TestNoEvent(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if _, err := p.js.Publish(t.Context(), "apixo.task.success", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if summary := p.run(t, p.options(t, p.fileTarget(t))); summary.DeadLetters != 1 || summary.Tasks() != 0 || p.pending(t) != 0 {
		t.Errorf("the summary is %+v, %d are pending", summary, p.pending(t))
	}
}

// While a target is full nothing is acknowledged, and the log says so once; it goes on by itself.
func TestFullTarget(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	to := p.open(t, "nats:FILES", 8000)
	for i := range 4 {
		p.success(t, fmt.Sprint("task", i), false, p.urls(fmt.Sprint(i, ".png")))
	}
	o := p.options(t, to)
	stop := p.start(t, o, 0)
	p.log.Await(t, "the target cannot store")
	await(t, "two tries more", func() bool {
		n := 0
		for i := range 4 {
			n += p.origin.requests(fmt.Sprint("/", i, ".png"))
		}
		return n >= 7
	})
	if p.pending(t) < 3 || strings.Count(p.log.String(), "the target cannot store") != 1 {
		t.Errorf("%d are pending; the log is\n%s", p.pending(t), p.log.String())
	}
	if _, err := p.js.UpdateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "FILES", MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	await(t, "all is stored", func() bool { return p.pending(t) == 0 })
	p.log.Await(t, "the target stores again")
	if summary := stop(); summary.Archived != 4 {
		t.Errorf("the summary is %+v", summary)
	}
}

// What a run that was killed has told is not told again, however long ago that was.
func TestToldOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.cfg.Stream.Dedupe = 100 * time.Millisecond
	to := p.fileTarget(t)
	p.success(t, "task", false, p.urls("a.png"))
	o := p.options(t, to)
	p.archiver(t, o) // makes the streams and the consumer
	c, err := p.js.Consumer(t.Context(), "APIXO", archive.DefaultDurable)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	told, err := event.NewEncoder(p.cfg).Archived(schema.ArchivedTask{ID: "task"}, to.String(), map[string]string{"model": "nano-banana"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p.publish(t, told)
	meta, _ := msg.Metadata()
	for time.Since(meta.Timestamp) < 200*time.Millisecond {
		time.Sleep(10 * time.Millisecond)
	}
	if err := msg.Nak(); err != nil {
		t.Fatal(err)
	}
	if summary := p.run(t, o); summary.Archived != 1 || len(p.told(t)["task"]) != 1 || p.pending(t) != 0 {
		t.Errorf("the summary is %+v, told %d times, %d are pending", summary, len(p.told(t)["task"]), p.pending(t))
	}
}

// Who is told to stop gives back what has not ended in time, and the next one has it.
func TestStopped(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	to := p.fileTarget(t)
	for i := range 10 {
		p.success(t, fmt.Sprint("task", i), true, p.urls(fmt.Sprint("held/", i, ".png")))
	}
	o := p.options(t, to).WithWaits(time.Millisecond, time.Hour) // the broker does not find out by itself
	o.UntilNow = false
	a := p.archiver(t, o)
	stop := run(t, a, 0)
	for range 4 { // as many as are worked on at once
		<-p.origin.held
	}
	await(t, "the others", func() bool { return a.Held() == 10 })
	given := make(chan string, 100)
	sub, err := p.js.Conn().Subscribe("$JS.ACK.APIXO."+archive.DefaultDurable+".>", func(m *nats.Msg) { given <- string(m.Data) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := p.js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	if summary := stop(); summary.Tasks() != 0 || p.pending(t) != 10 || len(p.files(t)) != 0 {
		t.Errorf("the summary is %+v, %d are pending, the folder has %v", summary, p.pending(t), p.files(t))
	}
	for range 10 { // not at once: the pull that has just ended would get them
		if said := <-given; !strings.HasPrefix(said, "-NAK {\"delay\":") {
			t.Errorf("it said %s", said)
		}
	}
	close(p.origin.release)
	again, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o.UntilNow = true
	if summary, err := p.archiver(t, o).Run(again, 0); err != nil || summary.Archived != 10 {
		t.Errorf("the summary is %+v (%v)", summary, err)
	}

	// Within the grace it is finished.
	p.origin.release = make(chan struct{})
	p.success(t, "last", true, p.urls("held/last.png"))
	for len(p.origin.held) > 0 {
		<-p.origin.held
	}
	stop = p.start(t, p.options(t, to), time.Minute)
	<-p.origin.held
	stopped := make(chan archive.Summary, 1)
	go func() { stopped <- stop() }()
	close(p.origin.release)
	if summary := <-stopped; summary.Archived != 1 {
		t.Errorf("the last summary is %+v", summary)
	}
}

// The broker is told that somebody is on it, for as long as it takes.
func TestKeptAlive(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	alive := make(chan string, 100)
	sub, err := p.js.Conn().Subscribe("$JS.ACK.APIXO."+archive.DefaultDurable+".>", func(m *nats.Msg) { alive <- string(m.Data) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	p.success(t, "task", true, p.urls("held/a.png"))
	stop := p.start(t, p.options(t, p.fileTarget(t)).WithWaits(time.Millisecond, time.Second), time.Minute)
	<-p.origin.held
	for range 4 { // which is longer than the broker waits
		if said := <-alive; said != "+WPI" {
			t.Fatalf("it said %s", said)
		}
	}
	close(p.origin.release)
	await(t, "the end", func() bool { return len(p.told(t)) == 1 })
	if summary := stop(); summary.Archived != 1 || p.origin.requests("/held/a.png") != 1 {
		t.Errorf("the summary is %+v, after %d requests", summary, p.origin.requests("/held/a.png"))
	}
}

// Several share the work.
func TestShared(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	to := p.natsTarget(t)
	var stops []func() archive.Summary
	for range 2 {
		// Nothing comes again that has been dealt with slowly.
		stops = append(stops, p.start(t, p.options(t, to).WithWaits(time.Millisecond, time.Minute), time.Minute))
	}
	const tasks = 150
	for i := range tasks {
		p.success(t, fmt.Sprint("task", i), true, p.urls(fmt.Sprint(i, ".png")))
	}
	await(t, "the end", func() bool { return len(p.told(t)) == tasks && p.pending(t) == 0 })
	a, b := stops[0](), stops[1]()
	if a.Archived+b.Archived != tasks || a.Archived == 0 || b.Archived == 0 {
		t.Errorf("%d and %d tasks were archived", a.Archived, b.Archived)
	}
	for id, told := range p.told(t) {
		if len(told) != 1 {
			t.Errorf("%s was told %d times", id, len(told))
		}
	}
}

// The consumer is made anew with what it needs if somebody deletes it.
func TestConsumerDeleted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	stop := p.start(t, p.options(t, p.fileTarget(t)), time.Minute)
	p.success(t, "task1", true, p.urls("1.png"))
	await(t, "the first task", func() bool { return len(p.told(t)) == 1 && p.pending(t) == 0 })
	if err := p.js.DeleteConsumer(t.Context(), "APIXO", archive.DefaultDurable); err != nil {
		t.Fatal(err)
	}
	p.success(t, "task2", true, p.urls("2.png"))
	p.log.Await(t, "events come again")
	await(t, "the second task", func() bool { return len(p.told(t)) == 2 && p.pending(t) == 0 })
	stop()
	if told := p.told(t); len(told["task1"]) != 1 || len(told["task2"]) != 1 {
		t.Errorf("told: %+v", told)
	}
}

// What cannot work is told at the start, with what to do.
func TestUnfit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before func(t *testing.T, p *place, o *archive.Options)
		want   string
	}{
		"no stream": {func(t *testing.T, p *place, _ *archive.Options) {
			p.cfg.Stream.Name = "OTHER"
		}, "the stream OTHER is not there: start the relay"},
		"the consumer stores elsewhere": {func(t *testing.T, p *place, o *archive.Options) {
			p.archiver(t, *o)
			o.Target = p.natsTarget(t)
		}, "with --durable"},
		"somebody else's consumer": {func(t *testing.T, p *place, o *archive.Options) {
			if _, err := p.js.CreateConsumer(t.Context(), "APIXO", jetstream.ConsumerConfig{Durable: o.Durable, AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
				t.Fatal(err)
			}
		}, "is not one that the archive can use"},
		"streams are somebody else's": {func(t *testing.T, p *place, _ *archive.Options) {
			p.cfg.Stream.Policy = "require"
		}, "the stream APIXO_ARCHIVE does not exist, and RELAY_STREAM_POLICY=require"},
		"another prefix's stream": {func(t *testing.T, p *place, _ *archive.Options) {
			if _, err := p.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "APIXO_ARCHIVE", Subjects: []string{"other.archive.>"}}); err != nil {
				t.Fatal(err)
			}
		}, "leaves apixo.archive.> out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			o := p.options(t, p.fileTarget(t))
			test.before(t, p, &o)
			if _, err := archive.New(t.Context(), p.cfg, discard(), o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q in it", err, test.want)
			}
		})
	}
}

// A new consumer begins with addresses that can be alive.
func TestSince(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.success(t, "old", false, p.urls("old.png"))
	await(t, "it is old", func() bool {
		stream, err := p.js.Stream(t.Context(), "APIXO")
		return err == nil && time.Since(stream.CachedInfo().State.LastTime) > 50*time.Millisecond
	})
	o := p.options(t, p.fileTarget(t))
	o.Since = 20 * time.Millisecond
	p.archiver(t, o)
	p.success(t, "new", false, p.urls("new.png"))
	p.run(t, o)
	if p.origin.requests("/old.png") != 0 || p.origin.requests("/new.png") != 1 {
		t.Errorf("the old one was asked for %d times, the new one %d", p.origin.requests("/old.png"), p.origin.requests("/new.png"))
	}
}

// The metrics and the readiness tell what happens.
func TestMetrics(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.options(t, p.fileTarget(t))
	o.Metrics = telemetry.NewArchiveMetrics("test")
	p.success(t, "task", true, p.urls("a.png", "gone/b.png"))
	a := p.archiver(t, o)
	if events, oldest := a.Backlog(); events != 1 || oldest <= 0 {
		t.Errorf("the backlog is %d, %s", events, oldest)
	}
	if err := a.Ready(); err != nil {
		t.Error(err)
	}
	if _, err := a.Run(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	o.Metrics.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		"apixo_relay_archived_files_total 1", fmt.Sprintf("apixo_relay_archived_bytes_total %d", len(content("/a.png"))),
		`apixo_relay_archive_failures_total{cause="gone"} 1`, "apixo_relay_archive_target_up 1", "apixo_relay_archive_time_left_seconds_count 1",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	p.js.Conn().Close()
	if err := a.Ready(); err == nil {
		t.Error("it is ready without a broker")
	}
}
