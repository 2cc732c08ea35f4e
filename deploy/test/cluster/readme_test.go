package cluster

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var billing = regexp.MustCompile("(?s)```\n( +\\{\n +user: billing, .*?)```")

// The user of a single service that README.md shows reads by its consumer, and by no
// other.
func TestServiceOfItsOwn(t *testing.T) {
	t.Parallel()
	m := billing.FindStringSubmatch(shipped(t, "README.md"))
	if m == nil {
		t.Fatal("README.md has no user billing")
	}
	user := replaced(t, m[1], "$BILLING_PASSWORD", password("billing"))
	p := newPrograms(t, 1)
	b := one(t, p, strings.Replace(shipped(t, "accounts.conf"), "users: [", "users: [\n"+user, 1), p.host())
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
	for _, subject := range []string{"$JS.API.CONSUMER.MSG.NEXT.APIXO.another", "$JS.API.CONSUMER.CREATE.APIXO.billing", "apixo.task.success"} {
		if err := conn.Publish(subject, nil); err != nil {
			t.Error(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Error(err)
	}
	if lines := b.violations(t); len(lines) != 3 {
		t.Errorf("three things are not allowed, and the server logged\n%s", strings.Join(lines, ""))
	}
}

// Where the relay may not make its streams, an operator makes them by a relay that is
// started once, and changes them by another.
func TestStreamsMadeByOperator(t *testing.T) {
	t.Parallel()
	accounts := shipped(t, "accounts.conf")
	for _, stream := range []string{"APIXO", "APIXO_QUARANTINE"} {
		accounts = without(t, accounts, rule{"relay", "$JS.API.STREAM.CREATE." + stream})
	}
	p := newPrograms(t, 1)
	b := one(t, p, accounts, p.host())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := b.serve(t, ctx, "operator"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.serve(t, ctx, "operator", "RELAY_STREAM_POLICY=update", "RELAY_STREAM_MAX_AGE=24h"); err != nil {
		t.Fatal(err)
	}
	r, err := b.serve(t, ctx, "relay", "RELAY_STREAM_POLICY=require", "RELAY_STREAM_MAX_AGE=24h")
	if err != nil {
		t.Fatal(err)
	}
	if err := post(ctx, r, webhook(b.task(), "success"), 200, `"duplicate":false`); err != nil {
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
