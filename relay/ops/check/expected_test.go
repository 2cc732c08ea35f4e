package check_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// makeBucket makes the bucket of announced tasks, changed as a test likes; nil for as it is.
func makeBucket(t *testing.T, js jetstream.JetStream, change func(*jetstream.KeyValueConfig)) jetstream.KeyValue {
	t.Helper()
	cfg := jetstream.KeyValueConfig{Bucket: "APIXO_EXPECTED", History: 1, LimitMarkerTTL: time.Hour}
	if change != nil {
		change(&cfg)
	}
	kv, err := js.CreateKeyValue(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

// expecting is an environment in which announced tasks are looked after.
func expecting(t *testing.T, environ ...string) []string {
	t.Helper()
	_, api := playAPI(t, noSuchTask)
	return append(append(api, "RELAY_EXPECT=true"), environ...)
}

// Beside a relay that looks after announced tasks all is well, and they stay as they are.
func TestExpectedTasks(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	js := natstest.JetStream(t, s.ClientURL())
	kv := makeBucket(t, js, nil)
	_, environ := startRelay(t, expecting(t, "NATS_URL="+s.ClientURL())...)
	for late := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		line, err := check.Probe(t.Context(), environ, "ready", 10*time.Second)
		if err != nil || time.Now().After(late) {
			t.Fatalf("%s, %v", line, err)
		}
		if !strings.Contains(line, "is being opened") {
			break
		}
	}
	before := state(t, js, "KV_APIXO_EXPECTED")
	for _, policy := range []string{"create", "update", "require"} {
		r := look(t, append(environ, "RELAY_STREAM_POLICY="+policy)...)
		wellFormed(t, r)
		only(t, r)
		expect(t, r, check.Expected, check.OK, "no task is outstanding in the bucket APIXO_EXPECTED")
	}
	if after := state(t, js, "KV_APIXO_EXPECTED"); after.LastSeq != before.LastSeq {
		t.Errorf("%+v became %+v", before, after)
	}
	if _, err := kv.PutString(t.Context(), "task_1", `{"model":"nano-banana"}`); err != nil {
		t.Fatal(err)
	}
	expect(t, look(t, environ...), check.Expected, check.OK, "lately settled tasks: 1;")
	if e, err := kv.Get(t.Context(), "task_1"); err != nil || e.Revision() != 1 {
		t.Errorf("%v, %v", e, err)
	}
	expect(t, look(t, "NATS_URL="+s.ClientURL()), check.Expected, check.OK, "RELAY_EXPECT is off")
}

func TestMissingBucket(t *testing.T) {
	t.Parallel()
	s, js := withStreams(t, nil)
	environ := expecting(t, "NATS_URL="+s.ClientURL())
	for _, policy := range []string{"create", "update"} {
		r := look(t, append(environ, "RELAY_STREAM_POLICY="+policy)...)
		wellFormed(t, r)
		only(t, r)
		expect(t, r, check.Expected, check.OK, "no bucket APIXO_EXPECTED yet; the relay makes it when it starts")
	}
	r := look(t, append(environ, "RELAY_STREAM_POLICY=require")...)
	wellFormed(t, r)
	only(t, r, check.Expected)
	expect(t, r, check.Expected, check.Fail, "'nats kv add APIXO_EXPECTED --replicas 1 --marker-ttl 1h0m0s'")

	// Another stream that has its subjects is in the way.
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ALL", Subjects: []string{"$KV.>"}}); err != nil {
		t.Fatal(err)
	}
	r = look(t, environ...)
	wellFormed(t, r)
	expect(t, r, check.Expected, check.Fail, "another stream, ALL, takes $KV.APIXO_EXPECTED.apixo-relay-check")
	expect(t, r, check.Expected, check.Fail, "choose another RELAY_EXPECT_BUCKET")
	if n := state(t, js, "ALL").LastSeq; n != 0 {
		t.Errorf("%d messages got into it", n)
	}
}

// What about a bucket keeps announced tasks from being looked after is told.
func TestUnfitBucket(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		make   func(*testing.T, jetstream.JetStream)
		status check.Status
		want   string
	}{
		"forgetful": {func(t *testing.T, js jetstream.JetStream) {
			makeBucket(t, js, func(c *jetstream.KeyValueConfig) { c.TTL, c.LimitMarkerTTL = time.Hour, 0 })
		}, check.Warn, "the bucket APIXO_EXPECTED forgets announced tasks after 1h0m0s (its TTL), without a word → remove that"},
		"in memory": {func(t *testing.T, js jetstream.JetStream) {
			makeBucket(t, js, func(c *jetstream.KeyValueConfig) { c.Storage = jetstream.MemoryStorage })
		}, check.Warn, "make it with file storage"},
		"mirror": {func(t *testing.T, js jetstream.JetStream) {
			makeBucket(t, js, func(c *jetstream.KeyValueConfig) { c.Bucket = "ORIGIN" })
			makeBucket(t, js, func(c *jetstream.KeyValueConfig) {
				c.LimitMarkerTTL, c.Mirror = 0, &jetstream.StreamSource{Name: "ORIGIN"}
			})
		}, check.Warn, "name its origin in RELAY_EXPECT_BUCKET"},
		"nearly full": {func(t *testing.T, js jetstream.JetStream) {
			kv := makeBucket(t, js, func(c *jetstream.KeyValueConfig) { c.MaxBytes = 1000 })
			if _, err := kv.Put(t.Context(), "task_1", make([]byte, 800)); err != nil {
				t.Fatal(err)
			}
		}, check.Warn, "% full → raise its limits"},
		"stream": {func(t *testing.T, js jetstream.JetStream) {
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KV_APIXO_EXPECTED", Subjects: []string{"$KV.APIXO_EXPECTED.>"}})
			if err != nil {
				t.Fatal(err)
			}
		}, check.Fail, "the stream KV_APIXO_EXPECTED is no key-value bucket"},
		"stream of other subjects": {func(t *testing.T, js jetstream.JetStream) {
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KV_APIXO_EXPECTED", Subjects: []string{"other"}, MaxMsgsPerSubject: 1, AllowRollup: true})
			if err != nil {
				t.Fatal(err)
			}
		}, check.Fail, "the stream KV_APIXO_EXPECTED is no key-value bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, js := withStreams(t, nil)
			tt.make(t, js)
			r := look(t, expecting(t, "NATS_URL="+s.ClientURL())...)
			wellFormed(t, r)
			only(t, r, check.Expected)
			expect(t, r, check.Expected, tt.status, tt.want)
			if n := len(named(r, check.Expected)); n != 1 {
				t.Errorf("%d lines about it in\n%s", n, printed(r))
			}
			r = look(t, expecting(t, "NATS_URL="+s.ClientURL(), "RELAY_STREAM_POLICY=update")...)
			want := tt.want
			if name == "forgetful" { // which the relay then changes
				want = "with RELAY_STREAM_POLICY=update it changes the bucket"
			}
			expect(t, r, check.Expected, tt.status, want)
		})
	}
}

// bucketAsRelay is a broker whose user for the relay has some permissions, with the bucket of
// announced tasks or without.
func bucketAsRelay(t *testing.T, permissions *server.Permissions, bucket bool, environ ...string) check.Report {
	t.Helper()
	options := natstest.Options(t)
	options.Users = []*server.User{
		{Username: "relay", Password: "relay", Permissions: permissions},
		{Username: "admin", Password: "admin"},
	}
	s := natstest.Start(t, options)
	js := natstest.JetStream(t, s.ClientURL(), nats.UserInfo("admin", "admin"))
	makeStreams(t, js, nil)
	if bucket {
		makeBucket(t, js, nil)
	}
	return look(t, expecting(t, append([]string{"NATS_URL=" + s.ClientURL(), "NATS_USER=relay", "NATS_PASSWORD=relay"}, environ...)...)...)
}

// Each permission that is missing is named, and no other is.
func TestMissingPermissionForBucket(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		subject string
		bucket  bool
		policy  string
		status  check.Status
	}{
		{"apixo.quarantine.missing", true, "create", check.Fail},
		{"$KV.APIXO_EXPECTED.>", true, "create", check.Fail},
		{"$JS.API.STREAM.INFO.KV_APIXO_EXPECTED", true, "create", check.Fail},
		{"$JS.API.STREAM.CREATE.KV_APIXO_EXPECTED", false, "create", check.Fail},
		{"$JS.API.STREAM.CREATE.KV_APIXO_EXPECTED", false, "update", check.Fail},
		{"$JS.API.INFO", false, "create", check.Fail},
		{"$JS.API.STREAM.UPDATE.KV_APIXO_EXPECTED", true, "update", check.Fail},
		{"$JS.API.INFO", true, "update", check.Fail},
		{"$JS.API.CONSUMER.CREATE.KV_APIXO_EXPECTED.>", true, "create", check.Fail},
		{"$JS.FC.KV_APIXO_EXPECTED.>", true, "create", check.Fail},
		{"$JS.API.CONSUMER.DELETE.KV_APIXO_EXPECTED.*", true, "create", check.Warn},
		{"$JS.API.DIRECT.GET.KV_APIXO_EXPECTED.>", true, "create", check.Warn},
	} {
		t.Run(tt.policy+" "+tt.subject, func(t *testing.T) {
			t.Parallel()
			r := bucketAsRelay(t, denying(tt.subject), tt.bucket, "RELAY_STREAM_POLICY="+tt.policy)
			wellFormed(t, r)
			expect(t, r, check.Permissions, tt.status, "allow publishing to "+tt.subject+" in this user's permissions")
			if n := len(named(r, check.Permissions)); n != 1 {
				t.Errorf("%d lines about permissions in\n%s", n, printed(r))
			}
			only(t, r, check.Permissions, check.Expected) // which may be skipped
			if r.Count(check.Fail) > 1 {
				t.Errorf("more fails than that:\n%s", printed(r))
			}
		})
	}
	t.Run("deletion", func(t *testing.T) {
		t.Parallel()
		const subject = "$JS.EVENT.ADVISORY.STREAM.DELETED.KV_APIXO_EXPECTED"
		r := bucketAsRelay(t, &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{subject}}}, true)
		only(t, r, check.Permissions)
		expect(t, r, check.Permissions, check.Warn, "allow subscribing to "+subject)
	})
}

// A bucket in another domain is reached as clients reach it.
func TestBucketInADomain(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.JetStreamDomain = "hub"
	options.LeafNode = server.LeafNodeOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT}
	hub := natstest.Start(t, options)
	js := natstest.JetStream(t, hub.ClientURL())
	makeStreams(t, js, nil)
	makeBucket(t, js, nil)
	about, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	options = natstest.Options(t)
	options.JetStreamDomain = "leaf"
	options.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", about.LeafNode.Port)}}}}
	options.Users = []*server.User{
		{Username: "relay", Password: "relay", Permissions: denying("$JS.hub.API.$KV.APIXO_EXPECTED.>")},
		{Username: "admin", Password: "admin"},
	}
	leaf := natstest.Start(t, options)
	for late := time.Now().Add(2 * time.Minute); hub.NumLeafNodes() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the leaf node is not connected")
		}
	}
	// Until it has been told what the hub listens to, nobody answers there.
	throughLeaf, err := jetstream.NewWithDomain(natstest.JetStream(t, leaf.ClientURL(), nats.UserInfo("admin", "admin")).Conn(), "hub")
	if err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := throughLeaf.Stream(t.Context(), "APIXO"); err == nil {
			break
		} else if time.Now().After(late) {
			t.Fatal(err)
		}
	}
	environ := expecting(t, "NATS_URL="+leaf.ClientURL(), "NATS_JS_DOMAIN=hub")
	only(t, look(t, append(environ, "NATS_USER=admin", "NATS_PASSWORD=admin")...))
	r := look(t, append(environ, "NATS_USER=relay", "NATS_PASSWORD=relay")...)
	only(t, r, check.Permissions)
	expect(t, r, check.Permissions, check.Fail, "allow publishing to $JS.hub.API.$KV.APIXO_EXPECTED.> in")
}

// least are the permissions for the relay's streams, and some more.
func least(publish, subscribe []string) *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: append([]string{
			"apixo.task.success", "apixo.task.failed", "apixo.quarantine.rejected", "apixo.quarantine.conflict",
			"$JS.API.STREAM.INFO.APIXO", "$JS.API.STREAM.INFO.APIXO_QUARANTINE", "$JS.API.STREAM.MSG.GET.APIXO",
		}, publish...)},
		Subscribe: &server.SubjectPermission{Allow: append([]string{
			"_INBOX_RELAY.>", "$JS.EVENT.ADVISORY.STREAM.*.APIXO", "$JS.EVENT.ADVISORY.STREAM.*.APIXO_QUARANTINE",
		}, subscribe...)},
	}
}

// Exactly these are enough, where the bucket is there and where it is to be made.
func TestLeastPermissionsForBucket(t *testing.T) {
	t.Parallel()
	publish := []string{
		"apixo.quarantine.missing", "$KV.APIXO_EXPECTED.>", "$JS.API.STREAM.INFO.KV_APIXO_EXPECTED", "$JS.API.CONSUMER.CREATE.KV_APIXO_EXPECTED.>",
		"$JS.API.CONSUMER.DELETE.KV_APIXO_EXPECTED.*", "$JS.FC.KV_APIXO_EXPECTED.>", "$JS.API.DIRECT.GET.KV_APIXO_EXPECTED.>",
	}
	subscribe := []string{"$JS.EVENT.ADVISORY.STREAM.*.KV_APIXO_EXPECTED"}
	r := bucketAsRelay(t, least(publish, subscribe), true)
	wellFormed(t, r)
	only(t, r)
	publish = append(publish, "$JS.API.STREAM.CREATE.KV_APIXO_EXPECTED", "$JS.API.INFO")
	r = bucketAsRelay(t, least(publish, subscribe), false)
	wellFormed(t, r)
	only(t, r)
}

// A bucket on three servers is not changed by looking at it either, nor left a consumer.
func TestBucketIsNotChanged(t *testing.T) {
	t.Parallel()
	url := startCluster(t, 3)[0].ClientURL()
	js := natstest.JetStream(t, url)
	makeStreams(t, js, func(c *jetstream.StreamConfig) { c.Replicas = 3 })
	kv := makeBucket(t, js, func(c *jetstream.KeyValueConfig) { c.Replicas = 3 })
	if _, err := kv.PutString(t.Context(), "task_1", `{"model":"nano-banana"}`); err != nil {
		t.Fatal(err)
	}
	before := state(t, js, "KV_APIXO_EXPECTED")
	for _, policy := range []string{"create", "update", "require"} {
		environ := expecting(t, "NATS_URL="+url, "RELAY_STREAM_POLICY="+policy, "RELAY_STREAM_REPLICAS=3")
		r := look(t, environ...)
		// On a machine that has too much to do, three servers elect now and then.
		for late := time.Now().Add(2 * time.Minute); strings.Contains(printed(r), "has no leader") && time.Now().Before(late); {
			r = look(t, environ...)
		}
		only(t, r, check.Replicas) // new ones may be behind for a moment
	}
	if after := state(t, js, "KV_APIXO_EXPECTED"); after.LastSeq != before.LastSeq || after.Consumers != 0 {
		t.Errorf("%+v became %+v", before, after)
	}
	r := look(t, expecting(t, "NATS_URL="+url, "RELAY_EXPECT_BUCKET=OTHER", "RELAY_STREAM_REPLICAS=3")...)
	expect(t, r, check.Expected, check.OK, "the relay makes it when it starts")
}

// A bucket with fewer replicas than the settings ask for is told of.
func TestWeakBucketInACluster(t *testing.T) {
	t.Parallel()
	url := startCluster(t, 3)[0].ClientURL()
	js := natstest.JetStream(t, url)
	makeBucket(t, js, nil)
	r := look(t, expecting(t, "NATS_URL="+url, "RELAY_STREAM_REPLICAS=3")...)
	expect(t, r, check.Expected, check.Warn, "the bucket APIXO_EXPECTED has 1 replicas, and RELAY_STREAM_REPLICAS asks for 3 → give it as many")
}
