package cluster

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A cluster as it is shipped takes leaf nodes while webhooks come, and two relays, each behind a
// leaf node, keep all promises: one task is one event, whichever relay gets its webhooks, while
// servers of the cluster come and go; and while it is away the outbox keeps them.
func TestLeafNodes(t *testing.T) {
	t.Parallel()
	p := newPrograms(t, 5)
	b := three(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	there, err := b.serve(t, ctx, "relay")
	must(err)
	_, js := b.connect(t, "operator")
	before := b.task()
	must(post(ctx, there, webhook(before, "success"), http.StatusOK, `"duplicate":false`))
	for _, s := range b.servers {
		b.takeLeafNodes(t, s)
		must(post(ctx, there, webhook(b.task(), "success"), http.StatusOK, `"duplicate":false`))
		b.current(t, ctx, js)
	}

	north := b.leaf(t, ctx, "north", p.host())
	south := b.leaf(t, ctx, "south", p.host())
	must(north.says(ctx, "relay", "this user may do all that the relay does", "check"))
	atNorth, err := north.serve(t, ctx, "relay")
	must(err)
	atSouth, err := south.serve(t, ctx, "relay", "RELAY_OUTBOX=true", "RELAY_PUBLISH_TIMEOUT=5s")
	must(err)
	// What one has stored, the others know.
	must(post(ctx, atNorth, webhook(before, "success"), http.StatusOK, `"duplicate":true`))
	task := b.task()
	must(post(ctx, atNorth, webhook(task, "success"), http.StatusOK, `"duplicate":false`))
	must(post(ctx, atSouth, webhook(task, "success"), http.StatusOK, `"duplicate":true`))
	must(post(ctx, atSouth, webhook(task, "failed"), http.StatusOK, `"conflict":true`))
	must(post(ctx, there, webhook(task, "success"), http.StatusOK, `"duplicate":true`))

	// The server to which a leaf node is linked is stopped: webhooks wait for the next one.
	for range 2 {
		s := north.linked(t, ctx, nil)
		s.stop(t)
		must(post(ctx, atNorth, webhook(b.task(), "success"), http.StatusOK, `"duplicate":false`))
		north.linked(t, ctx, s)
		s.start(t)
		b.current(t, ctx, js)
	}

	// All three: what got 200 from the outbox is stored when they are back.
	for _, s := range b.servers {
		s.stop(t)
	}
	kept := b.task()
	must(post(ctx, atSouth, webhook(kept, "success"), http.StatusOK, `"stream":"APIXO_OUTBOX"`))
	for _, s := range b.servers {
		s.start(t)
	}
	must(metric(ctx, atSouth, "outbox_messages", "0"))
	must(b.ready(ctx, atNorth))
	must(post(ctx, atNorth, webhook(kept, "success"), http.StatusOK, `"duplicate":true`))

	stream, err := js.Stream(ctx, "APIXO")
	must(err)
	if got := stream.CachedInfo().State.Msgs; got != uint64(b.tasks) {
		t.Errorf("%d tasks are %d events", b.tasks, got)
	}
	if lines := slices.Concat(b.violations(t), north.violations(t), south.violations(t)); len(lines) > 0 {
		t.Errorf("somebody tried what is not allowed:\n%s", strings.Join(lines, ""))
	}
}

// A relay behind a leaf node may do what the user relay may do in the cluster, and the
// same things are said in the domain's subjects.
func TestPermissionsBehindALeafNode(t *testing.T) {
	t.Parallel()
	subjects := func(rules []rule) (list []string) {
		for _, r := range rules {
			if r.user == "relay" {
				list = append(list, r.subject)
			}
		}
		slices.Sort(list)
		return list
	}
	inDomain := strings.NewReplacer("$JS.API.", "$JS.hub.API.", "$KV.APIXO_EXPECTED.>", "$JS.hub.API.$KV.APIXO_EXPECTED.>")
	var want []string
	for _, subject := range subjects(rulesOf(t, shipped(t, "accounts.conf"))) {
		want = append(want, inDomain.Replace(subject))
	}
	slices.Sort(want)
	got := subjects(rulesOf(t, "user: relay, password:\n"+leafFile(t, "relay-permissions.conf")))
	if !slices.Equal(got, want) {
		t.Errorf("relay-permissions.conf has\n%q\nand accounts.conf\n%q", got, want)
	}

	p := newPrograms(t, 3)
	b := one(t, p, allUsers(t), p.host())
	b.takeLeafNodes(t, b.servers[0])
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	l := b.leaf(t, ctx, "edge", p.host())
	for _, d := range slices.Concat(eventDeeds, expectDeeds) {
		if d.user != "relay" {
			continue
		}
		if err := d.do(t, ctx, l); err != nil {
			t.Errorf("%s: %v", d.name, err)
		}
	}
	if lines := slices.Concat(b.violations(t), l.violations(t)); len(lines) > 0 {
		t.Errorf("somebody tried what is not allowed:\n%s", strings.Join(lines, ""))
	}
	forbiddenAtTheEdge(t, ctx, b, l, p.host())
}

// forbiddenAtTheEdge tries what neither the relay at a leaf node nor the leaf node itself may do.
func forbiddenAtTheEdge(t *testing.T, ctx context.Context, b, l *bench, host string) {
	t.Helper()
	relay, err := nats.Connect("nats://"+l.servers[0].host+":4222", nats.UserInfo("relay", password("relay")), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	for _, subject := range []string{"$JS.hub.API.STREAM.DELETE.APIXO", "$JS.API.STREAM.INFO.APIXO", "apixo.other", "$JS.hub.API.STREAM.MSG.GET.APIXO_QUARANTINE"} {
		if err := errors.Join(relay.Publish(subject, nil), relay.Flush()); err != nil {
			t.Error(err)
		}
		if err := relay.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), subject) {
			t.Errorf("the relay may publish to %s (%v)", subject, err)
		}
	}

	// A leaf node that lets its clients do everything: the cluster does not.
	open := b.leaf(t, ctx, "open", host, `permissions { include "relay-permissions.conf" }`, "")
	conn, err := nats.Connect("nats://"+open.servers[0].host+":4222", nats.UserInfo("relay", password("relay")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, js := b.connect(t, maker)
	stream, err := js.Stream(ctx, "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	heard, err := conn.SubscribeSync("apixo.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"$JS.hub.API.STREAM.PURGE.APIXO", "$JS.API.STREAM.PURGE.APIXO", "apixo.task.other"} {
		if err := conn.PublishRequest(subject, "_INBOX_RELAY.made.up", nil); err != nil {
			t.Fatal(err)
		}
	}
	// It goes the same way, and so after these.
	if _, err := conn.Request("$JS.hub.API.STREAM.INFO.APIXO", nil, 5*time.Second); !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a leaf node is answered elsewhere than in the relay's inboxes: %v", err)
	}
	inbox, err := conn.SubscribeSync("_INBOX_RELAY.test")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(conn.Flush(), conn.PublishRequest("$JS.hub.API.STREAM.INFO.APIXO", "_INBOX_RELAY.test", nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := inbox.NextMsg(5 * time.Second); err != nil {
		t.Errorf("what is allowed is not answered: %v", err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if before := stream.CachedInfo().State; info.State.Msgs == 0 || info.State.Msgs < before.Msgs {
		t.Errorf("a leaf node has emptied the stream: %+v", info.State)
	}
	if err := b.serveAll(t, ctx, "relay"); err != nil {
		t.Error(err)
	}
	if msg, err := heard.NextMsg(time.Millisecond); err == nil && msg.Subject != "apixo.task.other" {
		t.Errorf("a leaf node hears %s", msg.Subject)
	}

	// The leaf node's password is for leaf nodes.
	_, err = nats.Connect(b.url(), nats.RootCAs(b.ca()), nats.UserInfo("leaf", password("leaf")))
	if !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a client with the leaf node's password gets %v", err)
	}
}
