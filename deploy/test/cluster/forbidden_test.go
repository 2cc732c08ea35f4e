package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What each user may not do, and the server says so.
var forbidden = []struct {
	user               string
	publish, subscribe []string
}{
	{"relay", []string{
		"apixo.task.other", "apixo.other", "replayed.tasks",
		// It takes streams neither away nor empties or changes them,
		"$JS.API.STREAM.DELETE.APIXO", "$JS.API.STREAM.PURGE.APIXO", "$JS.API.STREAM.UPDATE.APIXO", "$JS.API.STREAM.MSG.DELETE.APIXO",
		"$JS.API.STREAM.DELETE.APIXO_QUARANTINE", "$JS.API.STREAM.PURGE.APIXO_QUARANTINE", "$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.NAMES",
		// reads by no consumer, its own or another one's,
		"$JS.API.CONSUMER.CREATE.APIXO.mine", "$JS.API.CONSUMER.MSG.NEXT.APIXO.my-service", "$JS.ACK.APIXO.my-service.1.1.1.1.1",
		"$JS.API.CONSUMER.DELETE.APIXO.my-service",
		// reads the events by the leader only, and does not read the quarantine.
		"$JS.API.DIRECT.GET.APIXO",
		"$JS.API.DIRECT.GET.APIXO_QUARANTINE", "$JS.API.STREAM.MSG.GET.APIXO_QUARANTINE",
		// Nor does it take the bucket away, or write into another one.
		"$JS.API.STREAM.DELETE.KV_APIXO_EXPECTED", "$JS.API.STREAM.PURGE.KV_APIXO_EXPECTED", "$JS.API.STREAM.UPDATE.KV_APIXO_EXPECTED", "$KV.OTHER.key",
	}, []string{"apixo.>", ">", "_INBOX.>", "_INBOX.other.*", "$JS.EVENT.ADVISORY.>"}},
	{"consumer", []string{
		"apixo.task.success", "apixo.task.failed", "apixo.quarantine.rejected", "replayed.tasks", "_INBOX_RELAY.made.up",
		"$JS.API.STREAM.INFO.APIXO_QUARANTINE", "$JS.API.DIRECT.GET.APIXO_QUARANTINE", "$JS.API.STREAM.MSG.GET.APIXO_QUARANTINE",
		"$JS.API.CONSUMER.CREATE.APIXO_QUARANTINE.mine", "$JS.API.CONSUMER.MSG.NEXT.APIXO_QUARANTINE.mine",
		"$JS.API.STREAM.DELETE.APIXO", "$JS.API.STREAM.PURGE.APIXO", "$JS.API.STREAM.UPDATE.APIXO", "$JS.API.STREAM.MSG.DELETE.APIXO",
		// A stream of its own could take what is in the quarantine for its source.
		"$JS.API.STREAM.CREATE.MINE",
		"$JS.API.CONSUMER.DELETE.APIXO.my-service",
	}, []string{"apixo.>", ">", "_INBOX_RELAY.>", "_INBOX_RELAY.*.*", "$JS.API.>"}},
	{"producer", []string{
		"apixo.task.success", "apixo.quarantine.missing", "$KV.OTHER.key", "_INBOX.made.up", "_INBOX_RELAY.made.up",
		"$JS.API.STREAM.INFO.APIXO", "$JS.API.DIRECT.GET.APIXO", "$JS.API.DIRECT.GET.KV_APIXO_EXPECTED", "$JS.API.STREAM.MSG.GET.KV_APIXO_EXPECTED",
		"$JS.API.CONSUMER.CREATE.KV_APIXO_EXPECTED.mine", "$JS.API.CONSUMER.CREATE.APIXO.mine",
		"$JS.API.STREAM.DELETE.KV_APIXO_EXPECTED", "$JS.API.STREAM.PURGE.KV_APIXO_EXPECTED", "$JS.API.STREAM.UPDATE.KV_APIXO_EXPECTED",
	}, []string{"$KV.>", "$KV.APIXO_EXPECTED.>", "_INBOX.>", "_INBOX_RELAY.>", "apixo.>", ">"}},
	{"ui", []string{
		// It takes away what is quarantined, one by one, and nothing else,
		"$JS.API.STREAM.MSG.DELETE.APIXO", "$JS.API.STREAM.MSG.DELETE.KV_APIXO_EXPECTED",
		"$JS.API.STREAM.DELETE.APIXO", "$JS.API.STREAM.PURGE.APIXO", "$JS.API.STREAM.DELETE.APIXO_QUARANTINE", "$JS.API.STREAM.PURGE.APIXO_QUARANTINE",
		"$JS.API.STREAM.UPDATE.APIXO", "$JS.API.STREAM.UPDATE.APIXO_QUARANTINE", "$JS.API.STREAM.CREATE.OTHER",
		// makes no event and no announcement up, and reads for nobody.
		"apixo.task.success", "apixo.task.failed", "apixo.quarantine.rejected", "$KV.APIXO_EXPECTED.task_1", "other",
		"$JS.ACK.APIXO.my-service.1.1.1.1.1", "$JS.API.CONSUMER.LIST.APIXO_QUARANTINE", "$JS.API.STREAM.LIST",
	}, []string{"apixo.>", ">", "_INBOX.>", "$JS.API.>", "$JS.EVENT.ADVISORY.>"}},
	{"viewer", []string{
		"$JS.API.STREAM.MSG.DELETE.APIXO", "$JS.API.STREAM.MSG.DELETE.APIXO_QUARANTINE", "$JS.API.STREAM.DELETE.APIXO", "$JS.API.STREAM.PURGE.APIXO_QUARANTINE",
		"replayed.tasks", "apixo.task.success", "apixo.quarantine.rejected", "$KV.APIXO_EXPECTED.task_1", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.OTHER",
	}, []string{"apixo.>", ">", "_INBOX.>", "$JS.API.>"}},
	{"archive", []string{
		// It reads by its own consumer, makes no event up, and takes nothing away but parts of files.
		"$JS.API.CONSUMER.CREATE.APIXO.mine", "$JS.API.CONSUMER.CREATE.APIXO.apixo-archive", "$JS.API.CONSUMER.MSG.NEXT.APIXO.my-service", "$JS.ACK.APIXO.my-service.1.1.1.1.1",
		"$JS.API.CONSUMER.DELETE.APIXO.apixo-archive", "$JS.API.CONSUMER.CREATE.APIXO_QUARANTINE.mine", "$JS.API.STREAM.MSG.GET.APIXO_QUARANTINE", "$JS.API.DIRECT.GET.APIXO",
		"apixo.task.success", "apixo.quarantine.rejected", "apixo.archive.other", "dead.my-service", "$O.OTHER.C.x", "$KV.APIXO_EXPECTED.task_1",
		"$JS.API.STREAM.DELETE.APIXO", "$JS.API.STREAM.PURGE.APIXO", "$JS.API.STREAM.PURGE.APIXO_ARCHIVE", "$JS.API.STREAM.DELETE.OBJ_APIXO_FILES",
		"$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.UPDATE.APIXO_ARCHIVE", "$JS.API.STREAM.NAMES", "$JS.API.INFO",
	}, []string{"apixo.>", ">", "_INBOX.>", "$JS.API.>", "$JS.EVENT.ADVISORY.>"}},
	{"operator", []string{
		"apixo.task.other", "$KV.OTHER.key", "other", "$JS.API.META.LEADER.STEPDOWN", "$SYS.REQ.SERVER.PING",
	}, []string{"apixo.>", ">"}},
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	p := newPrograms(t, 1)
	b := one(t, p, allUsers(t), p.host())
	b.prepare(t)
	for _, f := range forbidden {
		check := func(what, subject string, try func(*nats.Conn) error) {
			conn, _ := b.connect(t, f.user)
			defer conn.Close()
			if err := errors.Join(try(conn), conn.Flush()); err != nil {
				t.Error(err)
			}
			if err := conn.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), subject) {
				t.Errorf("%s may %s %s (%v)", f.user, what, subject, err)
			}
		}
		for _, subject := range f.publish {
			check("publish to", subject, func(conn *nats.Conn) error { return conn.Publish(subject, nil) })
		}
		for _, subject := range f.subscribe {
			check("subscribe to", subject, func(conn *nats.Conn) error {
				_, err := conn.SubscribeSync(subject)
				return err
			})
		}
	}
	if lines := b.violations(t); len(lines) == 0 {
		t.Error("the tests look for violations in a log that has none")
	}
}

// A consumer that listens to all inboxes that it may listen to hears nothing of what
// relay and operator are told, nor does another account hear anything.
func TestInboxesAndAccountsAreApart(t *testing.T) {
	t.Parallel()
	p := newPrograms(t, 1)
	b := one(t, p, allUsers(t), p.host())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	type ear struct {
		conn *nats.Conn
		sub  *nats.Subscription
	}
	heard := make(map[string]ear)
	for user, subject := range map[string]string{"consumer": "_INBOX.>", other: ">", maker: "_INBOX_RELAY.>"} {
		conn, _ := b.connect(t, user)
		sub, err := conn.SubscribeSync(subject)
		if err := errors.Join(err, conn.Flush()); err != nil {
			t.Fatal(err)
		}
		heard[user] = ear{conn, sub}
	}
	if err := errors.Join(b.serveAll(t, ctx, "relay"), b.says(ctx, "operator", "not-final", "tail", "--quarantine", "--since", "1h", "--count", "1")); err != nil {
		t.Fatal(err)
	}
	for user, by := range heard {
		// What the server has for this connection is here when it answers.
		if err := by.conn.Flush(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; ; n++ {
			msg, err := by.sub.NextMsg(time.Millisecond)
			if err != nil {
				break
			}
			if user != maker {
				t.Errorf("%s hears %s: %s", user, msg.Subject, msg.Data)
			}
		}
		if user == maker && n == 0 {
			t.Error("nothing was said that could have been heard")
		}
	}
	_, js := b.connect(t, other)
	if _, err := js.Stream(ctx, "APIXO"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("another account is told about the stream: %v", err)
	}
}
