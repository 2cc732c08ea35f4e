package publisher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// result is the body of a webhook.
func result(id, state, resultJSON string, more ...string) string {
	text, _ := json.Marshal(resultJSON)
	members := append([]string{`"taskId":"` + id + `"`, `"state":"` + state + `"`, `"resultJson":` + string(text)}, more...)
	return `{"code":200,"message":"success","data":{` + strings.Join(members, ",") + `}}`
}

func (b bench) mustStore(t *testing.T, body string, want store.Receipt) {
	t.Helper()
	got, err := b.Store(within(t, 20*time.Second), webhook(t, body))
	if err != nil || got != want {
		t.Errorf("%s:\n%+v, %v, want %+v", body, got, err, want)
	}
}

// kept are the bodies in the quarantine.
func (b bench) kept(t *testing.T) (bodies []string) {
	t.Helper()
	stream, err := b.js.Stream(t.Context(), "APIXO_QUARANTINE")
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		e, err := schema.DecodeMessage(msg.Header, msg.Data)
		if err != nil || e.Type != schema.TypeWebhookConflict || msg.Subject != "apixo.quarantine.conflict" || e.Extensions["reason"] != "conflict" || e.Extensions["detail"] == "" {
			t.Errorf("kept %+v at %s, %v", e, msg.Subject, err)
		}
		bodies = append(bodies, string(e.Data))
	}
	return bodies
}

// reads counts what is asked of the stream from now on.
func (b bench) reads(t *testing.T) (count func() int) {
	t.Helper()
	conn := b.js.Conn()
	sub, err := conn.SubscribeSync("$JS.API.STREAM.MSG.GET.>")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	flush := func() {
		t.Helper()
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	return func() int {
		t.Helper()
		flush() // after which all that was asked before has come
		n, _, err := sub.Pending()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
}

var first = store.Receipt{Stream: "APIXO", Sequence: 1}

func duplicate(conflict bool) store.Receipt {
	return store.Receipt{Stream: "APIXO", Sequence: 1, Duplicate: true, Conflict: conflict}
}

func TestRepeatThatContradictsIsKept(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	b.mustStore(t, result("task_1", "success", `{"resultUrls":["u"]}`), first)
	failed := result("task_1", "failed", "", `"failCode":"X"`)
	other := result("task_1", "success", `{"resultUrls":["v"]}`)
	b.mustStore(t, failed, duplicate(true))
	b.mustStore(t, other, duplicate(true))
	b.mustStore(t, failed, duplicate(true)) // which is kept already
	b.mustStore(t, result("task_1", "success", ` { "resultUrls" : ["u"]} `, `"completeTime":1`), duplicate(false))
	b.mustStore(t, result("task_1", "success", `{"resultUrls":["u"]}`), duplicate(false))
	if kept := b.kept(t); len(kept) != 2 || kept[0] != failed || kept[1] != other {
		t.Errorf("kept %q", kept)
	}
}

// What contradicts and cannot be kept is not acknowledged.
func TestContradictionThatCannotBeKept(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, s.ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "APIXO_QUARANTINE", Subjects: []string{"apixo.quarantine.>"}, Duplicates: time.Hour, Discard: jetstream.DiscardNew, MaxBytes: 100}); err != nil {
		t.Fatal(err)
	}
	b := start(t, s)
	b.mustStore(t, result("task_1", "success", `{"resultUrls":["u"]}`), first)
	_, err := b.Store(within(t, 20*time.Second), webhook(t, result("task_1", "failed", "", `"failCode":"X"`)))
	if reason := reasonOf(t, err); reason != store.StreamFull {
		t.Errorf("refused with %v", err)
	}
}

// One outcome is the same however it is spelt: what is compared is what an event
// tells, and not what the webhook's members were made of.
func TestDriftIsNoContradiction(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	failed := func(code string) string { return result("task_1", "failed", "", `"failCode":`+code, `"costTime":12.5`) }
	b.mustStore(t, failed("1001"), first)
	b.mustStore(t, failed(`"1001"`), duplicate(false))
	b.mustStore(t, failed(`"1002"`), duplicate(true))
	b.mustStore(t, failed("{}"), duplicate(true)) // which does not tell it

	// What another relay, or an earlier version, has stored is read before it is compared.
	stored := webhook(t, result("task_2", "success", `{"resultUrls":["u"]}`))
	if _, err := b.js.PublishMsg(t.Context(), &nats.Msg{Subject: stored.Subject, Header: maps.Clone(stored.Header), Data: stored.Data}, jetstream.WithMsgID("task_2")); err != nil {
		t.Fatal(err)
	}
	b.mustStore(t, result("task_2", "success", `{"resultUrls":["u",null]}`), store.Receipt{Stream: "APIXO", Sequence: 2, Duplicate: true})
	b.mustStore(t, result("task_2", "success", `{"resultUrls":["v",null]}`), store.Receipt{Stream: "APIXO", Sequence: 2, Duplicate: true, Conflict: true})
}

// The relay that is asked need not be the one that stored the event.
func TestRepeatAtAnotherRelay(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	one, other := start(t, s), start(t, s)
	body, contradiction := result("task_1", "success", `{"a":1,"b":2}`), result("task_1", "success", `{"a":1,"b":3}`)
	one.mustStore(t, body, first)
	other.mustStore(t, contradiction, duplicate(true))
	other.mustStore(t, body, duplicate(false))
	if kept := other.kept(t); len(kept) != 1 || kept[0] != contradiction {
		t.Errorf("kept %q", kept)
	}
}

func TestStormOfRepeatsIsNoStormOfReads(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	one, other := start(t, s), start(t, s)
	body := result("task_1", "success", `{"a":1}`)
	one.mustStore(t, body, first)
	reads := one.reads(t)
	storm := func(b bench, body func(i int) string, conflict bool) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() { b.mustStore(t, body(i), duplicate(conflict)) })
		}
		wg.Wait()
	}
	storm(one, func(int) string { return body }, false)
	// So often a relay looks whether what is repeated is there, however many repeats there
	// are, and now and then whether it may read at all.
	began := time.Now()
	most := func(storms int) int {
		n := 8*(int(time.Since(began)/(100*time.Millisecond))+1+storms) + 2
		began = time.Now()
		return n
	}
	if n, most := reads(), most(1); n > most {
		t.Errorf("%d reads for the repeats of what this relay has just stored", n)
	}
	storm(other, func(int) string { return body }, false)
	if n, most := reads(), most(2); n > most {
		t.Errorf("%d reads for the repeats of one event", n)
	}
	reads = one.reads(t)
	storm(one, func(i int) string { return result("task_1", "success", `{"a":1}`, fmt.Sprintf(`"completeTime":%d`, i)) }, false)
	storm(one, func(i int) string { return result("task_1", "success", fmt.Sprintf(`{"a":%d}`, i%7+2)) }, true)
	if n, most := reads(), most(2); n > most {
		t.Errorf("%d reads for the mutations of one event", n)
	}
	third := start(t, s)
	reads = one.reads(t)
	for i := range 20 {
		third.mustStore(t, result("task_1", "success", fmt.Sprintf(`{"a":%d}`, i%7+2)), duplicate(true))
	}
	if n, most := reads(), most(1); n > most {
		t.Errorf("%d reads for contradictions one after the other", n)
	}
	if kept := one.kept(t); len(kept) != 7 {
		t.Errorf("%d conflicts are kept, want one for each of 7 bodies", len(kept))
	}
}

// Whether a repeat contradicts is not known while the event cannot be read: it
// must come again, or the right result could be lost as a plain duplicate.
func TestRepeatOfWhatCannotBeReadNow(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	start(t, s).mustStore(t, result("task_1", "success", `{"a":1}`), first)
	other := open(t, s) // which has not looked for the stream
	other.SendOnly()
	t.Cleanup(func() { _ = other.Stop(context.Background()) })
	other.awaitConnection(t)
	_, err := other.Store(within(t, time.Second), webhook(t, result("task_1", "failed", "")))
	if reason := reasonOf(t, err); reason != store.BrokerUnavailable || !strings.Contains(err.Error(), "sequence 1 of APIXO") {
		t.Errorf("refused with %v", err)
	}
}

// What somebody else stored under a task's id must not swallow its result.
func TestRepeatOfWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	b := start(t, natstest.Start(t, natstest.Options(t)))
	if _, err := b.js.Publish(t.Context(), "apixo.task.success", []byte("no event"), jetstream.WithMsgID("task_1")); err != nil {
		t.Fatal(err)
	}
	b.mustStore(t, result("task_1", "success", `{"a":1}`), duplicate(true))
}

// A stream that is made anew counts from 1 again: what was remembered of the
// old one must not be taken for the new.
func TestStreamMadeAnewIsNotMistakenForTheOld(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	one, other := start(t, s), start(t, s)
	one.mustStore(t, result("task_1", "success", `{"a":1}`), first)
	one.mustStore(t, result("task_1", "success", `{"a":1}`, `"completeTime":1`), duplicate(false)) // so that its outcome is known
	if err := one.js.DeleteStream(t.Context(), "APIXO"); err != nil {
		t.Fatal(err)
	}
	other.mustStore(t, result("task_2", "failed", ""), first)
	one.mustStore(t, result("task_2", "failed", ""), duplicate(false))
	one.mustStore(t, result("task_2", "success", `{"a":1}`), duplicate(true))
}

// Nor when the new stream has another result of the same task at the same place: that this
// relay has stored it in the old one tells nothing.
func TestStreamMadeAnewHasAnotherResult(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	one, other := start(t, s), start(t, s)
	body, another := result("task_1", "success", `{"a":1}`), result("task_1", "success", `{"a":2}`)
	one.mustStore(t, body, first)
	if err := one.js.DeleteStream(t.Context(), "APIXO"); err != nil {
		t.Fatal(err)
	}
	other.mustStore(t, another, first)
	one.mustStore(t, body, duplicate(true))
	one.mustStore(t, another, duplicate(false))
}

// users configures a server with users that may do some of what the relay does.
func users(t *testing.T, deny ...string) *server.Options {
	options := natstest.Options(t)
	options.Users = []*server.User{
		{Username: "relay", Password: "relay", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: deny}}},
		{Username: "admin", Password: "admin"},
	}
	return options
}

func startAs(t *testing.T, options *server.Options, environ ...string) bench {
	t.Helper()
	s := natstest.Start(t, options)
	b := open(t, s, append([]string{"NATS_USER=relay", "NATS_PASSWORD=relay"}, environ...)...)
	b.js = natstest.JetStream(t, s.ClientURL(), nats.UserInfo("admin", "admin"))
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	return b
}

// Without the permission to read, a contradiction and a repeat of what was removed are
// plain duplicates, which cost no time, and the log says so once. Direct gets are no
// substitute.
func TestWithoutPermissionToRead(t *testing.T) {
	t.Parallel()
	b := startAs(t, users(t, "$JS.API.STREAM.MSG.GET.>"))
	body := result("task_1", "success", `{"a":1}`)
	b.mustStore(t, body, first)
	for range 3 {
		b.mustStore(t, result("task_1", "failed", ""), duplicate(false))
	}
	b.remove(t, 1)
	b.mustStore(t, body, duplicate(false))
	if n := strings.Count(b.log.String(), "repeats are taken for plain duplicates"); n != 1 || !strings.Contains(b.log.String(), "$JS.API.STREAM.MSG.GET.APIXO") {
		t.Errorf("the log says so %d times:\n%s", n, b.log)
	}
	if err := b.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}
}

// A permission that is taken away, by a restart of the broker, while the relay runs.
func TestPermissionToReadIsTakenAway(t *testing.T) {
	t.Parallel()
	options := users(t)
	s := natstest.Start(t, options)
	b := open(t, s, "NATS_USER=relay", "NATS_PASSWORD=relay")
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	b.mustStore(t, result("task_1", "success", `{"a":1}`), first)
	away := b.broker.Conn().StatusChanged(nats.RECONNECTING)
	options.Port = portOf(s)
	natstest.Stop(s)
	<-away
	options.Users = users(t, "$JS.API.STREAM.MSG.GET.>").Users
	natstest.Start(t, options)
	b.awaitConnection(t)
	b.mustStore(t, result("task_1", "failed", ""), duplicate(false))
}

func TestWithoutPermissionToPublish(t *testing.T) {
	t.Parallel()
	b := startAs(t, users(t, "apixo.task.failed"))
	start := time.Now()
	_, err := b.Store(within(t, 20*time.Second), webhook(t, result("task_1", "failed", "")))
	if reason := reasonOf(t, err); reason != store.BrokerError || !strings.Contains(err.Error(), "apixo.task.failed") {
		t.Errorf("refused with %v", err)
	}
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("it took %s to find out", took)
	}
	if err := b.Ready(); err == nil || !strings.Contains(err.Error(), "apixo.task.failed") {
		t.Errorf("ready: %v", err)
	}
	b.mustStore(t, result("task_2", "success", ""), first)
}

func TestWithoutPermissionToLookAtTheStream(t *testing.T) {
	t.Parallel()
	options := users(t, "$JS.API.STREAM.>")
	s := natstest.Start(t, options)
	js := natstest.JetStream(t, s.ClientURL(), nats.UserInfo("admin", "admin"))
	for name, subject := range map[string]string{"APIXO": "apixo.task.>", "APIXO_QUARANTINE": "apixo.quarantine.>"} {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}, Duplicates: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, s, "NATS_USER=relay", "NATS_PASSWORD=relay")
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	if err := b.Ready(); err == nil || !strings.Contains(err.Error(), "$JS.API.STREAM.INFO.APIXO") {
		t.Errorf("ready: %v", err)
	}
	// It can store all the same.
	b.mustStore(t, result("task_1", "success", `{"a":1}`), first)
	b.mustStore(t, result("task_1", "failed", ""), duplicate(false))
}
