package browser

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// many is how many events the stream of look-ups has.
const many = 300_000

// Tasks are found in a long stream, those in the index at once and the others by a search,
// of which the page tells how far it has come; what is nowhere is not found.
func TestLookUps(t *testing.T) {
	t.Parallel()
	browser(t)
	nats := natstest.Start(t, natstest.Options(t))
	r := startRelay(t, "NATS_URL="+nats.ClientURL())
	fill(t, nats, many)
	settings := append(r.environ(), "NATS_URL="+nats.ClientURL())
	whole, small := startUI(t, settings), startUI(t, append(settings, "RELAY_UI_INDEX=1000"))

	t.Run("in the index", func(t *testing.T) {
		t.Parallel()
		tab := newTab(t, desktop)
		tab.view("now", whole.URL+"/")
		tab.awaitLong(`document.querySelector("#indexed").innerText === ""`)
		for _, n := range []int{many, many / 2, 1} {
			tab.finds(whole, numbered(n))
		}
		tab.expect("status of 404")
		if status := tab.open(whole.URL + "/tasks/look_nobody"); status != 404 {
			t.Errorf("a task of which nothing is known is answered %d", status)
		}
		tab.showing("error")
		tab.reads("main", "look_nobody")
		// As a person looks one up.
		tab.choose("#find", numbered(77))
		tab.click(".find button")
		tab.await(`document.querySelector("h1").innerText === %q`, numbered(77))
	})
	for name, l := range map[string]look{"by a search": desktop, "by a search, without scripts": {width: 1280, height: 900, noScripts: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tab := newTab(t, l)
			tab.finds(small, numbered(many))
			tab.expect("status of 404")
			wanted := map[string]string{numbered(1): "task", "look_nobody": "error"}
			if l.noScripts {
				wanted = map[string]string{numbered(2): "task"} // which is another search
			}
			for id, view := range wanted {
				if status := tab.open(small.URL + "/tasks/" + id); status != 200 {
					t.Errorf("what is being searched for is answered %d: %s", status, tab.text("main"))
				}
				if shown := tab.attribute("body", "data-view"); shown == "search" {
					tab.picture("search-" + l.name())
					if !tab.has("progress#scan") {
						t.Error("nothing tells how far the search has come")
					}
				} else if shown != view {
					t.Errorf("%s is shown as %s", id, shown)
				}
				tab.awaitLong(`document.readyState === "complete" && document.body && document.body.dataset.view !== "search"`)
				tab.showing(view)
				tab.reads("main", id)
			}
		})
	}
}

// finds looks a task up at its own address.
func (t *tab) finds(page *ui, id string) {
	t.Helper()
	if status := t.open(page.URL + "/tasks/" + id); status != 200 {
		t.Errorf("%s is answered %d", id, status)
	}
	t.showing("task")
	if got := t.text("h1"); got != id {
		t.Errorf("%s was asked for, and %s is shown", id, got)
	}
	t.reads("#json", `"`+id+`"`)
}

func numbered(n int) string { return fmt.Sprintf("look_%07d", n) }

// fill stores events as the relay does, as fast as the broker takes them.
func fill(t *testing.T, s *server.Server, n int) {
	t.Helper()
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	var once sync.Once
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(4000), jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
		once.Do(func() { t.Errorf("an event is not stored: %v", err) })
	}))
	if err != nil {
		t.Fatal(err)
	}
	const id = "look_0000000"
	event := fmt.Appendf(nil, `{"specversion":"1.0","id":%[1]q,"source":"https://api.apixo.ai","type":"ai.apixo.task.success","subject":%[1]q,"time":"2026-01-01T00:00:12.5Z","datacontenttype":"application/json","model":"nano-banana",`+
		`"data":{"taskId":%[1]q,"state":"success","resultJson":"{\"resultUrls\":[\"https://cdn.apixo.ai/output/%[1]s.jpg\"]}","costTime":12500,"createTime":1767225600000,"completeTime":1767225612500,"resultUrls":["https://cdn.apixo.ai/output/%[1]s.jpg"]}}`, id)
	for i := range n {
		task := numbered(i + 1)
		msg := &nats.Msg{Subject: "apixo.task.success", Data: bytes.ReplaceAll(event, []byte(id), []byte(task)), Header: nats.Header{
			"Content-Type": {"application/cloudevents+json"}, "Nats-Msg-Id": {task},
		}}
		if _, err := js.PublishMsgAsync(msg, jetstream.WithStallWait(patience)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	info, err := js.Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	if got := info.CachedInfo().State.Msgs; got != uint64(n) {
		t.Fatalf("%d events are stored, want %d", got, n)
	}
}

// Each id that APIXO may give leads to its task, whatever it means in an address.
func TestOddIDs(t *testing.T) {
	t.Parallel()
	browser(t)
	r := startRelay(t)
	page := startUI(t, r.environ())
	ids := []string{".", "..", "...", "a:b", "http:", "javascript:a", "__proto__", "-", "export", "put-aside", strings.Repeat("x", 128)}
	for _, id := range ids {
		r.deliver(t, picture1(id))
	}
	tab := newTab(t, desktop)
	tab.view("events", page.URL+"/events")
	// As the browser understands them.
	var links []string
	for i := range ids {
		links = append(links, eval[string](tab, fmt.Sprintf(`document.querySelector('#events tr[data-seq="%d"] a').href`, i+1)))
	}
	for i, id := range ids {
		tab.view("task", links[i])
		if got := tab.text("h1"); got != id {
			t.Errorf("the link of %s leads to %s", id, got)
		}
		tab.choose("#find", id)
		tab.submit(".find button")
		tab.showing("task")
		if got := tab.text("h1"); got != id {
			t.Errorf("looking for %s leads to %s", id, got)
		}
	}
}
