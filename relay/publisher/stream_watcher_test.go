package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// openAs is open as a user with some permissions, with what another one does before.
func openAs(t *testing.T, permissions *server.Permissions, before func(jetstream.JetStream), environ ...string) bench {
	t.Helper()
	options := natstest.Options(t)
	options.Users = []*server.User{
		{Username: "relay", Password: "relay", Permissions: permissions},
		{Username: "admin", Password: "admin"},
	}
	s := natstest.Start(t, options)
	js := natstest.JetStream(t, s.ClientURL(), nats.UserInfo("admin", "admin"))
	before(js)
	b := open(t, s, append([]string{"NATS_USER=relay", "NATS_PASSWORD=relay"}, environ...)...)
	b.js = js
	return b
}

// awaitReady waits until a message would be stored.
func (b bench) awaitReady(t *testing.T) {
	t.Helper()
	for ctx := within(t, 30*time.Second); b.Ready() != nil; {
		if ctx.Err() != nil {
			t.Fatalf("never ready: %v\n%s", b.Ready(), b.log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// untrue are the streams that would acknowledge, and not have the event where it
// should be, by what makes them so and what mends them.
var untrue = map[string]struct{ spoil, mend func(*jetstream.StreamConfig) }{
	"interest": {
		func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		func(c *jetstream.StreamConfig) { c.Retention = jetstream.LimitsPolicy },
	},
	"transform": {
		transformed("apixo.task.*", "moved.{{wildcard(1)}}"),
		func(c *jetstream.StreamConfig) { c.SubjectTransform = nil },
	},
	"few of each subject": {
		func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
		func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = -1 },
	},
	"few messages": {
		func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 1, jetstream.DiscardOld },
		func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardNew, -1 },
	},
	"few bytes": {
		func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 1000, jetstream.DiscardOld },
		func(c *jetstream.StreamConfig) { c.Discard, c.MaxBytes = jetstream.DiscardNew, -1 },
	},
}

// change changes a stream as an operator would.
func change(t *testing.T, js jetstream.JetStream, name string, how func(*jetstream.StreamConfig)) {
	t.Helper()
	cfg := configOf(t, js, name)
	how(&cfg)
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

func lastSequence(t *testing.T, js jetstream.JetStream, name string) uint64 {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}

// A stream that would make a 200 untrue is sent nothing, and used as soon as somebody
// has mended it. Where others make the streams, it is an error at the start.
func TestUntrueStreamsAtStart(t *testing.T) {
	t.Parallel()
	for name, tt := range untrue {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Start(t, natstest.Options(t))
			js := natstest.JetStream(t, s.ClientURL())
			for _, cfg := range []jetstream.StreamConfig{
				{Name: "APIXO", Subjects: []string{"apixo.task.>"}, Discard: jetstream.DiscardNew, Duplicates: time.Hour},
				{Name: "APIXO_QUARANTINE", Subjects: []string{"apixo.quarantine.>"}},
			} {
				if cfg.Name == "APIXO" {
					tt.spoil(&cfg)
				}
				if _, err := js.CreateStream(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
			}
			required := open(t, s, "RELAY_STREAM_POLICY=require")
			err := required.Start(t.Context())
			_ = required.Stop(context.Background())
			unfit, ok := errors.AsType[*publisher.StreamConfigError](err)
			if !ok || unfit.Stream != "APIXO" {
				t.Errorf("start with require: %v", err)
			}
			b := start(t, s)
			err = b.Ready()
			if _, ok := errors.AsType[*publisher.StreamConfigError](err); !ok {
				t.Errorf("ready: %v", err)
			}
			_, err = b.Store(within(t, 10*time.Second), message("task_1"))
			if _, ok := errors.AsType[*publisher.StreamConfigError](err); !ok || reasonOf(t, err) != store.BrokerError {
				t.Errorf("refused with %v", err)
			}
			if _, err = b.PublishAsync([]event.Message{message("task_2")})[0].Wait(t.Context()); reasonOf(t, err) != store.BrokerError {
				t.Errorf("refused with %v", err)
			}
			if n := lastSequence(t, js, "APIXO"); n != 0 {
				t.Errorf("%d messages were sent to it", n)
			}
			rejected := webhook(t, "no JSON")
			if _, err := b.Store(within(t, 10*time.Second), rejected); err != nil {
				t.Errorf("the other stream: %v", err)
			}
			change(t, js, "APIXO", tt.mend)
			b.awaitReady(t)
			if receipt, err := b.Store(within(t, 10*time.Second), message("task_1")); err != nil || receipt.Sequence != 1 || receipt.Duplicate {
				t.Errorf("%+v, %v", receipt, err)
			}
		})
	}
}

// storm stores messages from many goroutines until stop is called, which returns what
// was acknowledged.
func (b bench) storm(t *testing.T, prefix string) (stop func() (acknowledged []string)) {
	ctx, cancel := context.WithCancel(t.Context())
	var (
		mu  sync.Mutex
		ids []string
		all sync.WaitGroup
	)
	for worker := range 16 {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%s_%d_%d", prefix, worker, i)
				if _, err := b.Store(within(t, 10*time.Second), message(id)); err != nil {
					continue
				}
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	return func() []string {
		cancel()
		all.Wait()
		return ids
	}
}

// Nothing is acknowledged that a stream has stored since it was changed under load: the
// stream's word of the change comes before its acknowledgements.
func TestStreamThatIsTransformedUnderLoad(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	var acknowledged []string
	for round := range 5 {
		stop := b.storm(t, fmt.Sprint(round))
		for before := lastSequence(t, b.js, "APIXO"); lastSequence(t, b.js, "APIXO") < before+200; {
		}
		change(t, b.js, "APIXO", untrue["transform"].spoil)
		b.log.Await(t, "the streams cannot be used")
		for ctx := within(t, 30*time.Second); b.Ready() == nil; {
			if ctx.Err() != nil {
				t.Fatal("still ready")
			}
		}
		change(t, b.js, "APIXO", untrue["transform"].mend)
		b.awaitReady(t)
		acknowledged = append(acknowledged, stop()...)
	}
	stored := idsUnder(t, b.js, "apixo.task.success")
	for _, id := range acknowledged {
		if !stored[id] {
			t.Errorf("%s was acknowledged, and is not under its subject", id)
		}
	}
	if moved := idsUnder(t, b.js, "moved.success"); len(acknowledged) == 0 || len(moved) == 0 {
		t.Errorf("%d were acknowledged, and %d were stored elsewhere: nothing was tried", len(acknowledged), len(moved))
	}
}

// idsUnder are the message ids that the stream of the events has under a subject.
func idsUnder(t *testing.T, js jetstream.JetStream, subject string) map[string]bool {
	t.Helper()
	consumer, err := js.OrderedConsumer(t.Context(), "APIXO", jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := consumer.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for range info.NumPending {
		msg, err := consumer.Next(jetstream.FetchContext(within(t, 10*time.Second)))
		if err != nil {
			t.Fatal(err)
		}
		ids[msg.Headers().Get("Nats-Msg-Id")] = true
	}
	return ids
}

// While the connection was away nobody told of a change.
func TestStreamThatIsChangedMeanwhile(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	s := natstest.Start(t, options)
	b := start(t, s)
	options.Port = portOf(s)
	natstest.Stop(s)
	// The relay's server comes back only when the stream has been changed.
	aside := *options
	aside.Port = server.RANDOM_PORT
	s = natstest.Start(t, &aside)
	change(t, natstest.JetStream(t, s.ClientURL()), "APIXO", untrue["transform"].spoil)
	natstest.Stop(s)
	natstest.Start(t, options)
	b.awaitConnection(t)
	if _, err := b.Store(within(t, 10*time.Second), message("task_1")); err == nil || !strings.Contains(err.Error(), "subject_transform") {
		t.Errorf("stored: %v", err)
	}
}

// A user who is not told of changes finds them all the same, a little later.
func TestChangesThatAreNotTold(t *testing.T) {
	t.Parallel()
	b := openAs(t, &server.Permissions{Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_RELAY.>"}}}, func(jetstream.JetStream) {})
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	for _, stream := range []string{"APIXO", "APIXO_QUARANTINE"} {
		b.log.Await(t, "subject=$JS.EVENT.ADVISORY.STREAM.*."+stream)
	}
	if _, err := b.Store(within(t, 10*time.Second), message("task_1")); err != nil {
		t.Fatal(err)
	}
	change(t, b.js, "APIXO", untrue["transform"].spoil)
	b.log.Await(t, "the streams cannot be used")
	change(t, b.js, "APIXO", untrue["transform"].mend)
	b.awaitReady(t)
	if strings.Contains(b.log.String(), "level=WARN") {
		t.Errorf("the log is\n%s", b.log)
	}
}

// An event that was stored under another subject is none that a repeat can refer to.
func TestRepeatOfAnEventThatWasMoved(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	b := start(t, s)
	change(t, b.js, "APIXO", untrue["transform"].spoil)
	first := webhook(t, `{"code":200,"data":{"taskId":"task_1","state":"success","resultJson":"{\"resultUrls\":[\"a\"]}"}}`)
	if _, err := b.js.PublishMsg(t.Context(), &nats.Msg{Subject: first.Subject, Header: maps.Clone(first.Header), Data: first.Data}, jetstream.WithMsgID(first.ID)); err != nil {
		t.Fatal(err)
	}
	change(t, b.js, "APIXO", untrue["transform"].mend)
	b.awaitReady(t)
	other := webhook(t, `{"code":200,"data":{"taskId":"task_1","state":"success","resultJson":"{\"resultUrls\":[\"b\"]}"}}`)
	if receipt, err := b.Store(within(t, 10*time.Second), other); err != nil || receipt.Conflict {
		t.Errorf("%+v, %v: it contradicts what nobody reads", receipt, err)
	}
}

// What comes by a source counts for ids, and what it says is compared as any other
// repeat's is: so sources are warned of, and not refused.
func TestIDsOfSourcedMessages(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, s.ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORIGIN", Subjects: []string{"origin"}}); err != nil {
		t.Fatal(err)
	}
	msg := webhook(t, `{"code":200,"data":{"taskId":"task_1","state":"success","resultJson":"{\"resultUrls\":[\"a\"]}"}}`)
	if _, err := js.Publish(t.Context(), "origin", []byte("{}"), jetstream.WithMsgID(msg.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "APIXO", Subjects: []string{"apixo.task.>"}, Duplicates: time.Hour, AllowDirect: true, Sources: []*jetstream.StreamSource{{Name: "ORIGIN"}},
	}); err != nil {
		t.Fatal(err)
	}
	for ctx := within(t, 30*time.Second); lastSequence(t, js, "APIXO") == 0; {
		if ctx.Err() != nil {
			t.Fatal("nothing comes by the source")
		}
	}
	b := start(t, s)
	receipt, err := b.Store(within(t, 10*time.Second), msg)
	if err != nil || !receipt.Duplicate || !receipt.Conflict {
		t.Errorf("%+v, %v", receipt, err)
	}
	if !strings.Contains(b.log.String(), "takes messages from other streams (sources)") {
		t.Errorf("the log is\n%s", b.log)
	}
}
