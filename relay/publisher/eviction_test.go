package publisher_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// evicting is a stream with messages of two subjects in turns, of which some are to
// leave it.
type evicting struct {
	js       jetstream.JetStream
	stream   jetstream.Stream
	subjects [2]string
}

// publish publishes a message to one of the subjects.
func (e evicting) publish(ctx context.Context, subject int, options ...jetstream.PublishOpt) error {
	_, err := e.js.Publish(ctx, e.subjects[subject], []byte("something that is kept"), options...)
	return err
}

// consume has some of the messages of one subject acknowledged, and no others.
func consume(ctx context.Context, e evicting) error {
	consumer, err := e.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{FilterSubject: e.subjects[0]})
	if err != nil {
		return err
	}
	for i := range 10 { // what comes before there is a consumer does not interest anybody
		if err := e.publish(ctx, i%2); err != nil {
			return err
		}
	}
	fetched, err := consumer.Fetch(3)
	if err != nil {
		return err
	}
	for msg := range fetched.Messages() {
		if err := msg.DoubleAck(ctx); err != nil {
			return err
		}
	}
	return fetched.Error()
}

// evictions are the ways in which messages leave a stream by themselves: by a limit that
// it has, and by having been consumed; and the purges that leave no gaps.
var evictions = []struct {
	name   string
	change func(*jetstream.StreamConfig)
	do     func(context.Context, evicting) error // nil: nothing needs to be done for it
}{
	{"age", func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = time.Second, time.Second }, nil},
	{"number", func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 5, jetstream.DiscardOld }, nil},
	{"size", func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 500, jetstream.DiscardOld }, nil},
	{"number of each subject", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 2 }, func(ctx context.Context, e evicting) error {
		for range 5 { // so that the others are not at the end any more
			if err := e.publish(ctx, 0); err != nil {
				return err
			}
		}
		return nil
	}},
	{"time to live", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, func(ctx context.Context, e evicting) error {
		if err := e.publish(ctx, 0, jetstream.WithMsgTTL(time.Second)); err != nil {
			return err
		}
		return e.publish(ctx, 1)
	}},
	{"markers of expired subjects", func(c *jetstream.StreamConfig) {
		c.MaxAge, c.Duplicates, c.SubjectDeleteMarkerTTL = time.Second, time.Second, time.Second
	}, nil},
	{"roll-up", func(c *jetstream.StreamConfig) { c.AllowRollup = true }, func(ctx context.Context, e evicting) error {
		_, err := e.js.PublishMsg(ctx, &nats.Msg{Subject: e.subjects[0], Header: nats.Header{"Nats-Rollup": {"sub"}}})
		return err
	}},
	{"work queue", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, consume},
	{"interest", func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, consume},
	{"purge of all but the newest", func(*jetstream.StreamConfig) {}, func(ctx context.Context, e evicting) error {
		return e.stream.Purge(ctx, jetstream.WithPurgeKeep(3))
	}},
	{"purge up to a sequence", func(*jetstream.StreamConfig) {}, func(ctx context.Context, e evicting) error {
		return e.stream.Purge(ctx, jetstream.WithPurgeSequence(6))
	}},
}

// What leaves a stream by itself is no damage of its store.
func TestEvictionsAreNoDamage(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load([]string{"NATS_URL=nats://a"})
	if err != nil {
		t.Fatal(err)
	}
	events, quarantine := publisher.DesiredStreams(cfg.Stream)
	for _, of := range []struct {
		want     jetstream.StreamConfig
		subjects [2]string
	}{
		{events, [2]string{"apixo.task.success", "apixo.task.failed"}},
		{quarantine, [2]string{"apixo.quarantine.rejected", "apixo.quarantine.conflict"}},
	} {
		for _, tt := range evictions {
			t.Run(of.want.Name+" "+tt.name, func(t *testing.T) {
				t.Parallel()
				e := evicting{js: natstest.JetStream(t, natstest.Start(t, natstest.Options(t)).ClientURL()), subjects: of.subjects}
				changed := of.want
				tt.change(&changed)
				var err error
				if e.stream, err = e.js.CreateStream(t.Context(), changed); err != nil {
					t.Fatal(err)
				}
				for i := range 10 {
					if err := e.publish(t.Context(), i%2); err != nil {
						t.Fatal(err)
					}
				}
				if tt.do != nil {
					if err := tt.do(t.Context(), e); err != nil {
						t.Fatal(err)
					}
				}
				var info *jetstream.StreamInfo
				for ctx := within(t, 60*time.Second); info == nil || info.State.Msgs == info.State.LastSeq; {
					if info, err = e.stream.Info(ctx); err != nil {
						t.Fatalf("nothing leaves the stream: %v", err)
					}
				}
				for _, issue := range publisher.ValidateStream(info, publisher.Requirements{Config: of.want, MaxMessage: 1, MaxPayload: 1}) {
					if strings.Contains(issue.Problem, "damaged") {
						t.Errorf("%d of %d have left, and it %s", info.State.LastSeq-info.State.Msgs, info.State.LastSeq, issue.Problem)
					}
				}
			})
		}
	}
}
