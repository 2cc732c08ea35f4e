package backfill_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/ops/backfill"
	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/schema"
)

// atomicTime is when something happened; in the far future while it has not.
type atomicTime struct{ nanos atomic.Int64 }

func (a *atomicTime) set(t time.Time) { a.nanos.Store(t.UnixNano()) }

func (a *atomicTime) get() time.Time {
	if n := a.nanos.Load(); n > 0 {
		return time.Unix(0, n)
	}
	return time.Now().Add(time.Hour)
}

// startRelay runs a real relay on the bench's broker, and returns its webhook URL.
func (b *bench) startRelay(t *testing.T, environ ...string) string {
	t.Helper()
	cfg, err := config.Load(append([]string{"NATS_URL=" + b.nats.ClientURL(), "RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=off", "RELAY_DATA_DIR=" + t.TempDir()}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.Start(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return cfg.WebhookURL(r.Addr(), "")
}

// webhook delivers the webhook of a task that has succeeded, and returns the answer.
func webhook(t *testing.T, url, taskID string) (answer struct {
	Sequence            uint64
	Duplicate, Conflict bool
}) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Post(url, "application/json", strings.NewReader(fakeapi.Result(taskID)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 || json.Unmarshal(body, &answer) != nil {
		t.Fatalf("%d %s %v", response.StatusCode, body, err)
	}
	return answer
}

// message is what is stored at a sequence, its event decoded.
func (b *bench) message(t *testing.T, sequence uint64) (*jetstream.RawStreamMsg, schema.Event) {
	t.Helper()
	stream, err := b.js.Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetMsg(t.Context(), sequence)
	if err != nil {
		t.Fatal(err)
	}
	e, err := schema.DecodeMessage(msg.Header, msg.Data)
	if err != nil {
		t.Fatal(err)
	}
	return msg, e
}

// A result that was fetched is the event that its webhook would have been, but for the header
// that tells so; a webhook that comes late changes nothing, nor does a second run.
func TestSameAsWebhook(t *testing.T) {
	t.Parallel()
	for _, environ := range [][]string{
		nil,
		{"RELAY_CE_MODE=binary", "RELAY_CE_SOURCE=urn:apixo"},
		{"RELAY_CALLBACK_ATTRIBUTES=project"},
	} {
		t.Run(strings.Join(environ, " "), func(t *testing.T) {
			t.Parallel()
			b := open(t, environ...)
			url := b.startRelay(t, environ...) + "?model=nano-banana"
			if first := webhook(t, url, "task_A"); first.Sequence != 1 || first.Duplicate {
				t.Fatal(first)
			}
			out := b.run(t.Context(), t, nil, "task_A", "task_B")
			if out.err != nil || out.results["task_A"].Result != backfill.Already || out.results["task_A"].Sequence != 1 ||
				out.results["task_B"].Result != backfill.Stored || out.results["task_B"].Sequence != 2 || out.summary.Requests != 1 {
				t.Fatal(out)
			}
			a, eventA := b.message(t, 1)
			fetched, eventB := b.message(t, 2)
			if a.Header.Get(schema.HeaderRecovered) != "" || fetched.Header.Get(schema.HeaderRecovered) != "backfill" {
				t.Errorf("recovered: %q and %q", a.Header, fetched.Header)
			}
			fetched.Header.Del(schema.HeaderRecovered)
			// All else but the id is the same, to the byte.
			renamed := strings.ReplaceAll(string(fetched.Data), "task_B", "task_A")
			for _, values := range fetched.Header {
				for i := range values {
					values[i] = strings.ReplaceAll(values[i], "task_B", "task_A")
				}
			}
			// What the broker adds is its own affair.
			own := func(h nats.Header) nats.Header {
				for name := range h {
					if strings.HasPrefix(name, "Nats-") && name != jetstream.MsgIDHeader {
						delete(h, name)
					}
				}
				return h
			}
			if a.Subject != fetched.Subject || renamed != string(a.Data) || !reflect.DeepEqual(own(a.Header), own(fetched.Header)) {
				t.Errorf("the webhook's:\n%s %v\n%s\nthe one that was fetched:\n%s %v\n%s", a.Subject, a.Header, a.Data, fetched.Subject, fetched.Header, renamed)
			}
			if want := slices.Contains(b.config.Event.Attributes, "model"); (eventA.Extensions["model"] == "nano-banana") != want || (eventB.Extensions["model"] == "nano-banana") != want {
				t.Errorf("models %v and %v", eventA.Extensions, eventB.Extensions)
			}

			if binary := b.config.Event.Mode == config.ModeBinary; (fetched.Header.Get("ce-id") != "") != binary || eventB.Source != b.config.Event.Source {
				t.Errorf("mode or source are not those of the configuration: %v", fetched.Header)
			}

			if late := webhook(t, url, "task_B"); late.Sequence != 2 || !late.Duplicate || late.Conflict {
				t.Errorf("the late webhook: %+v", late)
			}
			again := b.run(t.Context(), t, nil, "task_A", "task_B")
			if again.err != nil || again.summary.Already != 2 || again.summary.Requests != 0 {
				t.Errorf("the second run: %+v", again)
			}
			if n := len(b.stored(t)); n != 2 {
				t.Errorf("%d events for two tasks", n)
			}
		})
	}
}

// pastWindow returns when the broker has forgotten what was stored before.
func (b *bench) pastWindow(t *testing.T) {
	t.Helper()
	for {
		ack, err := b.js.Publish(t.Context(), "apixo.task.success", []byte("{}"), jetstream.WithMsgID("probe"))
		if err != nil {
			t.Fatal(err)
		}
		if !ack.Duplicate && ack.Sequence > 2 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// What the broker has forgotten the run finds in the stream.
func TestBeyondWindow(t *testing.T) {
	t.Parallel()
	b := open(t, "RELAY_DEDUPE_WINDOW=100ms")
	if out := b.run(t.Context(), t, nil, "task_A"); out.err != nil || out.summary.Stored != 1 {
		t.Fatal(out)
	}
	b.pastWindow(t)
	out := b.run(t.Context(), t, nil, "task_A")
	if out.err != nil || out.summary.Already != 1 || out.results["task_A"].Sequence != 1 || out.summary.Requests != 0 {
		t.Errorf("%+v", out)
	}
	if found := b.sequences(t, "task_A"); len(found) != 1 {
		t.Errorf("task_A is stored at %v", found)
	}
}

// A webhook that comes while the API is asked is not stored again, however long
// the API takes to answer.
func TestWebhookComesMeanwhile(t *testing.T) {
	t.Parallel()
	b := open(t, "RELAY_DEDUPE_WINDOW=100ms")
	url := b.startRelay(t, "RELAY_DEDUPE_WINDOW=100ms")
	b.api.Set("task_A", func(w http.ResponseWriter, r *http.Request, id string) {
		webhook(t, url, "task_A")
		b.pastWindow(t)
		fakeapi.Success(w, r, id)
	})
	out := b.run(t.Context(), t, nil, "task_A")
	if r := out.results["task_A"]; out.err != nil || r.Result != backfill.Already || r.Sequence != 1 || r.State != "success" {
		t.Errorf("%+v", out)
	}
	if found := b.sequences(t, "task_A"); len(found) != 1 {
		t.Errorf("task_A is stored at %v", found)
	}
}

// Where another outcome is stored under the id, the broker's word counts, and what
// the API tells is kept.
func TestConflict(t *testing.T) {
	t.Parallel()
	b := open(t)
	// The message is not among those that are looked through.
	if _, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "APIXO", Subjects: []string{"apixo.task.>", "other"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.js.Publish(t.Context(), "other", []byte("{}"), jetstream.WithMsgID("task_A")); err != nil {
		t.Fatal(err)
	}
	out := b.run(t.Context(), t, nil, "task_A")
	if r := out.results["task_A"]; out.err != nil || r.Result != backfill.Conflict || r.Sequence != 1 || out.summary.Conflict != 1 {
		t.Errorf("%+v", out)
	}
	quarantine, err := b.js.Stream(t.Context(), "APIXO_QUARANTINE")
	if err != nil || quarantine.CachedInfo().State.Msgs != 1 {
		t.Errorf("it is not in the quarantine: %v", err)
	}
}

// What an operator has removed comes back, and what came back is known the next time.
func TestEventThatWasRemoved(t *testing.T) {
	t.Parallel()
	b := open(t)
	url := b.startRelay(t)
	webhook(t, url, "task_A")
	stream, err := b.js.Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"task_A~1", "task_A~2"} {
		sequence := uint64(i + 2)
		if err := stream.DeleteMsg(t.Context(), sequence-1); err != nil {
			t.Fatal(err)
		}
		for _, result := range []string{backfill.Stored, backfill.Already} {
			out := b.run(t.Context(), t, nil, "task_A")
			if got := out.results["task_A"]; out.err != nil || got.Result != result || got.Sequence != sequence {
				t.Errorf("%+v", out)
			}
		}
		if msg, e := b.message(t, sequence); msg.Header.Get(jetstream.MsgIDHeader) != want || e.ID != "task_A" {
			t.Errorf("stored is %v with the event %s", msg.Header, e.ID)
		}
	}
	if again := webhook(t, url, "task_A"); again.Sequence != 3 || !again.Duplicate {
		t.Errorf("the webhook is %+v", again)
	}
}
