package browser

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

// The picture in the README is of a relay in whose last hour something has happened: its clock
// is stepped through that hour. It is taken only where pictures are asked for, before the
// other tests.
func TestReadmePicture(t *testing.T) {
	dir := os.Getenv("BROWSER_PICTURES")
	if dir == "" {
		t.Skip("no picture is asked for: BROWSER_PICTURES is not set")
	}
	browser(t)
	t.Chdir(relaytest.Root) // where the relay can be built otherwise than for everybody
	programs, err := rig.BuildWithClocks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = programs.Remove() }) // what is left there harms nobody
	stage, err := rig.New(programs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stage.Close(); err != nil {
			t.Error(err)
		}
	})
	clock, err := stage.NewClock()
	if err != nil {
		t.Fatal(err)
	}
	started, err := stage.StartRelay(t.Context(), clock.Environ(), "RELAY_EMBEDDED_SYNC=interval", "RELAY_CALLBACK_ATTRIBUTES=model,tenant")
	if err != nil {
		t.Fatal(err)
	}
	if err := started.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := relay{&relaytest.Relay{Webhooks: started.URL(), Broker: started.Broker, Admin: started.Admin}}
	js := natstest.JetStream(t, r.Broker)
	consumers := make(map[string]jetstream.Consumer)
	for _, name := range []string{"thumbnails", "billing"} {
		if consumers[name], err = js.CreateConsumer(t.Context(), "APIXO", jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1}); err != nil {
			t.Fatal(err)
		}
	}
	models := []string{"nano-banana", "flux-kontext", "seedream-4", "veo-3"}
	for minute := 59; minute >= 0; minute-- {
		if err := clock.Set(-time.Duration(minute) * time.Minute); err != nil {
			t.Fatal(err)
		}
		wave := 1 + math.Sin(float64(minute)/9)
		for n := range int(4 + 6*wave + 5*math.Abs(math.Sin(float64(minute)*1.7))) {
			id, model := fmt.Sprintf("task_%s%02d%02d", string("kqvz"[n%4]), 59-minute, n), models[(minute+n)%len(models)]
			w := picture1(id)
			w.ended = time.Duration(minute)*time.Minute + time.Duration(300+200*n+minute%7*150)*time.Millisecond
			switch {
			case (minute+3*n)%17 == 0:
				w = failure(id, "CONTENT_VIOLATION", "The prompt was blocked by the content policy")
				w.ended = time.Duration(minute) * time.Minute
			case model == "veo-3":
				w.urls = []string{"https://" + cdnHost + "/output/" + id + ".mp4"}
			case model == "seedream-4":
				w.urls = append(w.urls, "https://"+cdnHost+"/output/"+id+"-2.jpg", "https://"+cdnHost+"/output/"+id+"-3.jpg")
			}
			w.model = model
			r.deliver(t, w)
		}
		if minute%13 == 4 {
			r.send(t, fmt.Sprintf(`{"code":200,"data":{"taskId":"task_m%02d","state":"done"}}`, minute), url.Values{"model": {"nano-banana"}})
		}
	}
	r.send(t, `{"code":200,"data":{"taskId":"task_cut","state":"suc`, nil)
	r.deliver(t, picture1("task_v5998"), picture1("task_v5999"))
	for name, left := range map[string]int{"thumbnails": 0, "billing": 40} {
		info, err := consumers[name].Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range int(info.NumPending) - left {
			msg, err := consumers[name].Next()
			if err != nil {
				t.Fatal(err)
			}
			if err := msg.Ack(); err != nil {
				t.Fatal(err)
			}
		}
	}
	page := startUI(t, r.environ())
	for _, dark := range []bool{false, true} {
		l := look{width: 1200, height: 1020, dark: dark}
		tab := newTab(t, l)
		tab.view("now", page.URL+"/")
		tab.await(`document.querySelectorAll("#chart-lag rect").length >= 116 && Array.from(document.images).filter(i => i.getBoundingClientRect().top < innerHeight).every(i => i.naturalWidth > 0)`)
		ctx, cancel := context.WithTimeout(tab.ctx, patience)
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		cancel()
		tab.must("take a picture", err)
		if err := os.WriteFile(filepath.Join(dir, "readme-"+l.name()+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
