package browser

import (
	"bytes"
	"image/png"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/archive/target"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// archive stores files as those of a task, and tells of them and of what is missing.
func (r relay) archive(t *testing.T, id string, missing []schema.ArchiveFailure, contents ...[]byte) {
	t.Helper()
	js := natstest.JetStream(t, r.Broker)
	if _, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: schema.DefaultArchive, Subjects: []string{schema.ArchiveSubjects(schema.DefaultPrefix)}}); err != nil {
		t.Fatal(err)
	}
	spec, err := target.Parse("nats:FILES")
	if err != nil {
		t.Fatal(err)
	}
	files, err := spec.Open(t.Context(), target.Options{JetStream: js, LargestFile: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	told := schema.ArchivedTask{ID: id, Failures: missing}
	for i, content := range contents {
		address := archivedURLs(id)[i]
		key := target.Key(id, i+1, address)
		o, err := files.Put(t.Context(), key, bytes.NewReader(content), target.Meta{Source: address})
		if err != nil {
			t.Fatal(err)
		}
		told.Files = append(told.Files, schema.ArchivedFile{URL: address, Location: files.Location(key), Bytes: o.Bytes, MediaType: target.Sniff(content), SHA256: o.SHA256})
	}
	msg, err := event.Encoder{Source: "https://api.apixo.ai", Prefix: schema.DefaultPrefix}.Archived(told, files.String(), nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: msg.Subject, Data: msg.Data, Header: nats.Header{jetstream.MsgIDHeader: {msg.ID}}}
	for name, values := range msg.Header {
		m.Header[name] = values
	}
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func archivedURLs(id string) (urls []string) {
	for _, name := range []string{"-sunset.png", "-waves.wav", "-page.png", "-gone.jpg"} {
		urls = append(urls, "https://"+cdnHost+"/output/"+id+name)
	}
	return urls
}

// A task whose addresses have expired shows what the archive has, of the page itself and of nobody
// else; what only looks like a picture is not shown. Everybody can use it.
func TestArchive(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	page := startUI(t, r.environ())
	const id = "archive_task"
	r.deliver(t, webhook{id: id, model: "nano-banana", urls: archivedURLs(id), ended: 30 * time.Hour})
	var sunset bytes.Buffer
	if err := png.Encode(&sunset, picture("sunset")); err != nil {
		t.Fatal(err)
	}
	gone := []schema.ArchiveFailure{{URL: archivedURLs(id)[3], Reason: schema.ReasonGone, Detail: "the origin answered 404, as it does for what has expired"}}
	r.archive(t, id, gone, sunset.Bytes(), sound(), []byte("<!doctype html><script>window.pwned = 1</script>"))

	tab := newTab(t, desktop)
	address := page.URL + "/tasks/" + id
	await(t, "the page does not know the archive", func() bool {
		_, _, text := ask(t, "GET", address, "")
		return strings.Contains(text, "In the archive")
	})
	tab.view("task", address)
	tab.await(`document.querySelector("#media img").naturalWidth === 320`)
	if src := tab.attribute("#media img", "src"); src != "/tasks/"+id+"/files/1" {
		t.Errorf("the picture is that of %s", src)
	}
	if n := tab.count("#media img"); n != 1 {
		t.Errorf("%d pictures are shown", n)
	}
	tab.reads("#media", "the archive has it, as text/html", "its address has expired, and the archive does not have it: gone")
	tab.reads("#archive", "nats:FILES/"+id+"/01-"+id+"-sunset.png", "image/png", "audio/wav")
	tab.reads("#archive-failures", "gone", "as it does for what has expired")
	tab.reads("#commands", "apixo-relay fetch "+id)
	tab.do("play", play(eval[string](tab, `document.querySelector("audio").id = "archived"`)))
	tab.await(`document.getElementById("archived").duration > 0.05`)
	if asked := tab.b.cdn.of(id); len(asked) > 0 {
		t.Errorf("dead addresses are asked for: %+v", asked)
	}
	tab.accessible("archived-task")
	tab.reachable()
	for _, asked := range tab.requested() {
		if asked.url.Host != host(page.URL) && asked.url.Scheme != "data" { // which are the buttons of the player
			t.Errorf("it loads %s", asked.url)
		}
	}

	// By its own address it is shown as well, though not as the browser would like to adorn it.
	alone := newTab(t, desktop)
	alone.expect("inline style", "style-src-attr")
	alone.open(page.URL + "/tasks/" + id + "/files/1")
	alone.await(`document.images[0].naturalWidth === 320`)
	status, header, _ := ask(t, "GET", page.URL+"/tasks/"+id+"/files/3", "")
	if disposition := header.Get("Content-Disposition"); status != 200 || !strings.HasPrefix(disposition, "attachment;") {
		t.Errorf("a page that calls itself a picture: %d, %q", status, disposition)
	}
}
