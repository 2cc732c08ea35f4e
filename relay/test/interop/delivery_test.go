package interop

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// What is here holds schema/DELIVERY.md to its word, by means of the examples
// that it names.

const (
	// shortWait is after how long an unacknowledged event comes again in these
	// tests: as short as a busy machine bears between two signs of life.
	shortWait = 2 * time.Second
	backoff   = 50 * time.Millisecond
)

// world is a running relay and a way to look into its broker.
type world struct {
	relay
	js jetstream.JetStream
	nc *nats.Conn
}

func startWorld(ctx context.Context, t *testing.T) world {
	t.Helper()
	r := startRelay(t, relaytest.Build(t, "./cmd/apixo-relay"), "structured")
	nc := connect(t, r.Broker)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return world{r, js, nc}
}

// consumerInfo is what the broker knows of a durable consumer.
func (w world) consumerInfo(ctx context.Context, t *testing.T, durable string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := w.js.Consumer(ctx, schema.DefaultStream, durable)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}

// A worker that dies between its work and the acknowledgement gets the event again.
func TestWorkWithoutAcknowledgementIsDoneAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
	defer cancel()
	w := startWorld(ctx, t)
	w.post(ctx, t, succeeded(t, "again", "https://cdn.apixo.ai/a.png"))
	for _, worker := range workers(t) {
		options := map[string]any{"durable": worker.name, "count": 1, "ack-wait": shortWait}
		for _, printed := range [][]string{worker.runUntilAck(ctx, t, w.Broker, options), worker.run(ctx, t, w.Broker, options)} {
			if len(about("again", printed)) != 1 {
				t.Errorf("%s printed %q", worker.name, printed)
			}
		}
		if info := w.consumerInfo(ctx, t, worker.name); info.NumPending != 0 || info.NumAckPending != 0 {
			t.Errorf("%s left %d events undelivered and %d unacknowledged", worker.name, info.NumPending, info.NumAckPending)
		}

		// An event on which it dies each time is put aside as well.
		options = map[string]any{"durable": worker.name + "-deadly", "count": 1, "ack-wait": shortWait, "tries": 1}
		worker.runUntilAck(ctx, t, w.Broker, options)
		if printed := worker.run(ctx, t, w.Broker, options); len(printed) != 0 {
			t.Errorf("%s tried once more than it should: %q", worker.name, printed)
		}
		wantLetters(ctx, t, w, worker.name+"-deadly", map[string]string{"again": "ended without a word"})
	}
}

// So does one that has the CloudEvents SDK call it; and what is no task is not delivered
// to it for ever.
func TestSDKAcknowledgesAfterTheWork(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
	defer cancel()
	w := startWorld(ctx, t)
	sdk := worker{"cloudevents", []string{relaytest.BuildIn(t, sdkExample, ".")}, goFlag}
	w.post(ctx, t, succeeded(t, "again", "https://cdn.apixo.ai/a.png"))
	options := map[string]any{"count": 1, "ack-wait": shortWait}
	for _, printed := range [][]string{sdk.runUntilAck(ctx, t, w.Broker, options), sdk.run(ctx, t, w.Broker, options)} {
		if len(about("again", printed)) != 1 {
			t.Errorf("printed %q", printed)
		}
	}
	for _, data := range []string{
		`{"specversion":"1.0","id":"i","source":"s","type":"ai.apixo.task.failed","datacontenttype":"application/json","data":{"taskId":"t","state":"pending"}}`,
		`{"specversion":"1.0","source":"s","type":"ai.apixo.task.failed"}`,
	} {
		msg := &nats.Msg{Subject: "apixo.task.failed", Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}, Data: []byte(data)}
		if _, err := w.js.PublishMsg(ctx, msg); err != nil {
			t.Fatal(err)
		}
	}
	w.post(ctx, t, succeeded(t, "behind", "https://cdn.apixo.ai/b.png"))
	options["count"] = 2 // of those that are events
	if printed := sdk.run(ctx, t, w.Broker, options); len(printed) != 1 || len(about("behind", printed)) != 1 {
		t.Errorf("printed %q", printed)
	}
	if info := w.consumerInfo(ctx, t, "cloudevents"); info.NumPending != 0 || info.NumAckPending != 0 {
		t.Errorf("%d events are undelivered and %d unacknowledged", info.NumPending, info.NumAckPending)
	}
}

// With a condition that the broker checks, the effect is one all the same; also
// when the event comes a second time as another message.
func TestIdempotentConsumerHasOneEffect(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
	defer cancel()
	w := startWorld(ctx, t)
	idempotent := worker{"idempotent", []string{relaytest.Build(t, "./schema/examples/go/idempotent")}, goFlag}
	w.post(ctx, t, succeeded(t, "a.b:c", "https://cdn.apixo.ai/a.png"))
	options := map[string]any{"count": 1, "ack-wait": shortWait}
	if printed := idempotent.runUntilAck(ctx, t, w.Broker, options); len(printed) != 1 || printed[0] != "a.b:c done" {
		t.Errorf("the first run printed %q", printed)
	}
	if printed := idempotent.run(ctx, t, w.Broker, options); len(printed) != 1 || printed[0] != "a.b:c was done already" {
		t.Errorf("the second run printed %q", printed)
	}
	// As a webhook does that comes after the duplicate window.
	stored, err := w.js.Stream(ctx, schema.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	first, err := stored.GetMsg(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	repeat := &nats.Msg{Subject: first.Subject, Header: first.Header, Data: first.Data}
	repeat.Header.Del(jetstream.MsgIDHeader)
	if _, err := w.js.PublishMsg(ctx, repeat); err != nil {
		t.Fatal(err)
	}
	w.post(ctx, t, succeeded(t, "a.b", "https://cdn.apixo.ai/b.png"))
	options["count"] = 2
	if printed := idempotent.run(ctx, t, w.Broker, options); strings.Join(printed, ", ") != "a.b:c was done already, a.b done" {
		t.Errorf("the third run printed %q", printed)
	}
	effects, err := w.js.Stream(ctx, "EFFECTS")
	if err != nil {
		t.Fatal(err)
	}
	if n := effects.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("two tasks have %d effects", n)
	}
}

// What fails for the time being is tried again, later and later; what cannot be
// done becomes a dead letter with its reason; nothing is left over.
func TestFailuresAreTriedAgainOrPutAside(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
	defer cancel()
	w := startWorld(ctx, t)
	for _, worker := range workers(t) {
		results, dir := startResults(t), t.TempDir()
		before := w.streamSize(ctx, t)
		for _, path := range []string{"expired", "down", "flaky"} {
			w.post(ctx, t, succeeded(t, worker.name+"-"+path, results.URL+"/"+path))
		}
		// Somebody else publishes here.
		if _, err := w.js.Publish(ctx, schema.TaskSubject(schema.DefaultPrefix, schema.StateSuccess), []byte("no event")); err != nil {
			t.Fatal(err)
		}
		printed := worker.run(ctx, t, w.Broker, map[string]any{
			"durable": worker.name, "dir": dir, "tries": 3, "backoff": backoff, "count": before + 4,
		})
		if len(about(worker.name+"-flaky", printed)) != 1 || len(about(worker.name+"-expired", printed))+len(about(worker.name+"-down", printed)) != 0 {
			t.Errorf("%s printed %q", worker.name, printed)
		}
		if got, err := os.ReadFile(filepath.Join(dir, worker.name+"-flaky-0")); err != nil || string(got) != "the result of /flaky" {
			t.Errorf("%s downloaded %q (%v)", worker.name, got, err)
		}
		if n := len(results.tries("/expired")); n != 1 {
			t.Errorf("%s tried what has expired %d times", worker.name, n)
		}
		for _, path := range []string{"/down", "/flaky"} {
			tries := results.tries(path)
			if len(tries) != 3 || tries[1].Sub(tries[0]) < backoff || tries[2].Sub(tries[1]) < 2*backoff {
				t.Errorf("%s tried %s at %v", worker.name, path, tries)
			}
		}
		wantLetters(ctx, t, w, worker.name, map[string]string{
			"/expired": "/expired answered 404", "/down": "given up after 3 tries: " + results.URL + "/down answered 503", "no event": "",
		})
		if info := w.consumerInfo(ctx, t, worker.name); info.NumPending != 0 || info.NumAckPending != 0 {
			t.Errorf("%s left %d events undelivered and %d unacknowledged", worker.name, info.NumPending, info.NumAckPending)
		}
		// The next worker's stream has what this one could read only.
		stored, err := w.js.Stream(ctx, schema.DefaultStream)
		if err != nil {
			t.Fatal(err)
		}
		if err := stored.Purge(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func (w world) streamSize(ctx context.Context, t *testing.T) int {
	t.Helper()
	s, err := w.js.Stream(ctx, schema.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	return int(s.CachedInfo().State.Msgs)
}

// wantLetters holds a worker's dead letters against the events that they have to
// be, which are told by a part of each, with a part of the reason.
func wantLetters(ctx context.Context, t *testing.T, w world, durable string, reasons map[string]string) {
	t.Helper()
	letters := readAll(ctx, t, w.Broker, "DEAD_LETTERS", "dead."+durable, len(reasons))
	if meta, err := letters[len(letters)-1].Metadata(); err != nil || meta.NumPending != 0 {
		t.Errorf("%s has more dead letters than %d (%v)", durable, len(reasons), err)
	}
	stored, err := w.js.Stream(ctx, schema.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	for _, letter := range letters {
		header := letter.Headers()
		sequence, err := strconv.ParseUint(header.Get("Dead-Letter-Sequence"), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", durable, err)
		}
		original, err := stored.GetMsg(ctx, sequence)
		if err != nil {
			t.Fatalf("%s has a dead letter of an event that there is not: %v", durable, err)
		}
		if string(original.Data) != string(letter.Data()) || header.Get("Dead-Letter-Subject") != original.Subject || header.Get("Content-Type") != original.Header.Get("Content-Type") {
			t.Errorf("%s has the dead letter\n%q\n%s\nof\n%q\n%s", durable, header, letter.Data(), original.Header, original.Data)
		}
		reason, found := header.Get("Dead-Letter-Reason"), false
		for event, part := range reasons {
			if strings.Contains(string(letter.Data()), event) {
				found = strings.Contains(reason, part)
				delete(reasons, event)
			}
		}
		if !found || reason == "" {
			t.Errorf("%s put the event aside because of %q:\n%s", durable, reason, letter.Data())
		}
	}
}

// Long work is not taken for lost, and a SIGTERM does not break it off.
func TestLongWorkIsFinished(t *testing.T) {
	t.Parallel()
	for _, worker := range workers(t) {
		t.Run(worker.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
			defer cancel()
			w := startWorld(ctx, t)
			results := startResults(t)
			w.post(ctx, t, succeeded(t, "slow", results.URL+"/slow"))
			terminate, end := worker.start(ctx, t, w.Broker, map[string]any{"durable": "slow", "dir": t.TempDir(), "ack-wait": shortWait})
			select {
			case <-results.asked:
			case <-time.After(readerTimeout):
				t.Fatal("it does not begin")
			}
			terminate()
			// Nothing is to happen for more than two times as long as an event may be
			// without a sign of life: this has to be waited for.
			if msg, err := w.second(ctx, t, "slow", 2*shortWait+shortWait/2); err == nil {
				t.Errorf("somebody else got the event in the meantime: %s", msg.Data())
			}
			close(results.release)
			if printed := end(); len(about("slow", printed)) != 1 {
				t.Errorf("it printed %q", printed)
			}
			if info := w.consumerInfo(ctx, t, "slow"); info.NumAckPending != 0 || info.NumRedelivered != 0 {
				t.Errorf("%d events are unacknowledged, %d came again", info.NumAckPending, info.NumRedelivered)
			}
		})
	}
}

// second is what another instance of a consumer gets within a time.
func (w world) second(ctx context.Context, t *testing.T, durable string, within time.Duration) (jetstream.Msg, error) {
	t.Helper()
	c, err := w.js.Consumer(ctx, schema.DefaultStream, durable)
	if err != nil {
		t.Fatal(err)
	}
	return c.Next(jetstream.FetchMaxWait(within))
}

// MaxDeliver alone loses events: the broker gives up, and says so to nobody but
// those who listen.
func TestAfterMaxDeliverThereIsAnAdvisoryAndNothingElse(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
	defer cancel()
	w := startWorld(ctx, t)
	w.post(ctx, t, succeeded(t, "lost", "https://cdn.apixo.ai/a.png"))
	advisories, err := w.nc.SubscribeSync("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + schema.DefaultStream + ".limited")
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.js.CreateConsumer(ctx, schema.DefaultStream, jetstream.ConsumerConfig{
		Durable: "limited", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 2, AckWait: shortWait / 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Next(jetstream.FetchMaxWait(readerTimeout)); err != nil {
			t.Fatal(err)
		}
	}
	msg, err := c.Next(jetstream.FetchMaxWait(2 * shortWait))
	if !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("it came a third time: %v, %v", msg, err)
	}
	advisory, err := advisories.NextMsg(readerTimeout)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(advisory.Data), `"stream_seq":1`) || !strings.Contains(string(advisory.Data), `"deliveries":2`) {
		t.Errorf("the advisory is %s", advisory.Data)
	}
	if info := w.consumerInfo(ctx, t, "limited"); info.NumPending != 0 || info.NumAckPending != 0 {
		t.Errorf("%d events count as undelivered and %d as unacknowledged", info.NumPending, info.NumAckPending)
	}
	if n := w.streamSize(ctx, t); n != 1 {
		t.Errorf("the stream has %d events", n)
	}
}
