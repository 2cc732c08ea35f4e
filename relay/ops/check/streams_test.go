package check_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// What the relay refuses fails, what it warns of is a warning, and a short window
// fails, too.
func TestStreamsThatDoNotFit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*jetstream.StreamConfig)
		check  string
		status check.Status
		want   string
		also   []string // what else it tells of
	}{
		{"window", func(c *jetstream.StreamConfig) { c.Duplicates = 2 * time.Minute }, check.Window, check.Fail, "remembers ids for 2m0s, and APIXO's last retry comes up to 14m30s", nil},
		{"memory", func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, check.Retention, check.Warn, "is kept in memory", nil},
		{"discard", func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardOld, 1000 }, check.Retention, check.Fail, "drops its oldest events", nil},
		{"interest", func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, check.Retention, check.Fail, "does not store them while no consumer", nil},
		{"work queue", func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, check.Retention, check.Warn, "have been consumed", nil},
		{"transform", func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: c.Name + ".>"}
		}, check.Stream, check.Fail, "under other subjects", []string{check.Quarantine}},
		{"asynchronous", func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }, check.Retention, check.Fail, "persist_mode", nil},
		{"few of each subject", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5000 }, check.Retention, check.Fail, "once there are 5000", nil},
		{"no acknowledgements", func(c *jetstream.StreamConfig) { c.NoAck = true }, check.Stream, check.Fail, "no_ack", []string{check.Quarantine, check.Permissions}},
		{"small messages", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, check.Payload, check.Fail, "raise its max_msg_size", nil},
		{"other subjects", func(c *jetstream.StreamConfig) { c.Subjects = []string{c.Name + ".>"} }, check.Stream, check.Fail, "leaves apixo.task.> out", []string{check.Quarantine}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _ := withStreams(t, tt.change)
			r := lookWith(t, check.Options{Timeout: 2 * time.Second}, "NATS_URL="+s.ClientURL())
			wellFormed(t, r)
			only(t, r, append(tt.also, tt.check)...)
			expect(t, r, tt.check, tt.status, tt.want)
		})
	}
}

// Limits that are far too small are told before they are reached.
func TestLimitsThatAreTooSmall(t *testing.T) {
	t.Parallel()
	s, _ := withStreams(t, func(c *jetstream.StreamConfig) { c.MaxBytes = 5000 })
	expect(t, look(t, "NATS_URL="+s.ClientURL()), check.Retention, check.Fail, "has room for 5,000 bytes, and the largest event alone can have 540,672")
	s, _ = withStreams(t, func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = time.Minute, time.Minute })
	expect(t, look(t, "NATS_URL="+s.ClientURL()), check.Retention, check.Warn, "keeps events for 1m0s")
}

// What to do depends on whose the streams are.
func TestShortWindowByPolicy(t *testing.T) {
	t.Parallel()
	s, _ := withStreams(t, func(c *jetstream.StreamConfig) { c.Duplicates = 2 * time.Minute })
	url := "NATS_URL=" + s.ClientURL()
	expect(t, look(t, url), check.Window, check.Fail, "raise its duplicate window")
	expect(t, look(t, url, "RELAY_STREAM_POLICY=update"), check.Window, check.Fail, "start the relay anew")
	expect(t, look(t, url, "RELAY_STREAM_POLICY=update", "RELAY_DEDUPE_WINDOW=5m"), check.Window, check.Fail, "raise RELAY_DEDUPE_WINDOW")
}

// A setting that an existing stream does not have is told where it was set.
func TestSettingsThatAreNotInForce(t *testing.T) {
	t.Parallel()
	s, js := withStreams(t, func(c *jetstream.StreamConfig) { c.MaxBytes = 5_000_000 })
	url := "NATS_URL=" + s.ClientURL()
	only(t, look(t, url))
	for _, tt := range []struct{ check, environ, want string }{
		{check.Retention, "RELAY_STREAM_MAX_AGE=24h", "keeps events for ever, RELAY_STREAM_MAX_AGE says 24h0m0s"},
		{check.Retention, "RELAY_STREAM_MAX_BYTES=4000000", "has a max_bytes of 5000000, RELAY_STREAM_MAX_BYTES says 4000000"},
		{check.Window, "RELAY_DEDUPE_WINDOW=30m", "remembers ids for 1h0m0s, RELAY_DEDUPE_WINDOW says 30m0s"},
	} {
		r := look(t, url, tt.environ)
		only(t, r, tt.check)
		expect(t, r, tt.check, check.Warn, tt.want)
		expect(t, r, tt.check, check.Warn, "or start the relay with RELAY_STREAM_POLICY=update")
		expect(t, look(t, url, tt.environ, "RELAY_STREAM_POLICY=update"), tt.check, check.Warn, "start the relay anew")
	}
	// What would delete messages is not recommended.
	if _, err := js.Publish(t.Context(), "apixo.task.success", make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	expect(t, look(t, url, "RELAY_STREAM_MAX_BYTES=500", "RELAY_STREAM_POLICY=update"), check.Retention, check.Warn, "bytes already, which are more than a max_bytes of 500")
}

func TestStreamThatFillsUp(t *testing.T) {
	t.Parallel()
	s, js := withStreams(t, func(c *jetstream.StreamConfig) { c.MaxBytes = 1_000_000 })
	for n := range 9 {
		if _, err := js.Publish(t.Context(), "apixo.task.success", make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		r := look(t, "NATS_URL="+s.ClientURL())
		switch n + 1 {
		case 1:
			expect(t, r, check.Retention, check.OK, "and is 10 % full")
		case 8:
			expect(t, r, check.Retention, check.Warn, "then webhooks get 503")
		case 9:
			expect(t, r, check.Retention, check.Fail, "there is no room for another event")
		}
	}
	if _, err := js.Publish(t.Context(), "apixo.task.success", make([]byte, 100_000)); err == nil {
		t.Error("there was room for another event")
	}
}

func TestGapsAndSeals(t *testing.T) {
	t.Parallel()
	s, js := withStreams(t, nil)
	for range 3 {
		if _, err := js.Publish(t.Context(), "apixo.task.success", nil); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := js.Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	expect(t, look(t, "NATS_URL="+s.ClientURL()), check.Retention, check.Warn, "has gaps: 1 of the events from 1 to 3")
	cfg := stream.CachedInfo().Config
	cfg.Sealed = true
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	expect(t, look(t, "NATS_URL="+s.ClientURL()), check.Stream, check.Fail, "is sealed")
}

func TestPayloadOfTheBroker(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.MaxPayload = 100_000
	s := natstest.Start(t, options)
	r := look(t, "NATS_URL="+s.ClientURL())
	expect(t, r, check.Payload, check.Fail, "raise max_payload")
	if n := len(named(r, check.Payload)); n != 1 {
		t.Errorf("it is told %d times:\n%s", n, printed(r))
	}
	expect(t, look(t, "NATS_URL="+s.ClientURL(), "RELAY_MAX_BODY_BYTES=10000"), check.Payload, check.OK, "")
}

// What a leaf node would not let through from its hub is told before it happens.
func TestPayloadOfALeafNode(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.JetStreamDomain = "hub"
	url := "NATS_URL=" + natstest.Start(t, options).ClientURL()
	expect(t, look(t, url, "NATS_JS_DOMAIN=hub", "RELAY_MAX_BODY_BYTES=500000"), check.Payload, check.Warn, "the leaf node would cut the link")
	expect(t, look(t, url, "NATS_JS_DOMAIN=hub", "RELAY_MAX_BODY_BYTES=384000"), check.Payload, check.OK, "")
	expect(t, look(t, url, "RELAY_MAX_BODY_BYTES=500000"), check.Payload, check.OK, "")
}

func TestClock(t *testing.T) {
	t.Parallel()
	s, _ := withStreams(t, nil)
	for _, tt := range []struct {
		off  time.Duration
		want check.Status
		fact string
	}{
		{0, check.OK, "differ by"},
		{-5 * time.Second, check.Warn, "5s ahead of this machine's"},
		{5 * time.Second, check.Warn, "5s behind this machine's"},
		{2 * time.Minute, check.Fail, "2m0s behind this machine's"},
	} {
		r := lookWith(t, check.Options{Now: func() time.Time { return time.Now().Add(tt.off) }}, "NATS_URL="+s.ClientURL())
		only(t, r, check.Clock)
		expect(t, r, check.Clock, tt.want, tt.fact)
	}
}

// startCluster runs servers that store together.
func startCluster(t *testing.T, n int) (servers []*server.Server) {
	t.Helper()
	// Each must know the others' addresses before it starts.
	var ports []int
	var routes []string
	var held []net.Listener
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, l)
		ports, routes = append(ports, l.Addr().(*net.TCPAddr).Port), append(routes, "nats://"+l.Addr().String())
	}
	for _, l := range held {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, port := range ports {
		options := natstest.Options(t)
		options.ServerName = fmt.Sprintf("nats-%d", i+1)
		options.Cluster = server.ClusterOpts{Name: "rig", Host: "127.0.0.1", Port: port}
		options.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		servers = append(servers, natstest.Start(t, options))
	}
	ready := func() bool {
		led := false
		for _, s := range servers {
			if !s.JetStreamIsCurrent() {
				return false
			}
			led = led || len(s.JetStreamClusterPeers()) == n // which the leader alone knows
		}
		return led
	}
	for late := time.Now().Add(2 * time.Minute); !ready(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the cluster has no leader")
		}
	}
	return servers
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	servers := startCluster(t, 3)
	url := "NATS_URL=" + servers[0].ClientURL()
	expect(t, look(t, url, "RELAY_STREAM_REPLICAS=3"), check.Replicas, check.OK, "is on 3 servers")
	expect(t, look(t, url, "RELAY_STREAM_REPLICAS=5"), check.Replicas, check.Warn, "tells of 3 servers")
	js := natstest.JetStream(t, servers[0].ClientURL())
	makeStreams(t, js, nil)
	r := look(t, url)
	only(t, r, check.Replicas)
	expect(t, r, check.Replicas, check.Warn, "the stream APIXO is on one server of the cluster rig")
	expect(t, look(t, url, "RELAY_STREAM_REPLICAS=3"), check.Replicas, check.Warn, "has 1 replicas, RELAY_STREAM_REPLICAS says 3")

	for _, name := range []string{"APIXO", "APIXO_QUARANTINE"} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		cfg := stream.CachedInfo().Config
		cfg.Replicas = 3
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	// until is a look at what takes the servers a moment.
	until := func(status check.Status, fact string) {
		t.Helper()
		for late := time.Now().Add(2 * time.Minute); ; {
			r := lookWith(t, check.Options{Timeout: 2 * time.Second}, url, "RELAY_STREAM_REPLICAS=3")
			if all := named(r, check.Replicas); all[0].Status == status && all[len(all)-1].Status == status {
				expect(t, r, check.Replicas, status, fact)
				wellFormed(t, r)
				return
			}
			if time.Now().After(late) {
				t.Fatalf("the replicas are never %s:\n%s", status, printed(r))
			}
		}
	}
	until(check.OK, "APIXO is on 3 servers of the cluster rig")
	natstest.Stop(servers[2])
	until(check.Warn, "nats-3 is away")
	natstest.Stop(servers[1])
	r = lookWith(t, check.Options{Timeout: 2 * time.Second}, url, "RELAY_STREAM_REPLICAS=3")
	wellFormed(t, r)
	if r.OK {
		t.Errorf("without quorum it is OK:\n%s", printed(r))
	}
}
