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
	b, _ := behindLeafAs(t, leaf, environ...)
	return b
}

// behindLeafAs is behindLeaf with further options of the leaf node, which it returns.
func behindLeafAs(t *testing.T, leaf *server.Options, environ ...string) (bench, *server.Server) {
	t.Helper()
	options := natstest.Options(t)
	options.JetStreamDomain = "hub"
	options.LeafNode.Host, options.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
	hub := natstest.Start(t, options)
	at := &url.URL{Scheme: "nats", Host: net.JoinHostPort(options.LeafNode.Host, strconv.Itoa(options.LeafNode.Port))}
	leaf.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{at}}}
	s := natstest.Start(t, leaf)
	b := open(t, s, append([]string{"NATS_JS_DOMAIN=hub"}, environ...)...)
	b.js = natstest.JetStream(t, hub.ClientURL())
	b.awaitConnection(t)
	b.await(t, "never linked", func() bool { return hub.NumLeafNodes() == 1 })
	return b, s
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

// A stream of the same name in the leaf node's own JetStream takes the message, too, and is
// the first to acknowledge it: that is not what a 200 means.
func TestStreamOfTheLeafNode(t *testing.T) {
	t.Parallel()
	leaf := natstest.Options(t)
	leaf.JetStreamDomain = "edge"
	b, s := behindLeafAs(t, leaf)
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	b.mustStore(t, result("task_1", "success", "{}"), first)
	js := natstest.JetStream(t, s.ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "APIXO", Subjects: []string{"apixo.task.>"}, Duplicates: time.Hour}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := b.Store(ctx, webhook(t, result("task_2", "success", "{}")))
	if err == nil || !strings.Contains(err.Error(), `in the JetStream domain "edge"`) {
		t.Errorf("the leaf node's acknowledgement counts: %v", err)
	}
	if err := js.DeleteStream(t.Context(), "APIXO"); err != nil {
		t.Fatal(err)
	}
	b.mustStore(t, result("task_2", "success", "{}"), store.Receipt{Stream: "APIXO", Sequence: 2, Duplicate: true}) // the hub has it, too
}
