package publisher_test

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// behindLeaf is a relay at a leaf node, whose streams are the hub's.
func behindLeaf(t *testing.T, environ ...string) bench {
	t.Helper()
	options := natstest.Options(t)
	options.JetStreamDomain = "hub"
	options.LeafNode.Host, options.LeafNode.Port = "127.0.0.1", server.RANDOM_PORT
	hub := natstest.Start(t, options)
	leaf := natstest.Options(t)
	leaf.JetStream = false
	at := &url.URL{Scheme: "nats", Host: net.JoinHostPort(options.LeafNode.Host, strconv.Itoa(options.LeafNode.Port))}
	leaf.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{at}}}
	s := natstest.Start(t, leaf)
	b := open(t, s, append([]string{"NATS_JS_DOMAIN=hub"}, environ...)...)
	b.js = natstest.JetStream(t, hub.ClientURL())
	b.awaitConnection(t)
	b.await(t, "never linked", func() bool { return hub.NumLeafNodes() == 1 })
	return b
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
