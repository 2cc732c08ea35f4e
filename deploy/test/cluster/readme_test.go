package cluster

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// readmeUser returns the user of accounts.conf that README.md shows, with its password.
func readmeUser(t *testing.T, name string) string {
	t.Helper()
	m := regexp.MustCompile("(?s)```\n( +\\{\n +user: " + name + ", .*?)```").FindStringSubmatch(shipped(t, "README.md"))
	if m == nil {
		t.Fatalf("README.md has no user %s", name)
	}
	return replaced(t, m[1], "$"+strings.ToUpper(name)+"_PASSWORD", password(name))
}

// allUsers is accounts.conf with the producer and the viewer of README.md.
func allUsers(t *testing.T) string {
	t.Helper()
	return replaced(t, shipped(t, "accounts.conf"), "    ]\n  }\n\n  # The cluster", readmeUser(t, "producer")+readmeUser(t, "viewer")+"    ]\n  }\n\n  # The cluster")
}

var notBilling = regexp.MustCompile(`(?s)publish \{ allow: \[ … \], (deny: \[.*?\]) \}`)

// The user of a single service that README.md shows reads by its consumer, and by no
// other, and the user of all others does not get at it.
func TestServiceOfItsOwn(t *testing.T) {
	t.Parallel()
	deny := notBilling.FindStringSubmatch(shipped(t, "README.md"))
	if deny == nil {
		t.Fatal("README.md does not keep others from what is billing's")
	}
	user := readmeUser(t, "billing")
	p := newPrograms(t, 1)
	accounts := strings.Replace(shipped(t, "accounts.conf"), "users: [", "users: [\n"+user, 1)
	before, after, _ := strings.Cut(accounts, "user: consumer,")
	after = strings.Replace(after, "] }\n", "], "+deny[1]+" }\n", 1)
	b := one(t, p, before+"user: consumer,"+after, p.host())
	b.prepare(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, operator := b.connect(t, "operator")
	for _, name := range []string{"billing", "another"} {
		if _, err := operator.CreateConsumer(ctx, "APIXO", durable(name)); err != nil {
			t.Fatal(err)
		}
	}
	conn, js := b.connect(t, "billing", nats.CustomInboxPrefix("_INBOX_BILLING"))
	consumer, err := js.Consumer(ctx, "APIXO", "billing")
	if err != nil {
		t.Fatal(err)
	}
	msg, err := consumer.Next(jetstream.FetchContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	if err := msg.DoubleAck(ctx); err != nil {
		t.Error(err)
	}
	if lines := b.violations(t); len(lines) > 0 {
		t.Errorf("more is needed than README.md says:\n%s", strings.Join(lines, ""))
	}
	others, _ := b.connect(t, "consumer")
	for _, try := range []struct {
		conn    *nats.Conn
		subject string
		allowed bool
	}{
		{conn, "$JS.API.CONSUMER.MSG.NEXT.APIXO.another", false},
		{conn, "$JS.API.CONSUMER.CREATE.APIXO.billing", false},
		{conn, "apixo.task.success", false},
		{others, "$JS.API.CONSUMER.MSG.NEXT.APIXO.billing", false},
		{others, "$JS.API.CONSUMER.CREATE.APIXO.billing", false},
		{others, "$JS.API.CONSUMER.CREATE.APIXO.billing.apixo.task.failed", false},
		{others, "$JS.ACK.APIXO.billing.1.1.1.1.1", false},
		{others, "$JS.API.CONSUMER.MSG.NEXT.APIXO.another", true},
		{others, "$JS.API.CONSUMER.CREATE.APIXO.another.apixo.task.failed", true},
		{others, "$JS.ACK.APIXO.another.1.1.1.1.1", true},
	} {
		known := len(b.violations(t))
		if err := errors.Join(try.conn.Publish(try.subject, nil), try.conn.Flush()); err != nil {
			t.Error(err)
		}
		if lines := b.violations(t)[known:]; (len(lines) == 0) != try.allowed {
			t.Errorf("%s: allowed is to be %v, and the server logged %q", try.subject, try.allowed, lines)
		}
	}
}

// Where the relay may not make its streams and the bucket, an operator makes them by a relay that is
// started once, and changes them by another.
func TestStreamsMadeByOperator(t *testing.T) {
	t.Parallel()
	accounts := shipped(t, "accounts.conf")
	for _, stream := range []string{"APIXO", "APIXO_QUARANTINE", bucketStream} {
		accounts = without(t, accounts, rule{"relay", "$JS.API.STREAM.CREATE." + stream})
	}
	p := newPrograms(t, 1)
	b := one(t, p, accounts, p.host())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	announced := func(r *relaytest.Relay) error { return announce(ctx, r, b.task()) }
	if err := b.whileExpecting(t, ctx, "operator", announced); err != nil {
		t.Fatal(err)
	}
	if err := b.whileExpecting(t, ctx, "operator", announced, "RELAY_STREAM_POLICY=update", "RELAY_STREAM_MAX_AGE=24h"); err != nil {
		t.Fatal(err)
	}
	err := b.whileExpecting(t, ctx, "relay", func(r *relaytest.Relay) error {
		return errors.Join(post(ctx, r, webhook(b.task(), "success"), 200, `"duplicate":false`), announced(r))
	}, "RELAY_STREAM_POLICY=require", "RELAY_STREAM_MAX_AGE=24h")
	if err != nil {
		t.Error(err)
	}
	_, js := b.connect(t, "operator")
	stream, err := js.Stream(ctx, "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	if age := stream.CachedInfo().Config.MaxAge.Hours(); age != 24 {
		t.Errorf("events are kept for %v hours", age)
	}
	if lines := b.violations(t); len(lines) > 0 {
		t.Errorf("somebody tried what is not allowed:\n%s", strings.Join(lines, ""))
	}
}
