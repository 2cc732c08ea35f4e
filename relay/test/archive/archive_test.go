package archive

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
	"github.com/apixo-relay/apixo-relay/schema"
)

// limitBytes is RELAY_ARCHIVE_MAX_BYTES of the tests.
const limitBytes = 16 << 20

// settings let an archive read from an origin, and say what it logs.
func settings(relay *rig.Relay, o *origin, more ...string) []string {
	return append([]string{
		"NATS_URL=" + relay.Broker, "RELAY_ARCHIVE_HOSTS=" + o.URL, fmt.Sprintf("RELAY_ARCHIVE_MAX_BYTES=%d", limitBytes),
	}, more...)
}

// startRelay starts a relay with an embedded broker, which has the same address when it is
// started again.
func startRelay(ctx context.Context, t testing.TB, more ...string) *rig.Relay {
	t.Helper()
	p, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, p)
	addr, err := r.UnusedAddr()
	if err != nil {
		t.Fatal(err)
	}
	relay, err := r.StartRelay(ctx, append(more, "RELAY_EMBEDDED_ADDR="+addr)...)
	if err != nil {
		t.Fatal(err)
	}
	return relay
}

// atEach runs a test at each kind of place, with a relay and an origin of its own.
func atEach(t *testing.T, test func(ctx context.Context, t *testing.T, relay *rig.Relay, o *origin, at place)) {
	t.Parallel()
	for name := range places(nil) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := limited(t)
			relay := startRelay(ctx, t)
			test(ctx, t, relay, startOrigin(t), places(func(testing.TB) string { return relay.Broker })[name](t))
		})
	}
}

// Whatever an origin does, and whatever a webhook says, each file that can be had is stored
// whole, once, and nothing else is; each task is told of once, with the reason of what is not
// there.
func TestEverythingIsStoredOrTold(t *testing.T) {
	atEach(t, func(ctx context.Context, t *testing.T, relay *rig.Relay, o *origin, at place) {
		tasks := append(wellBehaved(o), hostile(o, startCanary(t))...)
		at.Watch(t, plainIDs(tasks)...)
		deliver(ctx, t, relay, tasks...)
		js := natstest.JetStream(t, relay.Broker)
		if _, err := js.Publish(ctx, "apixo.task.success", []byte("no event")); err != nil {
			t.Fatal(err)
		}
		const failed = `{"code":200,"data":{"taskId":"task_failed","state":"failed","failCode":"TIMEOUT"}}`
		if _, err := relay.PostBody(ctx, failed); err != nil {
			t.Fatal(err)
		}

		environ := settings(relay, o)
		if code := archive(t, environ, at, "--until-now").Wait(ctx, t); code != 1 {
			t.Errorf("the exit code is %d, where files could not be stored", code)
		}
		check(ctx, t, relay.Broker, at, tasks)
		checkDeadLetters(t, relay.Broker, "task_more", "task_garbage", "no event")

		// What was done is done.
		asked := o.AskedInAll()
		if code := archive(t, environ, at, "--until-now").Wait(ctx, t); code != 0 {
			t.Errorf("the exit code is %d, where nothing is left to do", code)
		}
		if again := o.AskedInAll() - asked; again != 0 {
			t.Errorf("an origin was asked for %d files that were stored before", again)
		}
		// Another consumer comes to the same, and tells nothing twice.
		archive(t, environ, at, "--until-now", "--durable", "another").Wait(ctx, t)
		check(ctx, t, relay.Broker, at, tasks)
		checkStoredOnce(ctx, t, at)
	})
}

// wellBehaved are tasks all of whose files can be had, sooner or later.
func wellBehaved(o *origin) []task {
	tasks := []task{
		good("task_pictures", o.URL+"/ok/one-200000.png", o.URL+"/chunked/two-3000.jpg?signature=s3cret", o.URL+"/ok/empty-0.bin"),
		good("task_large", o.URL+"/ok/film-12000000.mp4", o.URL+"/chunked/film-7000000.mp4"),
		good("task_late", o.URL+"/cut,2/cut-300000.png", o.URL+"/flaky,503,2/busy-1000.png", o.URL+"/flaky,429,1/often-1000.png", o.URL+"/slow/slow-400000.png"),
		good("task_less", o.URL+"/less/less-3000.png", o.URL+"/ok/after-3000.png"),
		good("..", o.URL+"/ok/dots-100.png"),
		good("a:b", o.URL+"/ok/colon-100.png"),
		good("task_names",
			o.URL+"/ok/%2e%2e%2f%2e%2e%2fescape-100.png", o.URL+"/ok/..%5c..%5cescape-101.png",
			o.URL+"/ok/"+strings.Repeat("long", 60)+"-102.png", o.URL+"/ok/%F0%9F%98%BA%00-103.png", o.URL+"/ok/.hidden-104.png"),
		{id: "task_none"},
	}
	names := &tasks[6]
	for i, name := range []string{"escape-100.png", "..\\..\\escape-101.png", strings.Repeat("long", 60) + "-102.png", "😺\x00-103.png", ".hidden-104.png"} {
		names.files[i].content = name
	}
	tasks[0].files[1].content = "two-3000.jpg"
	zipped := good("task_zipped", o.URL+"/gzip/zipped-9000.png")
	zipped.files[0].zipped = true
	redirected := task{id: "task_redirected", urls: []string{o.URL + "/redirect/a.png?to=/redirect/b.png?to=/ok/there-500.png"}}
	redirected.files = []file{{url: redirected.urls[0], content: "there-500.png"}}
	music := good("task_music", o.URL+"/ok/track-90000.mp3", o.URL+"/ok/cover-4000.jpg")
	music.result = map[string]any{"tracks": []any{map[string]any{"audio_url": music.urls[0], "title": "a://b", "image": map[string]any{"url": music.urls[1]}}}}
	return append(tasks, zipped, redirected, music)
}

// hostile are tasks that fail, each beside a file that does not.
func hostile(o *origin, c *canary) []task {
	const (
		invalid, notHTTPS, host     = schema.ReasonInvalidAddress, schema.ReasonNotHTTPS, schema.ReasonForbiddenHost
		gone, tooLarge, unavailable = schema.ReasonGone, schema.ReasonTooLarge, schema.ReasonUnavailable
	)
	failing := func(id string, addresses ...string) task { // by pairs of address and reason
		w := good(id, o.URL+"/ok/"+id+"-2000.png")
		for pair := range slices.Chunk(addresses, 2) {
			w.urls = append(w.urls, pair[0])
			w.failures = append(w.failures, failure{pair[0], pair[1]})
		}
		return w
	}
	more := failing("task_more", o.URL+"/more/more-1000.png", unavailable)
	garbage := failing("task_garbage", o.URL+"/garbage/garbage-1000.png", unavailable)
	more.expired, garbage.expired = true, true
	var many []string
	for i := range 499 {
		many = append(many, fmt.Sprintf("no address, %d", i), invalid)
	}
	tooMany := failing("task_many", many...)
	tooMany.urls = append(tooMany.urls, "one", "more")
	tooMany.failures = append(tooMany.failures, failure{"", schema.ReasonTooMany})
	return []task{
		more, garbage, tooMany,
		failing("task_forbidden",
			"https://files.example/x.png", host, "https://user:s3cret@cdn.apixo.ai/x.png", host, "http://cdn.apixo.ai/x.png", notHTTPS,
			c.URL+"/x.png", notHTTPS, "http://169.254.169.254/latest/meta-data/", notHTTPS, "https://[::1]/x.png", host,
			"file:///etc/passwd", invalid, "//cdn.apixo.ai/x.png", invalid, "", invalid),
		failing("task_astray",
			o.URL+"/redirect/a?to="+c.URL, notHTTPS, o.URL+"/redirect/b?to=http://169.254.169.254/", notHTTPS,
			o.URL+"/redirect/c?to=https://127.0.0.1/", host, o.URL+"/redirect/d?to=file:///etc/passwd", invalid,
			o.URL+"/redirect/e?to=/redirect/e?to=/redirect/e?to=/redirect/e?to=/ok/too-far-100.png", schema.ReasonTooManyRedirects),
		failing("task_gone", o.URL+"/status,403/a.png", gone, o.URL+"/status,404/b.png", gone, o.URL+"/status,410/c.png", gone,
			o.URL+"/expires/d-200000.png", gone, o.URL+"/status,400/e.png", schema.ReasonRefused),
		failing("task_too_large", o.URL+"/ok/a-99999999.bin", tooLarge, o.URL+"/endless/b-1000000.bin", tooLarge),
	}
}

// plainIDs are the ids of tasks that are names of folders as they stand.
func plainIDs(tasks []task) (ids []string) {
	for _, w := range tasks {
		if !strings.HasPrefix(w.id, ".") {
			ids = append(ids, w.id)
		}
	}
	return ids
}

// checkStoredOnce fails if anything was stored more than once.
func checkStoredOnce(ctx context.Context, t testing.TB, at place) {
	t.Helper()
	stored := at.Stored(ctx, t)
	if len(stored) == 0 {
		t.Error("nobody has seen anything stored")
	}
	for key, times := range stored {
		if times != 1 {
			t.Errorf("%s was stored %d times", key, times)
		}
	}
}

// checkDeadLetters holds the stream of dead letters against texts that each has to have.
func checkDeadLetters(t testing.TB, broker string, want ...string) {
	t.Helper()
	js := natstest.JetStream(t, broker, nats.MaxReconnects(-1))
	stream, err := js.Stream(t.Context(), "DEAD_LETTERS")
	if err != nil {
		t.Errorf("there are no dead letters: %v", err)
		return
	}
	left := make(map[string]bool)
	for sequence := range stream.CachedInfo().State.LastSeq {
		msg, err := stream.GetMsg(t.Context(), sequence+1)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Subject != "dead.apixo-archive" {
			t.Errorf("a dead letter has the subject %s", msg.Subject)
		}
		left[string(msg.Data)] = true
	}
	if len(left) != len(want) {
		t.Errorf("there are %d dead letters: %q", len(left), slices.Collect(maps.Keys(left)))
	}
	for _, text := range want {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(left)), func(letter string) bool { return strings.Contains(letter, text) }) {
			t.Errorf("there is no dead letter of %s", text)
		}
	}
}
