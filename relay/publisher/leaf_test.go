package publisher_test

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// behindLeaf is a relay at a leaf node, whose streams are the hub's.
func behindLeaf(t *testing.T, environ ...string) bench {
	t.Helper()
	leaf := natstest.Options(t)
	leaf.JetStream = false
	b, _, _ := behindLeafAs(t, hubOptions(t), leaf, environ...)
	return b
}

func hubOptions(t *testing.T) *server.Options {
	t.Helper()
	hub := natstest.Options(t)
	hub.JetStreamDomain = "hub"
	hub.LeafNode.Host, hub.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
	return hub
}

// behindLeafAs is behindLeaf with other options of the hub and of the leaf node, which it
// returns. With the same options the hub starts again where the leaf node looks for it.
func behindLeafAs(t *testing.T, hub, leaf *server.Options, environ ...string) (b bench, hubNode, leafNode *server.Server) {
	t.Helper()
	hubNode = natstest.Start(t, hub)
	at := &url.URL{Scheme: "nats", Host: net.JoinHostPort(hub.LeafNode.Host, strconv.Itoa(hub.LeafNode.Port))}
	leaf.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{at}}}
	leafNode = natstest.Start(t, leaf)
	b = open(t, leafNode, append([]string{"NATS_JS_DOMAIN=hub"}, environ...)...)
	b.js = natstest.JetStream(t, hubNode.ClientURL())
	b.awaitConnection(t)
	b.await(t, "never linked", func() bool { return hubNode.NumLeafNodes() == 1 })
	return b, hubNode, leafNode
}

// The leader's word about the largest event passes a leaf node as it is by default. Where
// it would not, and cut the link each time, that is told.
func TestLargestEventBehindALeafNode(t *testing.T) {
	t.Parallel()
	b := behindLeaf(t)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	url := strings.Repeat("u", 262_144-200) // of a webhook as large as it may be by default
	b.mustStore(t, result("task_1", "success", `{"resultUrls":["`+url+`"]}`), first)
	b.mustStore(t, result("task_1", "success", `{"resultUrls":["`+url+`"],"a":1}`), duplicate(true))
	b.mustStore(t, result("task_1", "success", `{"resultUrls":["`+url+`"]}`), duplicate(false))
	const told = "is behind a leaf node that takes messages of at most 1048576 bytes"
	if strings.Contains(b.log.String(), told) {
		t.Errorf("the log is\n%s", b.log)
	}
	larger := behindLeaf(t, "RELAY_MAX_BODY_BYTES=500000")
	// The hub knows the leaf node before that knows what can be asked behind it.
	larger.await(t, "not told", func() bool {
		err := larger.Look(t.Context())
		return err == nil && strings.Contains(larger.log.String(), told)
	})
	if log := larger.log.String(); strings.Count(log, told) != 1 || !strings.Contains(log, "the stream APIXO "+told) {
		t.Errorf("the log is\n%s", log)
	}
}

// A stream of the same name in the leaf node's own JetStream takes the message, too. Its
// acknowledgement is not what a 200 means, and is the only one while the hub is away.
func TestStreamOfTheLeafNode(t *testing.T) {
	t.Parallel()
	options, leaf := hubOptions(t), natstest.Options(t)
	leaf.JetStreamDomain = "edge"
	b, hub, node := behindLeafAs(t, options, leaf)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	b.mustStore(t, result("task_1", "success", "{}"), first)
	js := natstest.JetStream(t, node.ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "APIXO", Subjects: []string{"apixo.task.>"}, Duplicates: time.Hour}); err != nil {
		t.Fatal(err)
	}
	natstest.Stop(hub)
	_, err := b.Store(within(t, 20*time.Second), webhook(t, result("task_2", "success", "{}")))
	if err == nil || !strings.Contains(err.Error(), `in the JetStream domain "edge"`) {
		t.Errorf("the leaf node's acknowledgement counts: %v", err)
	}
	if err := js.DeleteStream(t.Context(), "APIXO"); err != nil {
		t.Fatal(err)
	}
	natstest.Start(t, options)
	var got store.Receipt
	b.await(t, "not stored when the hub is back", func() bool {
		got, err = b.Store(within(t, 20*time.Second), webhook(t, result("task_2", "success", "{}")))
		return err == nil
	})
	if got.Stream != "APIXO" || got.Sequence != 2 {
		t.Errorf("the hub acknowledged %+v, want its message 2", got)
	}
}
