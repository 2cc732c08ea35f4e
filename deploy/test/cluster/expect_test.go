package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	bucket       = "$KV.APIXO_EXPECTED.>"
	bucketInfo   = "$JS.API.STREAM.INFO.KV_APIXO_EXPECTED"
	bucketStream = "KV_APIXO_EXPECTED"
	apiKey       = "key-of-the-tests"
)

// expectDeeds are what is done with announced tasks.
var expectDeeds = []deed{
	{"relay", "look after announced tasks on an empty broker", true, []string{
		"apixo.task.success", "apixo.quarantine.missing", bucket, bucketInfo,
		"$JS.API.STREAM.CREATE.KV_APIXO_EXPECTED", "$JS.API.CONSUMER.CREATE.KV_APIXO_EXPECTED.>", relayInbox,
	}, func(t *testing.T, ctx context.Context, b *bench) error { return b.recoverAndGiveUp(t, ctx, "relay") }},
	{"relay", "check with announced tasks", false, []string{
		"apixo.quarantine.missing", bucket, bucketInfo, "$JS.API.DIRECT.GET.KV_APIXO_EXPECTED.>", "$JS.API.CONSUMER.CREATE.KV_APIXO_EXPECTED.>",
		"$JS.API.CONSUMER.DELETE.KV_APIXO_EXPECTED.*", "$JS.EVENT.ADVISORY.STREAM.DELETED.KV_APIXO_EXPECTED", relayInbox,
	}, func(_ *testing.T, ctx context.Context, b *bench) error { return b.checkExpecting(ctx, "relay") }},
	{"relay", "take an announcement twice", false, []string{"$JS.API.DIRECT.GET.KV_APIXO_EXPECTED.>"}, func(t *testing.T, ctx context.Context, b *bench) error {
		task := b.task()
		return b.whileExpecting(t, ctx, "relay", func(r *relaytest.Relay) error {
			return errors.Join(announce(ctx, r, task), announce(ctx, r, task))
		})
	}},
	{"relay", "look after a long list of tasks", false, []string{"$JS.FC.KV_APIXO_EXPECTED.>"}, func(t *testing.T, ctx context.Context, b *bench) error {
		if err := b.announceMany(t, ctx); err != nil {
			return err
		}
		return b.whileExpecting(t, ctx, "relay", func(r *relaytest.Relay) error {
			return errors.Join(metric(ctx, r, "expected_tasks", fmt.Sprint(many)), b.forgetAll(t, ctx))
		})
	}},
	{"relay", "stop and leave no consumer of the bucket", false, []string{"$JS.API.CONSUMER.DELETE.KV_APIXO_EXPECTED.*"}, stopFollowing},
	{"relay", "hear that the bucket is deleted", false, []string{"$JS.EVENT.ADVISORY.STREAM.DELETED.KV_APIXO_EXPECTED"}, makeBucketAgain},

	{"producer", "announce a task", false, []string{bucket, bucketInfo, "_INBOX_PRODUCER.>"}, func(t *testing.T, ctx context.Context, b *bench) error {
		kv, err := b.producer(t, ctx)
		if err != nil {
			return err
		}
		_, err = kv.Put(ctx, schema.ExpectedKey(b.task()), []byte(`{"model":"nano-banana"}`))
		return err
	}},
	{"producer", "announce a task twice", false, []string{"$JS.API.DIRECT.GET.KV_APIXO_EXPECTED.$KV.APIXO_EXPECTED.>"}, func(t *testing.T, ctx context.Context, b *bench) error {
		kv, err := b.producer(t, ctx)
		if err != nil {
			return err
		}
		key := schema.ExpectedKey(b.task())
		if _, err := kv.Create(ctx, key, []byte(`{"model":"nano-banana"}`)); err != nil {
			return err
		}
		if _, err = kv.Create(ctx, key, []byte(`{"model":"nano-banana"}`)); errors.Is(err, jetstream.ErrKeyExists) {
			err = ctx.Err() // it was not to find out only at the end of the time
		}
		return err
	}},

	{"operator", "check with announced tasks", false, []string{"apixo.quarantine.missing", bucket, info, relayInbox}, func(_ *testing.T, ctx context.Context, b *bench) error {
		return b.checkExpecting(ctx, "operator")
	}},
	{"operator", "expect", false, []string{bucket, info, relayInbox}, func(_ *testing.T, ctx context.Context, b *bench) error {
		_, err := b.command(ctx, "operator", nil, "expect", "--model", "nano-banana", b.task(), b.task())
		return err
	}},
	// As README.md says of streams: what the relay may not make, it makes as an operator.
	{"operator", "run a relay", false, []string{"apixo.task.success", "apixo.quarantine.missing", bucket, info, create, relayInbox}, func(t *testing.T, ctx context.Context, b *bench) error {
		return b.recoverAndGiveUp(t, ctx, "operator")
	}},
	{"operator", "expect --list", false, []string{info, create, relayInbox}, func(_ *testing.T, ctx context.Context, b *bench) error {
		task := b.task()
		_, err := b.command(ctx, "operator", nil, "expect", "--model", "nano-banana", task)
		return errors.Join(err, b.lists(ctx, task))
	}},
	{"operator", "expect --list of a long list", false, []string{"$JS.FC.>"}, func(t *testing.T, ctx context.Context, b *bench) error {
		if err := b.announceMany(t, ctx); err != nil {
			return err
		}
		return errors.Join(b.lists(ctx, "many_0"), b.forgetAll(t, ctx))
	}},
}

// whileExpecting does something with a relay that looks after announced tasks, and ends
// the relay.
func (b *bench) whileExpecting(t *testing.T, ctx context.Context, user string, do func(*relaytest.Relay) error, environ ...string) error {
	r, err := b.serve(t, ctx, user, append(environ, "RELAY_EXPECT=true", "APIXO_API_KEY="+apiKey, "RELAY_PUBLISH_TIMEOUT=10s")...)
	if err != nil {
		return err
	}
	if err := do(r); err != nil {
		return err
	}
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	// Also beyond the end of ctx: at a second signal it would end without order.
	for ended := time.Now().Add(patience); r.Process.Signal(syscall.Signal(0)) == nil && time.Now().Before(ended); {
		time.Sleep(20 * time.Millisecond)
	}
	return ctx.Err()
}

// checkExpecting runs check with the settings of a relay that looks after announced tasks.
func (b *bench) checkExpecting(ctx context.Context, user string) error {
	api := httptest.NewServer(fakeapi.New(apiKey))
	defer api.Close()
	out, err := b.command(ctx, user, []string{"RELAY_EXPECT=true", "APIXO_API_KEY=" + apiKey, "APIXO_BASE_URL=" + api.URL}, "check")
	if err == nil && !strings.Contains(out, "this user may do all that the relay does") {
		err = fmt.Errorf("check says\n%s", out)
	}
	return err
}

// announce announces a task to a relay.
func announce(ctx context.Context, r *relaytest.Relay, task string) error {
	status, said, err := do(ctx, http.MethodPost, strings.Replace(r.Webhooks, "/webhook/apixo", "/expect", 1), fmt.Sprintf(`{"taskId":%q,"model":"nano-banana"}`, task))
	if err == nil && (status != http.StatusOK || !strings.Contains(said, `"expected":true`)) {
		err = fmt.Errorf("the announcement of %s got %d %s", task, status, said)
	}
	return err
}

// metric waits until a metric of a relay has one of some values.
func metric(ctx context.Context, r *relaytest.Relay, name, values string) error {
	want := regexp.MustCompile(`\napixo_relay_` + name + ` (?:` + values + `)\n`)
	for {
		_, said, err := get(ctx, r.Admin+"/metrics")
		if err == nil && want.MatchString(said) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not become %s: %v\n%s", name, values, err, said)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// recoverAndGiveUp announces a task whose webhook does not come, and one that does not end.
func (b *bench) recoverAndGiveUp(t *testing.T, ctx context.Context, user string) error {
	api := fakeapi.New(apiKey)
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	lost, unending := b.task(), b.task()
	api.Set(unending, fakeapi.State("processing"))
	return b.whileExpecting(t, ctx, user, func(r *relaytest.Relay) error {
		if err := errors.Join(announce(ctx, r, lost), announce(ctx, r, unending)); err != nil {
			return err
		}
		// Those that other deeds have announced are recovered, too.
		return errors.Join(metric(ctx, r, "recovered_total", "[1-9][0-9]*"), metric(ctx, r, "missing_total", "1"), metric(ctx, r, "expected_tasks", "0"))
	}, "APIXO_BASE_URL="+server.URL, "RELAY_EXPECT_AFTER=1s", "RELAY_EXPECT_GIVE_UP=2s")
}

// lists waits until a task is among those that are outstanding: a replica may lag behind
// for a moment.
func (b *bench) lists(ctx context.Context, task string) error {
	for {
		err := b.says(ctx, "operator", task, "expect", "--list")
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// many are so many announcements of 4 KB that the broker, when they are read, waits for
// the reader.
const many = 1000

// announceMany announces so many tasks, in an empty bucket.
func (b *bench) announceMany(t *testing.T, ctx context.Context) error {
	if err := b.forgetAll(t, ctx); err != nil {
		return err
	}
	_, js := b.connect(t, "operator")
	value := fmt.Appendf(nil, `{"model":"nano-banana","attributes":{"long":%q}}`, strings.Repeat("x", 4000))
	for i := range many {
		if _, err := js.PublishAsync(fmt.Sprintf("$KV.APIXO_EXPECTED.many_%d", i), value, jetstream.WithStallWait(patience)); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return errors.New("the announcements are not acknowledged")
	}
}

// forgetAll empties the bucket.
func (b *bench) forgetAll(t *testing.T, ctx context.Context) error {
	_, js := b.connect(t, "operator")
	stream, err := js.Stream(ctx, bucketStream)
	if err != nil {
		return err
	}
	return stream.Purge(ctx)
}

// stopFollowing ends a relay that follows the bucket, and looks what that has left.
func stopFollowing(t *testing.T, ctx context.Context, b *bench) error {
	_, js := b.connect(t, "operator")
	stream, err := js.Stream(ctx, bucketStream)
	if err != nil {
		return err
	}
	before := stream.CachedInfo().State.Consumers
	err = b.whileExpecting(t, ctx, "relay", func(*relaytest.Relay) error { return b.consumers(t, ctx, bucketStream, before+1) })
	return errors.Join(err, b.consumers(t, ctx, bucketStream, before))
}

// makeBucketAgain deletes the bucket of a running relay.
func makeBucketAgain(t *testing.T, ctx context.Context, b *bench) error {
	// Nobody tells a relay that runs.
	if err := b.forgetAll(t, ctx); err != nil {
		return err
	}
	_, js := b.connect(t, "operator")
	task := b.task()
	again := func() error {
		// Without a leader nobody answers.
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		kv, err := js.KeyValue(ctx, "APIXO_EXPECTED")
		if err == nil {
			_, err = kv.Get(ctx, schema.ExpectedKey(task))
		}
		return err
	}
	return b.whileExpecting(t, ctx, "relay", func(r *relaytest.Relay) error {
		// What it has not been told of, it cannot put back.
		if err := errors.Join(announce(ctx, r, task), metric(ctx, r, "expected_tasks", "1")); err != nil {
			return err
		}
		if err := js.DeleteKeyValue(ctx, "APIXO_EXPECTED"); err != nil {
			return err
		}
		for {
			err := again()
			if err == nil {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the bucket is not made again with what was in it: %w", err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

// producer opens the bucket as a producer does.
func (b *bench) producer(t *testing.T, ctx context.Context) (jetstream.KeyValue, error) {
	_, js := b.connect(t, "producer", nats.CustomInboxPrefix("_INBOX_PRODUCER"))
	return js.KeyValue(ctx, "APIXO_EXPECTED")
}
