package upgrade

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

const (
	// ForEver is a duplicate window that no archive outlives. A store has its window in it, and
	// a relay that opens it forgets what is older.
	ForEver = "876000h"
	// FilesBucket is the object store that files are archived in.
	FilesBucket = "FILES"

	// eventStream and quarantineStream are as they are by default.
	eventStream      = "APIXO"
	quarantineStream = "APIXO_QUARANTINE"
	// consumerName is that of the consumer that is in the middle of the stream, and ackWait how
	// long it has for an event before it gets it once more.
	consumerName = "billing"
	ackWait      = time.Second
	// apiKey is for a status API that is never asked.
	apiKey = "0123456789abcdef-never-asked"
	// awayTime is how long a webhook waits for a broker that is away.
	awayTime = "2s"
)

// Settings are those of a relay that keeps events and ids for ever, so that the age of an
// archive changes nothing.
func Settings() []string {
	return []string{"RELAY_STREAM_MAX_AGE=0s", "RELAY_DEDUPE_WINDOW=" + ForEver}
}

// expecting lets a relay take announcements, and neither ask for them nor give them up.
func expecting() []string {
	return []string{"RELAY_EXPECT=true", "APIXO_API_KEY=" + apiKey, "APIXO_BASE_URL=http://127.0.0.1:1", "RELAY_EXPECT_AFTER=" + ForEver, "RELAY_EXPECT_GIVE_UP=" + ForEver}
}

// recording is an archive that is being written.
type recording struct {
	*rig.Rig
	*Manifest
	ctx      context.Context
	program  string
	dir      string
	settings []string
}

// Record lets a program write the stores of an archive into a folder, with settings such as
// those of [Settings], and returns the manifest of what it has written.
func Record(ctx context.Context, r *rig.Rig, program, version, dir string, settings ...string) (*Manifest, error) {
	rec := &recording{Rig: r, ctx: ctx, program: program, dir: dir, settings: settings, Manifest: &Manifest{Version: version}}
	if err := rec.store(); err != nil {
		return nil, fmt.Errorf("the store of %s: %w", version, err)
	}
	if err := rec.outbox(); err != nil {
		return nil, fmt.Errorf("the outbox of %s: %w", version, err)
	}
	return rec.Manifest, rec.write(dir)
}

// start starts the program on a folder of the archive.
func (r *recording) start(folder string, environ ...string) (*rig.Relay, error) {
	dir := filepath.Join(r.dir, folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return r.StartOtherRelay(r.ctx, r.program, slices.Concat(r.settings, []string{"RELAY_DATA_DIR=" + dir}, environ)...)
}

// stop ends a relay in order.
func (r *recording) stop(relay *rig.Relay) error {
	code, err := relay.Stop(r.ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("the relay ended with exit code %d: %s", code, relay.Log())
	}
	return err
}

// store makes the store of an embedded broker.
func (r *recording) store() error {
	relay, err := r.start(StoreFolder, expecting()...)
	if err != nil {
		return err
	}
	for _, step := range []func(*rig.Relay) error{r.files, r.events, r.read, r.deleteAndRepeat, r.announce} {
		if err := step(relay); err != nil {
			return err
		}
	}
	if err := r.stop(relay); err != nil {
		return err
	}
	relay.Set("RELAY_CE_MODE=binary")
	if err := relay.Restart(r.ctx); err != nil {
		return err
	}
	if err := r.post(relay, &r.Webhooks, tasks("binary_")...); err != nil {
		return err
	}
	err = withBroker(relay, func(js jetstream.JetStream) (err error) {
		r.Streams, err = ReadStreams(r.ctx, js)
		return err
	})
	relay.Kill() // so that what the first end in order has left is behind what is stored
	return err
}

// post delivers webhooks, and notes those whose answer says that they are stored, or kept.
func (r *recording) post(relay *rig.Relay, to *[]Webhook, webhooks ...Webhook) error {
	for _, w := range webhooks {
		answered, _, err := w.Post(r.ctx, relay.Sender)
		if err != nil {
			return err
		}
		if answered.Stream != "" {
			*to = append(*to, answered)
		}
	}
	return nil
}

// events are of all kinds, and so is what becomes none.
func (r *recording) events(relay *rig.Relay) error {
	var ids []string
	for i := range smallTasks {
		ids = append(ids, smallTask(i))
	}
	answers, outcome := relay.Deliver(r.ctx, ids, smallTasks)
	if len(outcome.Open) > 0 {
		return fmt.Errorf("webhooks were refused: %v", outcome.Problems)
	}
	for i, a := range answers {
		r.Webhooks = append(r.Webhooks, Webhook{Body: taskBody(ids[i]), ContentType: jsonType, Status: a.Status, Stream: a.Stream, Sequence: a.Sequence})
	}
	return r.post(relay, &r.Webhooks, slices.Concat(tasks("task_"), []Webhook{contradiction("task_")}, refused("body_"))...)
}

// read lets a consumer read the first events, and acknowledge some of them.
func (r *recording) read(relay *rig.Relay) error {
	return withBroker(relay, func(js jetstream.JetStream) error {
		c, err := js.CreateConsumer(r.ctx, eventStream, jetstream.ConsumerConfig{Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait})
		if err != nil {
			return err
		}
		r.Consumer = Consumer{Stream: eventStream, Name: consumerName}
		acknowledged, _, err := readSome(r.ctx, c, smallTasks/2, func(i int) bool { return i < 5 || i == 7 })
		r.Consumer.Acknowledged = acknowledged
		return err
	})
}

// readSome reads n messages and acknowledges some of them; others stay where they are.
func readSome(ctx context.Context, c jetstream.Consumer, n int, acknowledge func(i int) bool) (acknowledged, others []uint64, err error) {
	for i := range n {
		m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			return nil, nil, fmt.Errorf("the consumer's message %d of %d: %w", i+1, n, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, nil, err
		}
		if !acknowledge(i) {
			others = append(others, meta.Sequence.Stream)
			continue
		}
		if err := m.DoubleAck(ctx); err != nil {
			return nil, nil, err
		}
		acknowledged = append(acknowledged, meta.Sequence.Stream)
	}
	return acknowledged, others, nil
}

// deleteAndRepeat deletes an event and delivers its webhook again. A version that stores that
// anew does so with another message id.
func (r *recording) deleteAndRepeat(relay *rig.Relay) error {
	return withBroker(relay, func(js jetstream.JetStream) error {
		stream, err := js.Stream(r.ctx, eventStream)
		if err != nil {
			return err
		}
		body := taskBody(smallTask(smallTasks - 1))
		i := slices.IndexFunc(r.Webhooks, func(w Webhook) bool { return bytes.Equal(w.Body, body) })
		deleted := r.Webhooks[i]
		if err := stream.DeleteMsg(r.ctx, deleted.Sequence); err != nil {
			return err
		}
		r.Webhooks = slices.Delete(r.Webhooks, i, i+1)
		again, _, err := deleted.Post(r.ctx, relay.Sender)
		if err == nil && again.Sequence != deleted.Sequence {
			r.Webhooks = append(r.Webhooks, again)
		}
		return err
	})
}

// announce announces tasks, if this version takes announcements.
func (r *recording) announce(relay *rig.Relay) error {
	url := strings.TrimSuffix(relay.URL(), "/webhook/apixo") + "/expect"
	for _, task := range []string{"announced_1", "announced:2."} {
		req, err := http.NewRequestWithContext(r.ctx, http.MethodPost, url, strings.NewReader(fmt.Sprintf(`{"taskId":%q,"model":"nano-banana"}`, task)))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", jsonType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
			r.Announced = append(r.Announced, task)
		case http.StatusNotFound: // of before there were any
		default:
			return fmt.Errorf("an announcement got %s", resp.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	return nil
}

// outbox makes an outbox with entries.
func (r *recording) outbox() error {
	nobody, err := r.UnusedAddr()
	if err != nil {
		return err
	}
	relay, err := r.start(OutboxFolder, "NATS_URL=nats://"+nobody, "RELAY_OUTBOX=true", "RELAY_PUBLISH_TIMEOUT="+awayTime)
	if err != nil {
		return err
	}
	if err := r.post(relay, &r.Waiting, slices.Concat(tasks("waiting_"), []Webhook{contradiction("waiting_")}, refused("waiting_"))...); err != nil {
		return err
	}
	if len(r.Waiting) == 0 {
		return fmt.Errorf("nothing was taken into the outbox: %s", relay.Log())
	}
	return r.stop(relay)
}

// withBroker lets a function use the broker of a relay.
func withBroker(relay *rig.Relay, use func(jetstream.JetStream) error) error {
	conn, err := nats.Connect(relay.Broker)
	if err != nil {
		return fmt.Errorf("the relay's broker: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	return use(js)
}
