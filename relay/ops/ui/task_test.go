package ui

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/expected"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// A task is shown with all that its event tells.
func TestTask(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	sequence := s.webhook(t, success("task_1", "https://cdn.apixo.ai/a.png"), "model", "nano-banana", "customer", "4711")
	p := s.site(t)
	p.known(s)
	d := p.view("task", "/tasks/task_1")
	if got := d.one("h1").text(); got != "task_1" {
		t.Errorf("the heading is %q", got)
	}
	for name, want := range map[string]string{"stream": fmt.Sprintf("APIXO, sequence %d", sequence), "subject": "apixo.task.success", "model": "nano-banana", "took": "12.5 s", "recovered": "", "fail code": ""} {
		if got := d.fact("dl#event", name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := d.fact("#attributes", "customer"); got != "4711" {
		t.Errorf("the attribute customer is %q", got)
	}
	var steps []string
	for _, step := range d.all("ol#timeline li") {
		name, _, _ := strings.Cut(step.text(), " 20")
		if step.attr("class") == "future" {
			name += ", to come"
		}
		steps = append(steps, name)
	}
	if want := []string{"created", "completed", "stored", "addresses expire, to come"}; !slices.Equal(steps, want) {
		t.Errorf("the timeline is %q, want %q", steps, want)
	}
	d.one("ul#deliveries").says("none that contradicts it")
	d.one("pre#json").says(`"id": "task_1"`)
	d.one("pre#commands").says(fmt.Sprintf("apixo-relay replay --from-seq %d --to-seq %[1]d --to -", sequence))

	s.webhook(t, failed("task_2", "CONTENT_VIOLATION"))
	d = p.view("task", "/tasks/task_2")
	if got := d.fact("dl#event", "fail code"); got != "CONTENT_VIOLATION" {
		t.Errorf("the fail code is %q", got)
	}
	d.none("#media")
	if slices.Contains(d.texts("ol#timeline li span"), "addresses expire") {
		t.Error("nothing was made, and expires")
	}
}

// An event is found as soon as it is stored.
func TestTaskIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	p := s.site(t)
	p.known(s)
	for i := range 50 {
		s.webhook(t, success(id(i)))
		p.view("task", "/tasks/"+id(i))
	}
}

// Ids are whatever the contract allows.
func TestTaskIDs(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	p := s.site(t)
	for _, id := range []string{".", "..", "...", "a:b", ":", "-", "~"[:0] + "_", strings.Repeat("x", 128), "A.b-c_d:e", "0"} {
		sequence := s.webhook(t, success(id, "https://cdn.example.com/a.png"))
		s.conflict(t, failed(id, "OTHER"), "it tells another outcome")
		p.known(s)
		for _, list := range []string{fmt.Sprintf(`/events tr[data-seq=%d] a`, sequence), `/quarantine table td a`} {
			path, selector, _ := strings.Cut(list, " ")
			links := documentOf(t, p.get(path)).attrs(strings.ReplaceAll(selector, "-seq=", "-seq="), "href")
			if len(links) == 0 {
				t.Errorf("%q: %s has no link", id, path)
				continue
			}
			link := links[0]
			u, err := url.Parse(link)
			if err != nil || !strings.HasPrefix(link, "/tasks") || u.Path != "/tasks/"+id && u.Query().Get("id") != id {
				t.Errorf("%q: %s links to %q", id, path, link)
			}
			d := p.view("task", link)
			if got := d.one("h1").text(); got != id {
				t.Errorf("%q: %s leads to %q", id, link, got)
			}
			if n := len(d.all("ul#deliveries a")); n != 1 {
				t.Errorf("%q: there are %d other deliveries", id, n)
			}
			// A click on the page comes back to it, and shows the picture.
			ask := d.one("[class=media-ask] a").attr("href")
			p.view("task", ask, "Sec-Fetch-Site", "same-origin").one("img[src=https://cdn.example.com/a.png]")
		}
	}
}

// What else came about a task is listed beside its event, and found without one.
func TestTaskDeliveries(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	publish := func(msgID, body string) uint64 {
		msg, err := s.encoder.Encode(event.Delivery{Body: []byte(body), Received: time.Now()})
		msg.ID = msgID
		return s.publish(t, msg, err)
	}
	first := publish("task_1", success("task_1", "https://cdn.apixo.ai/old.png"))
	second := publish("task_1~2", success("task_1", "https://cdn.apixo.ai/new.png"))
	conflict := s.conflict(t, failed("task_1", "OTHER"), "it tells failed, success is stored")
	cut := s.webhook(t, `{"data":{"taskId" : "task_1","state":"succ`)
	running := s.webhook(t, `{"data":{"taskId":"task_2","state":"running"}}`)
	s.webhook(t, success("task_1x"))
	s.webhook(t, `{"data":{"taskId":"task_12","state":"running"}}`)
	foreign, err := s.js.Publish(t.Context(), "apixo.quarantine.other", []byte(`no event, "taskId":"task_2"`))
	if err != nil {
		t.Fatal(err)
	}
	missing, err := s.encoder.Missing(schema.MissingTask{ID: "a:b", Announced: time.Now().UTC(), Asked: 3, LastAnswer: "pending"}, "given-up", "it did not come", nil, time.Now())
	gone := s.publish(t, missing, err)
	rejection := &schema.Error{Kind: schema.ErrNotAnnouncement, Code: schema.CodeModel, Detail: "model is 1"}
	announcement, err := s.encoder.RejectedAnnouncement(schema.ExpectedKey("a:b"), []byte(`{"model":1}`), rejection, time.Now())
	badly := s.publish(t, announcement, err)
	p := s.site(t)
	p.known(s)

	d := p.view("task", "/tasks/task_1")
	d.one("img[src=https://cdn.apixo.ai/new.png]")
	d.none("img[src=https://cdn.apixo.ai/old.png]")
	if got, want := d.attrs("ul#deliveries a", "href"), []string{"/events?before=" + digits(first+1), quarantinePath(cut), quarantinePath(conflict)}; !slices.Equal(got, want) {
		t.Errorf("beside the event at %d there are %q, want %q", second, got, want)
	}
	p.view("events", "/events?before="+digits(first+1)).one(fmt.Sprintf("tr[data-seq=%d]", first))

	d = p.view("task", "/tasks/task_2")
	d.says("No event is stored for it")
	d.none("#json")
	if got, want := d.attrs("ul#deliveries a", "href"), []string{quarantinePath(foreign.Sequence), quarantinePath(running)}; !slices.Equal(got, want) {
		t.Errorf("of a task without an event there are %q, want %q", got, want)
	}
	d.says("unknown the message is no CloudEvent")

	d = p.view("task", "/tasks/a:b")
	if got, want := d.attrs("ul#deliveries a", "href"), []string{quarantinePath(badly), quarantinePath(gone)}; !slices.Equal(got, want) {
		t.Errorf("of a missing task there are %q, want %q", got, want)
	}
	// What the quarantine shows leads back to it.
	for _, sequence := range []uint64{badly, gone} {
		if links := p.view("quarantined", quarantinePath(sequence)).attrs("dl#event a", "href"); !slices.Equal(links, []string{"/tasks/a:b"}) {
			t.Errorf("%d links to %q", sequence, links)
		}
	}
	p.get("/tasks/task").refused(t, http.StatusNotFound, "Nothing in the streams")
}

// Without an event it is told that a task is announced, and how its event came without a webhook.
func TestTaskExpectedAndRecovered(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	p := s.site(t)
	p.known(s)
	bucket, err := expected.OpenBucket(t.Context(), s.js, p.cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"task_1", "a:b", ".."} {
		if _, _, err := bucket.Announce(t.Context(), id, schema.ExpectedTask{Model: "nano", Attributes: map[string]string{"customer": "4711"}}); err != nil {
			t.Fatal(err)
		}
		d := p.view("task", taskPath(id))
		d.says("It is announced, and its webhook has not come")
		if d.fact("dl#event", "asked for") != "not yet" || d.fact("dl#event", "model") != "nano" || d.fact("#attributes", "customer") != "4711" {
			t.Errorf("%s: %s, %s", id, d.one("dl#event").text(), d.one("#attributes").text())
		}
		p.view("expected", "/expected").one("div#outstanding a[href=" + taskPath(id) + "]")
	}
	d := p.view("expected", "/expected")
	if got := len(d.all("div#outstanding tbody tr")); got != 3 {
		t.Errorf("%d tasks are outstanding", got)
	}
	for by, want := range map[string]string{schema.RecoveredReconciled: "by the relay", schema.RecoveredBackfill: "by backfill", "later": "by"} {
		s.deliver(t, event.Delivery{Body: []byte(success("task_" + by)), Recovered: by})
		d := p.view("task", "/tasks/task_"+by)
		if got := d.fact("dl#event", "recovered"); !strings.Contains(got, "its webhook did not come") {
			t.Errorf("%s: recovered is %q", by, got)
		}
		p.eventually("it is listed", func() bool { return len(p.feed.Recovered()) > 0 && p.feed.Recovered()[0].TaskID == "task_"+by })
		p.view("expected", "/expected").one("div#recovered").says("task_" + by + " " + want)
	}
	missing, err := s.encoder.Missing(schema.MissingTask{ID: "task_gone", Announced: time.Now().UTC()}, "given-up", "it did not come", nil, time.Now())
	sequence := s.publish(t, missing, err)
	p.view("expected", "/expected").one("div#missing a[href=" + quarantinePath(sequence) + "]")
}

// A candidate of the index that is about another task is none.
func TestTaskOfAnotherHash(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.webhook(t, success("task_1"))
	// Whoever publishes can have another id in the header than in the event.
	msg, err := s.encoder.Encode(event.Delivery{Body: []byte(success("task_true")), Received: time.Now()})
	msg.ID = "task_header"
	s.publish(t, msg, err)
	m := nats.NewMsg("apixo.task.success")
	m.Header.Set("Nats-Msg-Id", "task_none")
	m.Data = []byte("no CloudEvent")
	if _, err := s.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	p := s.site(t)
	p.known(s)
	for _, id := range []string{"task_header", "task_none"} {
		p.get("/tasks/"+id).refused(t, http.StatusNotFound, "Nothing in the streams")
	}
	p.view("events", "/events").one("tr[data-seq=3]").says("unknown")
}

// Every example of a webhook is shown.
func TestTaskExamples(t *testing.T) {
	t.Parallel()
	for name, wants := range map[string][]string{
		"success.json":              {"img"},
		"success-music-object.json": {"audio[src=https://cdn.apixo.ai/output/t1.mp3]", "img[src=https://cdn.apixo.ai/output/t1.jpg]"},
		"success-many-urls.json":    {"img"},
		"failed.json":               {},
	} {
		body, err := os.ReadFile(filepath.Join(relaytest.Root, "schema", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		w, err := schema.ParseWebhook(body)
		if err != nil {
			t.Fatal(err)
		}
		s := newStore(t)
		s.webhook(t, string(body))
		p := s.site(t)
		p.known(s)
		d := p.view("task", "/tasks/"+w.Task.ID)
		for _, want := range wants {
			if len(d.all("div#media "+want)) == 0 {
				t.Errorf("%s: there is no %s", name, want)
			}
		}
		if len(wants) == 0 {
			d.none("#media")
		} else if n := len(d.all("div#media figure")); n < len(w.Task.ResultURLs) {
			t.Errorf("%s: %d of %d are shown", name, n, len(w.Task.ResultURLs))
		}
	}
}
