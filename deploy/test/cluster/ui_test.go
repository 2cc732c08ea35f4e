package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What the operator's page asks the broker for.
const (
	jsInfo          = "$JS.API.INFO"
	eventsGet       = "$JS.API.STREAM.MSG.GET.APIXO"
	quarantineGet   = "$JS.API.STREAM.MSG.GET.APIXO_QUARANTINE"
	eventsRead      = "$JS.API.CONSUMER.CREATE.APIXO.>"
	quarantineRead  = "$JS.API.CONSUMER.CREATE.APIXO_QUARANTINE.>"
	eventsNext      = "$JS.API.CONSUMER.MSG.NEXT.APIXO.*"
	quarantineNext  = "$JS.API.CONSUMER.MSG.NEXT.APIXO_QUARANTINE.*"
	eventsLeave     = "$JS.API.CONSUMER.DELETE.APIXO.*"
	quarantineLeave = "$JS.API.CONSUMER.DELETE.APIXO_QUARANTINE.*"
	eventsLost      = "$JS.API.CONSUMER.INFO.APIXO.*"
	quarantineLost  = "$JS.API.CONSUMER.INFO.APIXO_QUARANTINE.*"
	consumers       = "$JS.API.CONSUMER.LIST.APIXO"
	bucketGet       = "$JS.API.DIRECT.GET.KV_APIXO_EXPECTED.>"
	bucketRead      = "$JS.API.CONSUMER.CREATE.KV_APIXO_EXPECTED.>"
	bucketLeave     = "$JS.API.CONSUMER.DELETE.KV_APIXO_EXPECTED.*"
	bucketFlow      = "$JS.FC.KV_APIXO_EXPECTED.>"
	archiveGet      = "$JS.API.STREAM.MSG.GET.APIXO_ARCHIVE"
	archiveRead     = "$JS.API.CONSUMER.CREATE.APIXO_ARCHIVE.>"
	archiveNext     = "$JS.API.CONSUMER.MSG.NEXT.APIXO_ARCHIVE.*"
	archiveLeave    = "$JS.API.CONSUMER.DELETE.APIXO_ARCHIVE.*"
	archiveLost     = "$JS.API.CONSUMER.INFO.APIXO_ARCHIVE.*"
	objectsGet      = "$JS.API.DIRECT.GET.OBJ_APIXO_FILES"
	objectsFind     = "$JS.API.DIRECT.GET.OBJ_APIXO_FILES.>"
)

// uiDeeds are what is done with the operator's page, by who may do everything with it, and by
// who looks and no more.
var uiDeeds = append(append(lookingDeeds("ui"), lookingDeeds("viewer", "--read-only")...),
	deed{"ui", "send a quarantined webhook again", false, []string{info, quarantineGet, quarantineRead, quarantineNext}, sendAgain},
	deed{"ui", "put aside what is quarantined", false, []string{"$JS.API.STREAM.MSG.DELETE.APIXO_QUARANTINE"}, putAside},
	deed{"ui", "replay to a subject", false, []string{"replayed.>", "$JS.API.STREAM.NAMES", info, eventsRead, eventsNext}, replayByPage},
)

// lookingDeeds look at each view.
func lookingDeeds(user string, args ...string) []deed {
	// Who replays looks at other streams, too.
	infos := map[string][]string{
		"ui":     {info, info, info, info, info},
		"viewer": {"$JS.API.STREAM.INFO.APIXO", "$JS.API.STREAM.INFO.APIXO_QUARANTINE", bucketInfo, "$JS.API.STREAM.INFO.APIXO_ARCHIVE", "$JS.API.STREAM.INFO.OBJ_APIXO_FILES"},
	}[user]
	eventsInfo, quarantineInfo, bucketInfo := infos[0], infos[1], infos[2]
	one := func(name string, needs []string, look func(t *testing.T, ctx context.Context, b *bench, p page) error) deed {
		return deed{user, name, false, append(needs, relayInbox), func(t *testing.T, ctx context.Context, b *bench) error {
			p, err := b.page(t, ctx, user, nil, args...)
			if err != nil {
				return err
			}
			return look(t, ctx, b, p)
		}}
	}
	return []deed{
		one("look at what flows", []string{eventsInfo, quarantineInfo, eventsRead, quarantineRead, eventsNext, quarantineNext, consumers}, func(t *testing.T, ctx context.Context, b *bench, p page) error {
			_, js := b.connect(t, maker)
			if _, err := js.CreateConsumer(ctx, "APIXO", durable("my-service")); err != nil {
				return err
			}
			return p.shows(ctx, "/", "/tasks/task_1", "/tasks/task_2", "not-final", "my-service")
		}),
		one("look at tasks", []string{eventsGet, quarantineGet, bucketInfo, bucketGet}, func(_ *testing.T, ctx context.Context, _ *bench, p page) error {
			return errors.Join(p.shows(ctx, "/tasks/task_1", "apixo.task.success", `href="/quarantine/2"`), p.shows(ctx, "/tasks/task_4", "It is announced"))
		}),
		one("look through events", []string{eventsInfo, eventsRead, eventsNext}, func(_ *testing.T, ctx context.Context, _ *bench, p page) error {
			return errors.Join(p.shows(ctx, "/events?state=failed&since=1h", "/tasks/task_2"), p.shows(ctx, "/events/export", `"id":"task_1"`))
		}),
		one("look at the quarantine", []string{quarantineInfo, quarantineRead, quarantineNext, quarantineGet}, func(_ *testing.T, ctx context.Context, _ *bench, p page) error {
			return errors.Join(p.shows(ctx, "/quarantine?reason=not-final", `data-seq="1"`), p.shows(ctx, "/quarantine/1", "processing"), p.shows(ctx, "/quarantine/1/body", `"processing"`))
		}),
		one("look at announced tasks", []string{bucketInfo, bucketRead}, func(_ *testing.T, ctx context.Context, _ *bench, p page) error {
			return p.shows(ctx, "/expected", "/tasks/task_4")
		}),
		one("look at a long list of announced tasks", []string{bucketFlow}, func(t *testing.T, ctx context.Context, b *bench, p page) error {
			if err := b.announceMany(t, ctx); err != nil {
				return err
			}
			return p.shows(ctx, "/expected", "800 more are outstanding")
		}),
		one("look at archived files", append([]string{archiveGet, archiveRead, archiveNext, objectsGet, objectsFind}, infos[3:]...), func(t *testing.T, ctx context.Context, b *bench, p page) error {
			task, files := b.taskWithFiles(t)
			if err := b.archive(t.Context(), files); err != nil {
				return err
			}
			return errors.Join(p.shows(ctx, "/tasks/"+task, "01-a.txt"), p.shows(ctx, "/tasks/"+task+"/files/1", "a file"))
		}),
		one("leave no consumer of what the archive tells", []string{archiveLeave, archiveLost}, func(t *testing.T, ctx context.Context, b *bench, _ page) error {
			if err := b.archive(t.Context(), nil); err != nil {
				return err
			}
			conn, _ := b.connect(t, maker)
			asked, err := conn.SubscribeSync(archiveLost)
			if err != nil {
				return err
			}
			// Another page reads what was told before it began, by a consumer besides the one by
			// which each follows the stream.
			if _, err := b.page(t, ctx, user, nil, args...); err != nil {
				return err
			}
			if _, err := asked.NextMsgWithContext(ctx); err != nil {
				return fmt.Errorf("it never asks at %s: %w", archiveLost, err)
			}
			for _, line := range b.violations(t) {
				err = errors.Join(err, errors.New(line))
			}
			return errors.Join(err, b.consumers(t, ctx, archiveStream, 2))
		}),
		one("look at checks", []string{jsInfo}, func(_ *testing.T, ctx context.Context, _ *bench, p page) error {
			return p.shows(ctx, "/checks", " at the most (")
		}),
		one("notice what was lost on its way", []string{eventsLost, quarantineLost}, func(t *testing.T, ctx context.Context, b *bench, p page) error {
			conn, _ := b.connect(t, maker)
			var asked []*nats.Subscription
			for _, subject := range []string{eventsLost, quarantineLost} {
				sub, err := conn.SubscribeSync(subject)
				if err != nil {
					return err
				}
				asked = append(asked, sub)
			}
			// It asks when nothing has come for 5 s.
			for _, sub := range asked {
				if _, err := sub.NextMsgWithContext(ctx); err != nil {
					return fmt.Errorf("it never asks at %s: %w", sub.Subject, err)
				}
			}
			return nil
		}),
		one("leave no consumer of the streams", []string{eventsLeave, quarantineLeave, bucketLeave}, func(t *testing.T, ctx context.Context, b *bench, p page) error {
			if err := errors.Join(p.shows(ctx, "/events", "/tasks/task_1"), p.shows(ctx, "/quarantine", "not-final"), p.shows(ctx, "/expected", "/tasks/task_4")); err != nil {
				return err
			}
			// With one it follows a stream.
			return errors.Join(b.consumers(t, ctx, "APIXO", 1), b.consumers(t, ctx, "APIXO_QUARANTINE", 1), b.consumers(t, ctx, bucketStream, 0))
		}),
	}
}

// sendAgain sends a conflict to a relay, which takes it again.
func sendAgain(t *testing.T, ctx context.Context, b *bench) error {
	r, err := b.serve(t, ctx, "relay", "RELAY_PUBLISH_TIMEOUT=10s")
	if err != nil {
		return err
	}
	p, err := b.page(t, ctx, "ui", []string{"RELAY_UI_TARGETS=relay=" + r.Webhooks})
	if err != nil {
		return err
	}
	if err := p.does(ctx, "/quarantine/send?seq=2"); err != nil {
		return err
	}
	return p.shows(ctx, "/replay", "The replay is done", "delivered   1")
}

// putAside deletes a message from the quarantine.
func putAside(t *testing.T, ctx context.Context, b *bench) error {
	p, err := b.page(t, ctx, "ui", nil)
	if err != nil {
		return err
	}
	if err := p.does(ctx, "/quarantine/put-aside?seq=1"); err != nil {
		return err
	}
	_, js := b.connect(t, maker)
	stream, err := js.Stream(ctx, "APIXO_QUARANTINE")
	if err != nil {
		return err
	}
	if _, err := stream.GetMsg(ctx, 1); !errors.Is(err, jetstream.ErrMsgNotFound) {
		return errors.Join(errors.New("it is there still"), err)
	}
	return nil
}

// replayByPage replays to a subject that a stream takes.
func replayByPage(t *testing.T, ctx context.Context, b *bench) error {
	_, js := b.connect(t, maker)
	stream, err := js.CreateStream(ctx, b.replayStream("REPLAYED"))
	if err != nil {
		return err
	}
	p, err := b.page(t, ctx, "ui", []string{"RELAY_UI_TARGETS=again=nats:replayed.replayed"})
	if err != nil {
		return err
	}
	if err := p.does(ctx, "/replay?from-seq=1&target=again&action=start"); err != nil {
		return err
	}
	if err := p.shows(ctx, "/replay", "The replay is done"); err != nil {
		return err
	}
	info, err := stream.Info(ctx)
	if err == nil && info.State.Msgs != 2 {
		err = fmt.Errorf("%d messages were replayed", info.State.Msgs)
	}
	return err
}
