package publisher_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// updated starts a publisher with RELAY_STREAM_POLICY=update on a stream that others
// made, in which there may be something, and returns what became of the stream.
func updated(t *testing.T, cfg jetstream.StreamConfig, messages int, environ ...string) (jetstream.StreamInfo, bench) {
	t.Helper()
	s := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, s.ClientURL())
	cfg.Name = "APIXO"
	stream, err := js.CreateStream(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range messages {
		if _, err := js.Publish(t.Context(), cfg.Subjects[0], make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, s, append(environ, "RELAY_STREAM_POLICY=update")...)
	if err := b.Start(t.Context()); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	b.js = js
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != uint64(messages) {
		t.Errorf("%d of %d messages are left", info.State.Msgs, messages)
	}
	return *info, b
}

// What others have in a stream stays as it is.
func TestUpdateTakesNothingAway(t *testing.T) {
	t.Parallel()
	shared := jetstream.StreamConfig{
		Subjects: []string{"orders.>", "apixo.task.success"}, Description: "Theirs.", Metadata: map[string]string{"owner": "somebody"},
		MaxMsgs: 1000, MaxBytes: 1_000_000, MaxAge: 3 * time.Hour, Discard: jetstream.DiscardNew, DenyDelete: true, MaxConsumers: 7, Compression: jetstream.S2Compression,
		Duplicates: 2 * time.Hour, AllowMsgTTL: true, ConsumerLimits: jetstream.StreamConsumerLimits{MaxAckPending: 5},
		RePublish: &jetstream.RePublish{Source: "orders.>", Destination: "copy.>"},
	}
	info, b := updated(t, shared, 3)
	want := shared
	got := info.Config
	if !slices.Equal(got.Subjects, []string{"orders.>", "apixo.task.>"}) {
		t.Errorf("its subjects are %q", got.Subjects)
	}
	for name, pair := range map[string][2]any{
		"description": {got.Description, want.Description}, "owner": {got.Metadata["owner"], "somebody"}, "max_msgs": {got.MaxMsgs, want.MaxMsgs},
		"deny_delete": {got.DenyDelete, true}, "max_consumers": {got.MaxConsumers, 7}, "compression": {got.Compression, want.Compression},
		"window": {got.Duplicates, want.Duplicates}, "max_age": {got.MaxAge, want.MaxAge}, "max_bytes": {got.MaxBytes, want.MaxBytes}, "limits": {got.ConsumerLimits, want.ConsumerLimits},
		"republish": {*got.RePublish, *want.RePublish}, "ttl": {got.AllowMsgTTL, true},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s became %v", name, pair[0])
		}
	}
	const told = `msg="changed the stream" stream=APIXO subjects="[orders.> apixo.task.success] → [orders.> apixo.task.>]"`
	if log := b.log.String(); !strings.Contains(log, told) || strings.Count(log, "changed the stream") != 1 {
		t.Errorf("the log is\n%s", log)
	}
	if err := b.Ready(); err != nil {
		t.Error(err)
	}
}

// A stream that allows batches, as earlier versions made it, is as good as one that does
// not, and goes on allowing them.
func TestUpdateLeavesBatchesAllowed(t *testing.T) {
	t.Parallel()
	info, b := updated(t, jetstream.StreamConfig{
		Description: "Results of APIXO tasks, as CloudEvents.", Subjects: []string{"apixo.task.>"}, MaxAge: 168 * time.Hour,
		Discard: jetstream.DiscardNew, AllowDirect: true, AllowAtomicPublish: true, Duplicates: time.Hour,
	}, 1)
	if !info.Config.AllowAtomicPublish {
		t.Error("it allows batches no more")
	}
	if log := b.log.String(); strings.Contains(log, "stream=APIXO ") || strings.Contains(log, "level=WARN") {
		t.Errorf("the log is\n%s", log)
	}
	if _, err := b.Store(within(t, 20*time.Second), webhook(t, result("task_1", "failed", ""))); err != nil {
		t.Error(err)
	}
	if err := b.Ready(); err != nil {
		t.Error(err)
	}
}

// Limits are raised, and lowered where that was asked for and deletes nothing.
func TestUpdateOfLimits(t *testing.T) {
	t.Parallel()
	base := jetstream.StreamConfig{Subjects: []string{"apixo.task.>"}, Discard: jetstream.DiscardNew, AllowDirect: true, Duplicates: time.Hour}
	type limits struct {
		age    time.Duration
		bytes  int64
		window time.Duration
	}
	for _, tt := range []struct {
		name     string
		have     limits
		messages int
		environ  []string
		want     limits
		says     string
	}{
		{"raised", limits{2 * time.Hour, 50_000, time.Hour}, 3, nil, limits{168 * time.Hour, -1, time.Hour}, `max_age="2h0m0s → 168h0m0s" max_bytes="50000 → -1"`},
		{"not lowered", limits{0, -1, 3 * time.Hour}, 3, nil, limits{0, -1, 3 * time.Hour}, ""},
		{"lowered", limits{0, -1, 3 * time.Hour}, 3, []string{"RELAY_STREAM_MAX_AGE=24h", "RELAY_STREAM_MAX_BYTES=50000", "RELAY_DEDUPE_WINDOW=30m"}, limits{24 * time.Hour, 50_000, 30 * time.Minute}, `max_age="0s → 24h0m0s" max_bytes="-1 → 50000" duplicate_window="3h0m0s → 30m0s"`},
		{"asked for, and full already", limits{0, -1, time.Hour}, 3, []string{"RELAY_STREAM_MAX_BYTES=2000"}, limits{0, -1, time.Hour}, "says 2000\" do=\"it holds"},
		{"a window that the age allows", limits{0, -1, 2 * time.Minute}, 0, []string{"RELAY_STREAM_MAX_AGE=1h", "RELAY_DEDUPE_WINDOW=1h"}, limits{time.Hour, -1, time.Hour}, `duplicate_window="2m0s → 1h0m0s"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := base
			cfg.MaxAge, cfg.MaxBytes, cfg.Duplicates = tt.have.age, tt.have.bytes, tt.have.window
			info, b := updated(t, cfg, tt.messages, tt.environ...)
			if got := (limits{info.Config.MaxAge, info.Config.MaxBytes, info.Config.Duplicates}); got != tt.want {
				t.Errorf("it has %+v, want %+v", got, tt.want)
			}
			if log := b.log.String(); !strings.Contains(log, tt.says) || tt.says == "" && strings.Contains(log, "stream=APIXO ") {
				t.Errorf("the log is\n%s", log)
			}
		})
	}
}

// Messages that are older than the age that is asked for keep it from being set.
func TestUpdateThatWouldDeleteByAge(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, s.ClientURL())
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "APIXO", Subjects: []string{"apixo.task.>"}, Discard: jetstream.DiscardNew, Duplicates: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "apixo.task.success", nil); err != nil {
		t.Fatal(err)
	}
	for older := false; !older; {
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		older = info.TimeStamp.Sub(info.State.FirstTime) > time.Second
	}
	b := start(t, s, "RELAY_STREAM_POLICY=update", "RELAY_STREAM_MAX_AGE=1s", "RELAY_DEDUPE_WINDOW=1s")
	got, err := stream.Info(t.Context())
	if err != nil || got.Config.MaxAge != 0 || got.State.Msgs != 1 {
		t.Errorf("it is %+v, %v", got, err)
	}
	if log := b.log.String(); !strings.Contains(log, "keeps events for ever, RELAY_STREAM_MAX_AGE says 1s\" do=\"it holds messages from") {
		t.Errorf("the log is\n%s", log)
	}
}

// A stream that evicts is made to refuse, unless others count on being let in.
func TestUpdateOfTheDiscardPolicy(t *testing.T) {
	t.Parallel()
	own := jetstream.StreamConfig{Subjects: []string{"apixo.task.>"}, MaxMsgs: 100}
	if info, b := updated(t, own, 1); info.Config.Discard != jetstream.DiscardNew || b.Ready() != nil {
		t.Errorf("its own is %+v: %v", info.Config, b.Ready())
	}
	shared := own
	shared.Subjects = []string{"apixo.task.>", "orders.>"}
	info, b := updated(t, shared, 1)
	if err := b.Ready(); info.Config.Discard != jetstream.DiscardOld || err == nil || !strings.Contains(err.Error(), "can be refused") || !strings.Contains(err.Error(), "RELAY_STREAM_POLICY=update does not do that") {
		t.Errorf("one that is shared is %+v: %v", info.Config, err)
	}
	unbounded := shared
	unbounded.MaxMsgs = -1
	if info, b := updated(t, unbounded, 1); info.Config.Discard != jetstream.DiscardOld || b.Ready() != nil {
		t.Errorf("one without bounds is %+v: %v", info.Config, b.Ready())
	}
	if info, b := updated(t, unbounded, 1, "RELAY_STREAM_MAX_BYTES=50000"); info.Config.Discard != jetstream.DiscardNew || info.Config.MaxBytes != 50000 || b.Ready() != nil {
		t.Errorf("one that gets a bound is %+v: %v", info.Config, b.Ready())
	}
	scheduled := own
	scheduled.AllowMsgSchedules = true
	if info, b := updated(t, scheduled, 1); info.Config.Discard != jetstream.DiscardOld || b.Ready() == nil {
		t.Errorf("one with schedules is %+v: %v", info.Config, b.Ready())
	}
}

// A stream on which nothing is to be changed is not touched.
func TestNothingToUpdate(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, s.ClientURL())
	asked, err := js.Conn().SubscribeSync("$JS.API.STREAM.UPDATE.>")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		b := start(t, s, "RELAY_STREAM_POLICY=update")
		if strings.Contains(b.log.String(), "changed the stream") {
			t.Errorf("the log is\n%s", b.log)
		}
	}
	change(t, js, "APIXO", func(c *jetstream.StreamConfig) { c.Description = "the one change that there is" })
	first, err := asked.NextMsgWithContext(within(t, 10*time.Second))
	if err != nil || !strings.Contains(string(first.Data), "the one change that there is") {
		t.Errorf("asked for %s, %v", first.Data, err)
	}
}
