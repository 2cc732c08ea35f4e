package browser

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// The report says what does not hold and what to do about it, and is made anew on request.
func TestChecks(t *testing.T) {
	t.Parallel()
	browser(t)
	nats := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, nats.ClientURL())
	stream := jetstream.StreamConfig{Name: "APIXO", Subjects: []string{"apixo.task.>"}, Discard: jetstream.DiscardNew, Duplicates: time.Minute}
	if _, err := js.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	r := startRelay(t, "NATS_URL="+nats.ClientURL())
	page := startUI(t, append(r.environ(), "NATS_URL="+nats.ClientURL()))
	tab := newTab(t, desktop)
	tab.view("checks", page.URL+"/checks")
	tab.await(`document.querySelector('#report tr[data-status="fail"]')`)
	tab.reads(`#report tr[data-status="fail"]`, "RELAY_STREAM_POLICY", "What to do:")
	if n := tab.count("#report tbody tr"); n < 8 {
		t.Errorf("the report has %d lines", n)
	}
	stream.Duplicates = time.Hour
	if _, err := js.UpdateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	tab.click("#again button")
	tab.await(`document.readyState === "complete" && document.querySelector("#report") && !document.querySelector('#report tr[data-status="fail"]')`)
}
