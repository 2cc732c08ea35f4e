package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
)

// deed is something that a user does, and the subjects that it cannot be done without.
// Where new is not set, the streams are there and have something in them.
type deed struct {
	user, name string
	new        bool
	needs      []string
	do         func(*testing.T, context.Context, *bench) error
}

const (
	fetch  = "$JS.API.CONSUMER.MSG.NEXT.*.*"
	create = "$JS.API.CONSUMER.CREATE.>"
	info   = "$JS.API.STREAM.INFO.*"
	inbox  = "_INBOX.>"
	// Where the relay and its commands are answered.
	relayInbox = "_INBOX_RELAY.>"
	// Where an operator's commands are told of changes of the streams.
	changes = "$JS.EVENT.ADVISORY.STREAM.*.*"
)

// deeds are all that are tried.
var deeds = slices.Concat(eventDeeds, expectDeeds, uiDeeds, archiveDeeds)

var eventDeeds = []deed{
	{"relay", "serve on an empty broker", true, []string{
		"apixo.task.success", "apixo.task.failed", "apixo.quarantine.rejected", "apixo.quarantine.conflict",
		"$JS.API.STREAM.INFO.APIXO", "$JS.API.STREAM.INFO.APIXO_QUARANTINE", "$JS.API.STREAM.MSG.GET.APIXO",
		"$JS.API.STREAM.CREATE.APIXO", "$JS.API.STREAM.CREATE.APIXO_QUARANTINE", relayInbox,
	}, func(t *testing.T, ctx context.Context, b *bench) error { return b.serveAll(t, ctx, "relay") }},
	{"relay", "bring back what an operator removed", false, []string{
		"$JS.API.STREAM.MSG.GET.APIXO",
	}, bringBack},
	{"relay", "check", false, []string{
		"apixo.task.success", "apixo.task.failed", "apixo.quarantine.rejected", "apixo.quarantine.conflict",
		"$JS.API.STREAM.INFO.APIXO", "$JS.API.STREAM.INFO.APIXO_QUARANTINE", "$JS.API.STREAM.MSG.GET.APIXO", relayInbox,
		"$JS.EVENT.ADVISORY.STREAM.*.APIXO", "$JS.EVENT.ADVISORY.STREAM.*.APIXO_QUARANTINE",
	}, func(_ *testing.T, ctx context.Context, b *bench) error {
		return b.says(ctx, "relay", "this user may do all that the relay does", "check")
	}},
	{"relay", "check the account's limits", false, []string{"$JS.API.INFO"}, func(_ *testing.T, ctx context.Context, b *bench) error {
		return b.says(ctx, "relay", " at the most (", "check")
	}},

	{"consumer", "read events", false, []string{
		"$JS.API.CONSUMER.CREATE.APIXO.>", "$JS.API.CONSUMER.MSG.NEXT.APIXO.*", "$JS.ACK.APIXO.>", inbox,
	}, readEvents},
	{"consumer", "read by a consumer that is there", false, []string{
		"$JS.API.STREAM.INFO.APIXO", "$JS.API.CONSUMER.INFO.APIXO.*", "$JS.API.CONSUMER.CREATE.APIXO.>", inbox,
	}, bind},
	{"consumer", "connect as the JavaScript client does", false, []string{"$JS.API.INFO", inbox}, func(t *testing.T, ctx context.Context, b *bench) error {
		_, js := b.connect(t, "consumer")
		_, err := js.AccountInfo(ctx)
		return err
	}},

	{"operator", "check", false, []string{
		"apixo.task.success", "apixo.task.failed", "apixo.quarantine.rejected", "apixo.quarantine.conflict",
		info, "$JS.API.STREAM.MSG.GET.*", relayInbox, changes,
	}, func(_ *testing.T, ctx context.Context, b *bench) error {
		return b.says(ctx, "operator", "this user may do all that the relay does", "check")
	}},
	{"operator", "check the account's limits", false, []string{"$JS.API.INFO"}, func(_ *testing.T, ctx context.Context, b *bench) error {
		return b.says(ctx, "operator", " at the most (", "check")
	}},
	{"operator", "tail", false, []string{info, create, fetch, relayInbox}, func(_ *testing.T, ctx context.Context, b *bench) error {
		return b.says(ctx, "operator", "task_", "tail", "--since", "1h", "--count", "2")
	}},
	{"operator", "tail --quarantine", false, []string{info, create, fetch, relayInbox}, func(_ *testing.T, ctx context.Context, b *bench) error {
		return b.says(ctx, "operator", "not-final", "tail", "--quarantine", "--since", "1h", "--count", "1")
	}},
	{"operator", "tail and leave no consumer", false, []string{"$JS.API.CONSUMER.DELETE.*.*"}, leaveNoConsumer},
	{"operator", "replay to standard output", false, []string{info, create, fetch, relayInbox}, func(_ *testing.T, ctx context.Context, b *bench) error {
		return b.says(ctx, "operator", `"ai.apixo.task.failed"`, "replay", "--from-seq", "1", "--to", "-")
	}},
	{"operator", "replay to a subject", false, []string{
		"$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.NAMES", "replayed.>", "$JS.API.STREAM.DELETE.*", info, create, fetch, inbox, relayInbox,
	}, replayToSubject},
	{"operator", "replay over HTTP", false, []string{info, create, fetch, relayInbox}, func(_ *testing.T, ctx context.Context, b *bench) error {
		return b.replayToHTTP(ctx)
	}},
	{"operator", "replay --quarantine over HTTP", false, []string{info, create, fetch, relayInbox}, func(_ *testing.T, ctx context.Context, b *bench) error {
		return b.replayToHTTP(ctx, "--quarantine")
	}},
	{"operator", "backfill", false, []string{
		"apixo.task.success", "apixo.task.failed", info, create, fetch, relayInbox,
	}, backfill},
	{"operator", "look after streams", false, []string{
		"$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*", "replayed.>",
		"$JS.API.DIRECT.GET.>", "$JS.API.STREAM.MSG.GET.*", "$JS.API.STREAM.MSG.DELETE.*", "$JS.API.STREAM.PURGE.*", "$JS.API.STREAM.DELETE.*",
		"$JS.API.STREAM.LEADER.STEPDOWN.*", inbox,
	}, lookAfterStreams},
	{"operator", "back a stream up and restore it", false, []string{
		info, "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.DELETE.*", "replayed.>", "$JS.API.STREAM.SNAPSHOT.*", "$JS.SNAPSHOT.ACK.>",
		"$JS.API.STREAM.RESTORE.*", "$JS.SNAPSHOT.RESTORE.>", inbox,
	}, backUpAndRestore},
	{"operator", "look after consumers", false, []string{
		create, "$JS.API.CONSUMER.NAMES.*", "$JS.API.CONSUMER.LIST.*", "$JS.API.CONSUMER.INFO.*.*", "$JS.API.CONSUMER.DELETE.*.*", inbox,
	}, lookAfterConsumers},
}

// serveAll runs a relay and sends it all that it can be sent.
func (b *bench) serveAll(t *testing.T, ctx context.Context, user string) error {
	r, err := b.serve(t, ctx, user, "RELAY_PUBLISH_TIMEOUT=10s")
	if err != nil {
		return err
	}
	success, failed := b.task(), b.task()
	rejected := fmt.Sprintf(`{"code":200,"data":{"taskId":%q,"state":"processing"}}`, b.task())
	return errors.Join(
		post(ctx, r, webhook(success, "success"), http.StatusOK, `"duplicate":false`),
		post(ctx, r, webhook(success, "success"), http.StatusOK, `"duplicate":true`),
		post(ctx, r, webhook(failed, "failed"), http.StatusOK, `"duplicate":false`),
		post(ctx, r, rejected, http.StatusUnprocessableEntity, `"quarantined":{"stream":"APIXO_QUARANTINE"`),
		post(ctx, r, webhook(success, "failed"), http.StatusOK, `"conflict":true`),
	)
}

// bringBack repeats a webhook whose event was deleted.
func bringBack(t *testing.T, ctx context.Context, b *bench) error {
	r, err := b.serve(t, ctx, "relay", "RELAY_PUBLISH_TIMEOUT=10s")
	if err != nil {
		return err
	}
	task := b.task()
	if err := post(ctx, r, webhook(task, "success"), http.StatusOK, `"duplicate":false`); err != nil {
		return err
	}
	_, js := b.connect(t, "operator")
	stream, err := js.Stream(ctx, "APIXO")
	if err != nil {
		return err
	}
	if err := stream.DeleteMsg(ctx, stream.CachedInfo().State.LastSeq); err != nil {
		return err
	}
	return post(ctx, r, webhook(task, "success"), http.StatusOK, `"duplicate":false`)
}

// says runs a command that must succeed and print a text.
func (b *bench) says(ctx context.Context, user, text string, args ...string) error {
	out, err := b.command(ctx, user, nil, args...)
	if err == nil && !strings.Contains(out, text) {
		err = fmt.Errorf("%s does not say %q:\n%s", args[0], text, out)
	}
	return err
}

// durable is a service's consumer, as README.md of the repository shows it.
func durable(name string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{Durable: name, FilterSubject: "apixo.task.>", AckPolicy: jetstream.AckExplicitPolicy}
}

func readEvents(t *testing.T, ctx context.Context, b *bench) error {
	_, js := b.connect(t, "consumer")
	return readAs(ctx, js, "my-service")
}

// readAs takes an event, has it come again, and acknowledges it.
func readAs(ctx context.Context, js jetstream.JetStream, name string) error {
	consumer, err := js.CreateOrUpdateConsumer(ctx, "APIXO", durable(name))
	if err != nil {
		return err
	}
	for _, answer := range []func(jetstream.Msg) error{
		func(m jetstream.Msg) error { return errors.Join(m.InProgress(), m.Nak()) },
		func(m jetstream.Msg) error { return m.DoubleAck(ctx) },
	} {
		msg, err := consumer.Next(jetstream.FetchContext(ctx))
		if err != nil {
			return err
		}
		if err := answer(msg); err != nil {
			return err
		}
	}
	return nil
}

// bind uses a consumer that somebody has made.
func bind(t *testing.T, ctx context.Context, b *bench) error {
	_, js := b.connect(t, "consumer")
	if _, err := js.CreateOrUpdateConsumer(ctx, "APIXO", durable("made-before")); err != nil {
		return err
	}
	stream, err := js.Stream(ctx, "APIXO")
	if err != nil {
		return err
	}
	_, err = stream.Consumer(ctx, "made-before")
	return err
}

func (b *bench) replayStream(name string) jetstream.StreamConfig {
	return jetstream.StreamConfig{Name: name, Subjects: []string{"replayed." + strings.ToLower(name)}, Replicas: b.replicas, AllowDirect: true}
}

func replayToSubject(t *testing.T, ctx context.Context, b *bench) error {
	_, js := b.connect(t, "operator")
	cfg := b.replayStream("REPLAYED")
	if _, err := js.CreateStream(ctx, cfg); err != nil {
		return err
	}
	out, err := b.command(ctx, "operator", nil, "replay", "--from-seq", "1", "--to", "nats:"+cfg.Subjects[0])
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, cfg.Name)
	if err != nil {
		return err
	}
	if stream.CachedInfo().State.Msgs == 0 {
		return fmt.Errorf("nothing was replayed:\n%s", out)
	}
	return js.DeleteStream(ctx, cfg.Name)
}

func (b *bench) replayToHTTP(ctx context.Context, more ...string) error {
	came := make(chan struct{}, 1000)
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { came <- struct{}{} }))
	defer target.Close()
	_, err := b.command(ctx, "operator", nil, append([]string{"replay", "--from-seq", "1", "--to", target.URL}, more...)...)
	if err == nil && len(more) == 0 && len(came) == 0 {
		err = errors.New("nothing was replayed")
	}
	return err
}

func backfill(_ *testing.T, ctx context.Context, b *bench) error {
	api := fakeapi.New("key-of-the-tests")
	server := httptest.NewServer(api)
	defer server.Close()
	success, failed := b.task(), b.task()
	api.Set(failed, fakeapi.Failure)
	out, err := b.command(ctx, "operator", []string{"APIXO_API_KEY=key-of-the-tests", "APIXO_BASE_URL=" + server.URL, "RELAY_PUBLISH_TIMEOUT=10s"},
		"backfill", "--model", "nano-banana", success, failed)
	if err == nil && !strings.Contains(out, "2 stored") {
		err = fmt.Errorf("backfill says\n%s", out)
	}
	return err
}

func lookAfterStreams(t *testing.T, ctx context.Context, b *bench) error {
	conn, js := b.connect(t, "operator")
	cfg := b.replayStream("OTHER")
	stream, err := js.CreateStream(ctx, cfg)
	if err != nil {
		return err
	}
	names := js.StreamNames(ctx)
	for range names.Name() {
	}
	infos := js.ListStreams(ctx)
	for range infos.Info() {
	}
	cfg.MaxBytes = 1 << 20
	_, updated := js.UpdateStream(ctx, cfg)
	ack, err := js.Publish(ctx, cfg.Subjects[0], nil)
	if err := errors.Join(names.Err(), infos.Err(), updated, err); err != nil {
		return err
	}
	// A replica may not have the message yet, which is an answer, too.
	if _, err := stream.GetMsg(ctx, ack.Sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return err
	}
	// As 'nats stream get' does.
	_, got := conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+cfg.Name, []byte(`{"seq":1}`))
	// A single server answers that it is no cluster.
	_, stepped := conn.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN.APIXO_QUARANTINE", nil)
	return errors.Join(got, stream.DeleteMsg(ctx, ack.Sequence), stream.Purge(ctx), stepped, js.DeleteStream(ctx, cfg.Name))
}

// backUpAndRestore does what 'nats stream backup' and 'nats stream restore' do.
func backUpAndRestore(t *testing.T, ctx context.Context, b *bench) error {
	conn, js := b.connect(t, "operator")
	cfg := b.replayStream("KEPT")
	if _, err := js.CreateStream(ctx, cfg); err != nil {
		return err
	}
	const messages = 100
	for range messages {
		if _, err := js.Publish(ctx, cfg.Subjects[0], []byte(rand.Text())); err != nil {
			return err
		}
	}
	k, archive, err := backUp(ctx, conn, cfg.Name)
	if err != nil {
		return err
	}
	if err := js.DeleteStream(ctx, cfg.Name); err != nil {
		return err
	}
	if err := restore(ctx, conn, cfg.Name, k, archive); err != nil {
		return err
	}
	stream, err := js.Stream(ctx, cfg.Name)
	if err != nil {
		return err
	}
	if n := stream.CachedInfo().State.Msgs; n != messages {
		return fmt.Errorf("%d of %d messages were restored", n, messages)
	}
	return js.DeleteStream(ctx, cfg.Name)
}

// kept is what the server tells of a stream that is backed up, and wants to be told when
// it is restored.
type kept struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
}

// backUp returns an archive of a stream's messages, too.
func backUp(ctx context.Context, conn *nats.Conn, stream string) (k kept, archive []byte, err error) {
	chunks, err := conn.SubscribeSync(conn.NewInbox())
	if err != nil {
		return kept{}, nil, err
	}
	// The smallest window that there is, so that the server waits for acknowledgements.
	answer, err := ask(ctx, conn, "$JS.API.STREAM.SNAPSHOT."+stream, fmt.Appendf(nil, `{"deliver_subject":%q,"chunk_size":1024,"window_size":1024}`, chunks.Subject))
	if err != nil {
		return kept{}, nil, err
	}
	if err := json.Unmarshal(answer, &k); err != nil {
		return kept{}, nil, err
	}
	for {
		chunk, err := chunks.NextMsgWithContext(ctx)
		if err != nil {
			return kept{}, nil, err
		}
		if len(chunk.Data) == 0 { // the end, or a reason for it
			if status := chunk.Header.Get("Status"); status != "" && status != "204" {
				err = fmt.Errorf("the backup ended with %s %s", status, chunk.Header.Get("Description"))
			}
			return k, archive, errors.Join(err, chunks.Unsubscribe())
		}
		archive = append(archive, chunk.Data...)
		if chunk.Reply != "" {
			if err := chunk.Respond(nil); err != nil {
				return kept{}, nil, err
			}
		}
	}
}

// restore makes a stream of what backUp has returned.
func restore(ctx context.Context, conn *nats.Conn, stream string, k kept, archive []byte) error {
	request, err := json.Marshal(k)
	if err != nil {
		return err
	}
	answer, err := ask(ctx, conn, "$JS.API.STREAM.RESTORE."+stream, request)
	if err != nil {
		return err
	}
	var to struct {
		Subject string `json:"deliver_subject"`
	}
	if err := json.Unmarshal(answer, &to); err != nil {
		return err
	}
	for chunk := range slices.Chunk(archive, 1024) {
		if _, err := conn.RequestWithContext(ctx, to.Subject, chunk); err != nil {
			return err
		}
	}
	_, err = ask(ctx, conn, to.Subject, nil) // that was all
	return err
}

// ask returns an answer of JetStream's API that is no error.
func ask(ctx context.Context, conn *nats.Conn, subject string, request []byte) (json.RawMessage, error) {
	msg, err := conn.RequestWithContext(ctx, subject, request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", subject, err)
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return nil, err
	}
	if answer.Error != nil {
		return nil, answer.Error
	}
	return msg.Data, nil
}

// leaveNoConsumer reads events, and looks what that has left.
func leaveNoConsumer(t *testing.T, ctx context.Context, b *bench) error {
	_, js := b.connect(t, "operator")
	stream, err := js.Stream(ctx, "APIXO")
	if err != nil {
		return err
	}
	before := stream.CachedInfo().State.Consumers
	if err := b.says(ctx, "operator", "task_", "tail", "--since", "1h", "--count", "1"); err != nil {
		return err
	}
	return b.consumers(t, ctx, "APIXO", before)
}

// consumers waits until a stream has so many. Those that nobody may delete end by themselves, some
// seconds later: they count as left.
func (b *bench) consumers(t *testing.T, ctx context.Context, name string, want int) error {
	_, js := b.connect(t, "operator")
	for {
		stream, err := js.Stream(ctx, name)
		if err != nil {
			return err
		}
		for _, s := range b.servers {
			if left := of(s.violations(), "$JS.API.CONSUMER.DELETE."); len(left) > 0 {
				return fmt.Errorf("a consumer is left: %s", left[0])
			}
		}
		n := stream.CachedInfo().State.Consumers
		if n == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has %d consumers, not %d", name, n, want)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func lookAfterConsumers(t *testing.T, ctx context.Context, b *bench) error {
	_, js := b.connect(t, "operator")
	if _, err := js.CreateOrUpdateConsumer(ctx, "APIXO", durable("to-be-deleted")); err != nil {
		return err
	}
	if _, err := js.Consumer(ctx, "APIXO", "to-be-deleted"); err != nil {
		return err
	}
	stream, err := js.Stream(ctx, "APIXO")
	if err != nil {
		return err
	}
	names := stream.ConsumerNames(ctx)
	for range names.Name() {
	}
	infos := stream.ListConsumers(ctx)
	for range infos.Info() {
	}
	return errors.Join(names.Err(), infos.Err(), js.DeleteConsumer(ctx, "APIXO", "to-be-deleted"))
}
