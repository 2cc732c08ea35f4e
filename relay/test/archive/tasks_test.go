package archive

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
	"github.com/apixo-relay/apixo-relay/schema"
)

// task is a webhook's, and what has to become of its files.
type task struct {
	id   string
	urls []string
	// result is there instead of urls, where it is anything.
	result any
	// expired: its addresses have expired a moment ago.
	expired bool
	// files and failures are what has to be told, in this order.
	files    []file
	failures []failure
}

// file is one that has to be stored: from an address, with the content of that name.
type file struct {
	url, content string
	// zipped: as its origin has compressed it.
	zipped bool
}

type failure struct{ url, reason string }

func (f file) sha256() string {
	if f.zipped {
		sum, _ := digest(strings.NewReader(string(zipped(f.content))))
		return sum
	}
	return digestOf(f.content)
}

func (f file) bytes() int64 {
	if f.zipped {
		return int64(len(zipped(f.content)))
	}
	return sizeOf(f.content)
}

func (f file) mediaType() string {
	if f.zipped {
		return "application/gzip"
	}
	return mediaTypes[path.Ext(f.content)]
}

// good is a task of files that are as they should be, and have to be stored.
func good(id string, urls ...string) task {
	t := task{id: id, urls: urls}
	for _, u := range urls {
		t.files = append(t.files, file{url: u, content: path.Base(u)})
	}
	return t
}

// model is what the callback URL of all tasks says.
const callbackModel = "nano-banana"

// body is the task's webhook.
func (w task) body(t testing.TB) string {
	t.Helper()
	result := w.result
	if result == nil {
		result = map[string]any{"resultUrls": w.urls}
	}
	text, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	complete := time.Now()
	if w.expired {
		complete = complete.Add(-24*time.Hour - time.Minute)
	}
	body, err := json.Marshal(map[string]any{"code": 200, "message": "success", "data": map[string]any{
		"taskId": w.id, "state": "success", "resultJson": string(text),
		"costTime": 1000, "createTime": complete.Add(-time.Second).UnixMilli(), "completeTime": complete.UnixMilli(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// sender sends webhooks as APIXO does, to a callback URL with a model.
func sender(relay *rig.Relay) *rig.Sender {
	return relay.Vary(func(r *http.Request) { r.URL.RawQuery = "model=" + callbackModel })
}

// deliver sends the webhooks of tasks.
func deliver(ctx context.Context, t testing.TB, relay *rig.Relay, tasks ...task) {
	t.Helper()
	for _, w := range tasks {
		answer, err := sender(relay).PostBody(ctx, w.body(t))
		if err != nil || answer.Status != http.StatusOK {
			t.Fatalf("the webhook of %s: %+v, %v", w.id, answer, err)
		}
	}
}

// told are the events of the archive by their ids, each of which has to be told once.
func told(t testing.TB, broker string) map[string]schema.Event {
	t.Helper()
	events := make(map[string]schema.Event)
	for _, e := range natstest.Events(t, natstest.JetStream(t, broker, nats.MaxReconnects(-1)), schema.DefaultArchive) {
		if _, again := events[e.ID]; again {
			t.Errorf("%s is told twice", e.ID)
		}
		events[e.ID] = e
	}
	return events
}

var safeName = regexp.MustCompile(`^[0-9]{2,}-[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

// check holds what is there, and what is told, against tasks: all that is expected, and nothing
// else.
func check(ctx context.Context, t testing.TB, broker string, at place, tasks []task) {
	t.Helper()
	files, leftovers := at.Read(ctx, t)
	if len(leftovers) > 0 {
		t.Errorf("there are leftovers: %q", leftovers)
	}
	events := told(t, broker)
	for _, w := range tasks {
		id, eventType := w.id+".archived@"+at.To(), schema.TypeTaskArchived
		if len(w.failures) > 0 {
			id, eventType = w.id+".archive-failed@"+at.To(), schema.TypeTaskArchiveFailed
		}
		e, ok := events[id]
		if !ok {
			t.Errorf("nothing is told of %s", w.id)
			continue
		}
		delete(events, id)
		if e.Type != eventType || e.Subject != w.id || e.Extensions["model"] != callbackModel {
			t.Errorf("of %s is told: %+v", w.id, e)
		}
		w.check(t, e, at.To(), files)
	}
	for id := range events {
		t.Errorf("%s is told as well", id)
	}
	for key := range files {
		t.Errorf("%s is there as well", key)
	}
}

// check holds an event against the task, and against the files that are there, of which it
// takes the task's.
func (w task) check(t testing.TB, e schema.Event, to string, files map[string]string) {
	t.Helper()
	told, err := e.Archived()
	if err != nil {
		t.Error(err)
		return
	}
	if told.ID != w.id || len(told.Files) != len(w.files) || len(told.Failures) != len(w.failures) {
		t.Errorf("of %s are told %+v\nand %+v", w.id, told.Files, told.Failures)
		return
	}
	for i, want := range w.files {
		got := told.Files[i]
		if got.URL != want.url || got.Bytes != want.bytes() || got.SHA256 != want.sha256() || got.MediaType != want.mediaType() {
			t.Errorf("%s: a file is told as %+v, and was %+v", w.id, got, want)
		}
		key, ok := strings.CutPrefix(got.Location, to+"/")
		dir, name := path.Split(key)
		if !ok || !safeName.MatchString(name) || strings.Count(dir, "/") != 1 || strings.HasPrefix(dir, ".") {
			t.Errorf("%s: a file is at %q", w.id, got.Location)
		}
		if files[key] != want.sha256() {
			t.Errorf("%s is not there as it was: %q", key, files[key])
		}
		delete(files, key)
	}
	for i, want := range w.failures {
		if got := told.Failures[i]; got.URL != want.url || got.Reason != want.reason || got.Detail == "" || strings.Contains(got.Detail, "s3cret") {
			t.Errorf("%s: a failure is told as %+v, and was %+v", w.id, got, want)
		}
	}
	if reason := e.Extensions["reason"]; len(w.failures) == 0 && (reason == schema.ReasonNoAddresses) != (len(w.files) == 0) {
		t.Errorf("%s: the reason is %q", w.id, reason)
	}
}

// clean removes what killed programs have left, as the archive does when nobody has worked on
// it for a while.
func clean(ctx context.Context, t testing.TB, broker string, at place) {
	t.Helper()
	spec, err := target.Parse(at.To())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := spec.Open(ctx, target.Options{JetStream: natstest.JetStream(t, broker), Environ: at.Environ(), Abandoned: time.Nanosecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if err := opened.Clean(ctx); err != nil {
		t.Error(err)
	}
}
