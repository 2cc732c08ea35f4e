package publisher_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func configOf(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Config
}

func TestMissingStreamsAreMade(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)),
		"RELAY_STREAM=EVENTS", "RELAY_QUARANTINE_STREAM=BAD", "RELAY_SUBJECT_PREFIX=my.app",
		"RELAY_STREAM_MAX_AGE=48h", "RELAY_STREAM_MAX_BYTES=1000000", "RELAY_DEDUPE_WINDOW=20m")
	for name, subject := range map[string]string{"EVENTS": "my.app.task.>", "BAD": "my.app.quarantine.>"} {
		got := configOf(t, b.js, name)
		if !slices.Equal(got.Subjects, []string{subject}) || got.MaxAge != 48*time.Hour || got.MaxBytes != 1000000 ||
			got.Duplicates != 20*time.Minute || got.Storage != jetstream.FileStorage || got.Discard != jetstream.DiscardNew ||
			got.Retention != jetstream.LimitsPolicy || got.Replicas != 1 || !got.AllowDirect || got.AllowAtomicPublish {
			t.Errorf("%s is %+v", name, got)
		}
	}
	if err := b.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
}

func TestPolicyForExistingStreams(t *testing.T) {
	t.Parallel()
	existing := jetstream.StreamConfig{
		Name: "APIXO", Subjects: []string{"apixo.>"}, MaxMsgs: 77, Duplicates: 2 * time.Minute,
		Metadata: map[string]string{"owner": "somebody"},
	}
	for _, tt := range []struct {
		policy string
		window time.Duration
	}{{"create", 2 * time.Minute}, {"require", 2 * time.Minute}, {"update", time.Hour}} {
		s := natstest.Start(t, natstest.Options(t))
		js := natstest.JetStream(t, s.ClientURL())
		have := existing
		have.Discard = jetstream.DiscardNew
		if tt.policy != "create" {
			have.Subjects = []string{"apixo.task.*", "apixo.task.>"}[1:]
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "APIXO_QUARANTINE", Subjects: []string{"apixo.quarantine.>"}}); err != nil {
				t.Fatal(err)
			}
		} else {
			have.Subjects = []string{"apixo.task.>", "elsewhere"}
		}
		if _, err := js.CreateStream(t.Context(), have); err != nil {
			t.Fatal(err)
		}
		b := start(t, s, "RELAY_STREAM_POLICY="+tt.policy)
		got := configOf(t, js, "APIXO")
		if got.Duplicates != tt.window || got.MaxMsgs != 77 || got.Metadata["owner"] != "somebody" {
			t.Errorf("%s: the stream is %+v", tt.policy, got)
		}
		if warned := strings.Contains(b.log.String(), "remembers ids for 2m0s"); warned != (tt.policy != "update") {
			t.Errorf("%s: warned of the short window: %v; the log is\n%s", tt.policy, warned, b.log)
		}
		if err := b.Ready(); err != nil {
			t.Errorf("%s: ready: %v", tt.policy, err)
		}
	}
}

// Events that are missing between others are told of: a broker whose store is
// damaged says nothing of it by itself.
func TestGapsAreToldOf(t *testing.T) {
	s := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, s.ClientURL())
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "APIXO", Subjects: []string{"apixo.task.>"}, Duplicates: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, err := js.Publish(t.Context(), "apixo.task.success", []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	const told = "has gaps: 1 of the events from 2 to 4"
	// The oldest leave a stream by age, and leave no gap.
	if err := stream.DeleteMsg(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if b := start(t, s); strings.Contains(b.log.String(), "has gaps") {
		t.Errorf("the log is\n%s", b.log)
	}
	if err := stream.DeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if b := start(t, s); !strings.Contains(b.log.String(), told) {
		t.Errorf("the log is\n%s", b.log)
	}
}

// A stream with which the promises cannot be kept is an error at the start that
// says what to do.
func TestUnfitStreams(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, policy string
		existing     *jetstream.StreamConfig
		want         string
	}{
		{"missing", "require", nil, "does not exist"},
		{"other subjects", "create", &jetstream.StreamConfig{Subjects: []string{"apixo.task.success"}}, "leaves apixo.task.> out"},
		{"no acknowledgements", "create", &jetstream.StreamConfig{Subjects: []string{"apixo.task.>"}, NoAck: true}, "no_ack"},
		{"small messages", "create", &jetstream.StreamConfig{Subjects: []string{"apixo.task.>"}, MaxMsgSize: 1000}, "max_msg_size"},
		{"sealed", "create", &jetstream.StreamConfig{Subjects: []string{"apixo.task.>"}, Sealed: true}, "sealed"},
		{"storage cannot change", "update", &jetstream.StreamConfig{Subjects: []string{"apixo.task.>"}, Retention: jetstream.WorkQueuePolicy, MaxConsumers: 1, Sealed: true}, "sealed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := natstest.Start(t, natstest.Options(t))
			if tt.existing != nil {
				js := natstest.JetStream(t, s.ClientURL())
				cfg := *tt.existing
				cfg.Name, cfg.Sealed = "APIXO", false
				if _, err := js.CreateStream(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
				if tt.existing.Sealed {
					cfg.Sealed = true
					if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
						t.Fatal(err)
					}
				}
			}
			b := open(t, s, "RELAY_STREAM_POLICY="+tt.policy)
			err := b.Start(t.Context())
			_ = b.Stop(context.Background())
			unfit, ok := errors.AsType[*publisher.StreamConfigError](err)
			if !ok || !strings.Contains(err.Error(), tt.want) || unfit.Stream != "APIXO" || unfit.Hint == "" {
				t.Errorf("got %v, want a StreamConfigError with %q", err, tt.want)
			}
		})
	}
}

func TestBrokerThatTakesTooLittle(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.MaxPayload = 100_000
	b := open(t, natstest.Start(t, options))
	err := b.Start(t.Context())
	_ = b.Stop(context.Background())
	if _, ok := errors.AsType[*publisher.StreamConfigError](err); !ok || !strings.Contains(err.Error(), "max_payload") {
		t.Errorf("got %v", err)
	}
}

// A stream that has the subjects already is named.
func TestSubjectsThatOverlap(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, s.ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ALL", Subjects: []string{"apixo.>"}}); err != nil {
		t.Fatal(err)
	}
	b := open(t, s)
	err := b.Start(t.Context())
	_ = b.Stop(context.Background())
	if _, ok := errors.AsType[*publisher.StreamConfigError](err); !ok || !strings.Contains(err.Error(), `overlap with those of the stream ALL (["apixo.>"])`) {
		t.Errorf("got %v", err)
	}
}

// A user who may not ask which stream it is learns that there is one.
func TestSubjectsThatOverlapWithAStranger(t *testing.T) {
	t.Parallel()
	b := openAs(t, &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{"$JS.API.STREAM.LIST"}}}, func(js jetstream.JetStream) {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ALL", Subjects: []string{"apixo.>"}}); err != nil {
			t.Fatal(err)
		}
	})
	err := b.Start(t.Context())
	_ = b.Stop(context.Background())
	if _, ok := errors.AsType[*publisher.StreamConfigError](err); !ok || !strings.Contains(err.Error(), "another stream has subjects that overlap") {
		t.Errorf("got %v", err)
	}
}

// Without JetStream the relay waits: the broker may get it.
func TestWithoutJetStream(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.JetStream = false
	b := open(t, natstest.Start(t, options))
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	if err := b.Ready(); err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("ready: %v", err)
	}
	_, err := b.Store(within(t, time.Second), message("task_1"))
	reasonOf(t, err)
}

// A broker that was never there is waited for, and its streams are made when it comes.
func TestBrokerThatComesLater(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	s := natstest.Start(t, options)
	url, port := s.ClientURL(), portOf(s)
	natstest.Stop(s)

	b := openAt(t, url)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	if b.Ready() == nil {
		t.Error("ready without a broker")
	}
	options.Port = port
	natstest.Start(t, options)
	b.awaitConnection(t)
	ctx := within(t, 30*time.Second)
	// Store tries again while a stream is missing, so it waits for both to be made.
	rejected := webhook(t, "no JSON")
	for _, msg := range []event.Message{message("task_1"), rejected} {
		if _, err := b.Store(ctx, msg); err != nil {
			t.Errorf("%s: %v", msg.Subject, err)
		}
	}
}
