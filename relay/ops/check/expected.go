package check

import (
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/expected"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

// nobody is the name of a task, a key and a consumer, none of which exists.
const nobody = "apixo-relay-check"

// bucketProbes are what the relay does to the bucket of announced tasks, and with tasks that
// are missing, each as a question that has no effect.
func (x *runner) bucketProbes(bucket, quarantine *target) (needs []*permissionProbe) {
	name, stream := x.cfg.Expect.Bucket, bucket.want.Name
	api := jsapi.Prefix(x.cfg.Stream.Domain)
	ask := func(to, subject string) *permissionProbe {
		p := &permissionProbe{msg: &nats.Msg{Subject: subject}, to: to}
		needs = append(needs, p)
		return p
	}
	// askOne is about one of many subjects, all of which the relay needs.
	askOne := func(to, before, one, all string) *permissionProbe {
		p := ask(to, before+one)
		p.allow = before + all
		return p
	}
	refused := nats.Header{jetstream.ExpectedStreamHeader: {nonexistentStream}}

	missing := ask("tell which tasks are missing", schema.MissingSubject(x.cfg.Stream.Prefix))
	missing.of, missing.msg.Header = quarantine, refused

	keys := strings.TrimSuffix(expected.Subjects(name), ">")
	put := keys
	if x.cfg.Stream.Domain != "" {
		put = api + keys // as the client reaches a bucket of another domain
	}
	change := askOne("take announcements, take turns with other relays, and remove what is settled", put, nobody, ">")
	change.of, change.msg.Header = bucket, refused

	switch policy := x.cfg.Stream.Policy; {
	case bucket.isMissing() && policy != config.PolicyRequire:
		ask("make the bucket "+name, api+"STREAM.CREATE."+stream).makes = bucket
		ask("see what the account may have, before it makes the bucket "+name, api+"INFO").makes = bucket
	case bucket.info != nil && policy == config.PolicyUpdate:
		ask("change the bucket "+name, api+"STREAM.UPDATE."+stream)
		ask("see what the account may have, before it changes the bucket "+name, api+"INFO")
	}
	// The broker refuses a consumer without a configuration, whoever sends it.
	askOne("read the bucket "+name, api+"CONSUMER.CREATE."+stream+".", nobody+"."+keys+">", ">")
	askOne("go on reading the bucket "+name+" after the first megabytes", "$JS.FC."+stream+".", nobody, ">")
	askOne("end at once: it waits some seconds for an answer when it removes its consumer of the bucket "+name, api+"CONSUMER.DELETE."+stream+".", nobody, "*").weak = true
	askOne("take announcements by HTTP of tasks that were announced before", api+"DIRECT.GET."+stream+".", keys+nobody, ">").weak = true
	ask("notice at once that the bucket "+name+" is deleted", expected.DeletionSubject(name)).hears = true
	return needs
}

// bucket tells whether the bucket of announced tasks is there and takes what is announced.
func (x *runner) bucket(found *checkList, t *target, needs []*permissionProbe) {
	name, want := x.cfg.Expect.Bucket, expected.DesiredBucket(x.cfg)
	before := len(*found)
	switch {
	case t.isMissing() && x.cfg.Stream.Policy == config.PolicyRequire:
		found.fail(Expected, "make it: "+expected.MakeCommand(want), "there is no bucket %s, and RELAY_STREAM_POLICY=require leaves making it to you: announced tasks are not looked after", name)
	case t.info != nil && !isBucket(name, t.info.Config):
		found.fail(Expected, "name another bucket in RELAY_EXPECT_BUCKET, or delete this stream and make it: "+expected.MakeCommand(want), "the stream %s is no key-value bucket: announced tasks are not looked after", t.want.Name)
	case t.info != nil:
		is := bucketConfig(name, t.info.Config)
		updated := is
		updated.TTL, updated.Replicas = 0, max(is.Replicas, want.Replicas)
		remain := expected.Weaknesses(updated, want)
		for _, weakness := range expected.Weaknesses(is, want) {
			fact, remedy, _ := strings.Cut(weakness, ": ")
			switch {
			case x.cfg.Stream.Policy == config.PolicyUpdate && !slices.Contains(remain, weakness):
				remedy = "start the relay anew: with RELAY_STREAM_POLICY=update it changes the bucket"
			case remedy == "":
				remedy = "give it as many ('nats stream edit " + t.want.Name + "'), or set RELAY_STREAM_POLICY=update"
			}
			found.warn(Expected, remedy, "the bucket %s %s", name, fact)
		}
		if share, _ := fullness(t.info.Config, t.info.State); share >= fullShare {
			found.warn(Expected, "raise its limits before they are reached: then announcements are refused", "the bucket %s is %d %% full", name, share)
		}
	}
	for _, n := range needs {
		if n.of == t && len(*found) == before {
			x.wasAccepted(found, t, n)
		}
	}
	if len(*found) > before {
		return
	}
	switch {
	case t.unmakeable:
		found.skip("there is no bucket "+name+", and this user may not make it", Expected)
	case t.isMissing():
		found.ok(Expected, "there is no bucket %s yet; the relay makes it when it starts", name)
	case t.info == nil:
		found.skip("the broker does not tell about the bucket "+name, Expected)
	case t.info.State.Msgs == 0:
		found.ok(Expected, "no task is outstanding in the bucket %s", name)
	default:
		found.ok(Expected, "the bucket %s takes announcements, and has keys of outstanding and lately settled tasks: %s; 'apixo-relay expect --list' shows what is outstanding", name, text.Count(t.info.State.Msgs))
	}
}

// isBucket reports whether a stream is a bucket, as clients make and use them.
func isBucket(name string, stream jetstream.StreamConfig) bool {
	return stream.MaxMsgsPerSubject > 0 &&
		(stream.Mirror != nil || stream.AllowRollup && slices.Contains(stream.Subjects, expected.Subjects(name)))
}

// bucketConfig is a bucket's configuration by that of its stream, as far as its weaknesses
// are in it.
func bucketConfig(name string, stream jetstream.StreamConfig) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{Bucket: name, TTL: stream.MaxAge, Storage: stream.Storage, Replicas: stream.Replicas, Mirror: stream.Mirror}
}
