package interop

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// producer is one of the examples that announce tasks, with the model as its last argument.
type producer struct {
	name    string
	command []string
	refusal string // what it says of a text that is no task's id
}

func producers(t *testing.T) []producer {
	t.Helper()
	requireNode(t, javaScriptExample)
	return []producer{
		{"Go", []string{relaytest.Build(t, "./schema/examples/go/producer"), "-model", "nano-banana"}, "is no task id"},
		{"JavaScript", []string{"node", filepath.Join(javaScriptExample, "producer.mjs"), "nano-banana"}, "is neither a task's id nor a model"},
	}
}

// asRelay connects to the broker of startBucket as somebody who may do everything.
var asRelay = nats.UserInfo("relay", "relay")

// startBucket starts a broker with a bucket of announced tasks, and returns it, and where a
// producer reaches it that may do no more than schema/DELIVERY.md says.
func startBucket(t *testing.T) (bucket jetstream.KeyValue, address string) {
	t.Helper()
	const stream = "KV_" + schema.DefaultExpectedBucket
	options := natstest.Options(t)
	options.Users = []*server.User{
		{Username: "relay", Password: "relay"},
		{Username: "producer", Password: "producer", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{"$KV." + schema.DefaultExpectedBucket + ".>", "$JS.API.STREAM.INFO." + stream, "$JS.API.DIRECT.GET." + stream + ".>"}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}},
	}
	options.NoAuthUser = "producer" // the examples take no password
	broker := natstest.Start(t, options)
	bucket, err := natstest.JetStream(t, broker.ClientURL(), asRelay).CreateKeyValue(t.Context(), jetstream.KeyValueConfig{
		Bucket: schema.DefaultExpectedBucket, LimitMarkerTTL: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return bucket, broker.ClientURL()
}

// Each task is announced once, however often its producer does so, and under the key
// where the relay looks for it; and once more when it has been settled.
func TestProducersAnnounce(t *testing.T) {
	t.Parallel()
	announced := []string{"task_abc123xyz", "a:1", ".", "..", "a.b", ".a..b.", "a...b:", "-", "_.-_"}
	for _, p := range producers(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), readerTimeout)
			defer cancel()
			bucket, address := startBucket(t)
			run := func(want string, ids ...string) {
				t.Helper()
				printed := runExample(ctx, t, address, p.command[0], append(p.command[1:], ids...)...)
				var all []string
				for _, id := range ids {
					all = append(all, id+" "+want)
				}
				if !slices.Equal(printed, all) {
					t.Errorf("it printed\n%s\nwant\n%s", strings.Join(printed, "\n"), strings.Join(all, "\n"))
				}
			}
			run("announced", announced...)
			revisions := make(map[string]uint64)
			for _, id := range announced {
				entry, err := bucket.Get(ctx, schema.ExpectedKey(id))
				if err != nil {
					t.Fatalf("%s: %v", id, err)
				}
				revisions[id] = entry.Revision()
				task, err := schema.ParseExpectedTask(entry.Value())
				if err != nil || !task.Equal(schema.ExpectedTask{Model: "nano-banana"}) {
					t.Errorf("%s was announced with %s: %v", id, entry.Value(), err)
				}
				if err := check(t, "expected", entry.Value()); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			}
			checkAnnouncement(ctx, t, address)

			run("was announced already", announced...)
			for _, id := range announced {
				if entry, err := bucket.Get(ctx, schema.ExpectedKey(id)); err != nil || entry.Revision() != revisions[id] {
					t.Errorf("announced again, %s is %v, %v, and had the revision %d", id, entry, err, revisions[id])
				}
			}
			if err := bucket.Delete(ctx, schema.ExpectedKey("a:1"), jetstream.LastRevision(revisions["a:1"])); err != nil {
				t.Fatal(err)
			}
			run("announced", "a:1")
		})
	}
}

// checkAnnouncement holds the first announcement, as the broker stores it, against the
// AsyncAPI document.
func checkAnnouncement(ctx context.Context, t *testing.T, address string) {
	t.Helper()
	stream, err := natstest.JetStream(t, address, asRelay).Stream(ctx, "KV_"+schema.DefaultExpectedBucket)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := stream.GetMsg(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	headers := make(map[string]any)
	for name, values := range msg.Header {
		headers[name] = values[0]
	}
	message := asyncAPIOf(t, announcements, "announcement")
	payload, err := jsonschema.UnmarshalJSON(strings.NewReader(string(msg.Data)))
	if err != nil {
		t.Fatal(err)
	}
	if err := message.headers.Validate(headers); err != nil {
		t.Errorf("%v: %q", err, headers)
	}
	if err := message.payload.Validate(payload); err != nil {
		t.Errorf("%v: %s", err, msg.Data)
	}
	if want := strings.Replace(announcements, "{key}", "task_abc123xyz", 1); msg.Subject != want {
		t.Errorf("the first is at %s, want %s", msg.Subject, want)
	}
}

// What is no task's id is refused before anything is stored, and so is a task where no
// relay looks after any.
func TestProducersThatCannotAnnounce(t *testing.T) {
	t.Parallel()
	for _, p := range producers(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), readerTimeout)
			defer cancel()
			bucket, address := startBucket(t)
			for _, id := range []string{"a/b", "a b", "", "ä", strings.Repeat("x", 129)} {
				if said := failExample(ctx, t, address, p.command, id); !strings.Contains(said, p.refusal) {
					t.Errorf("of %q it says\n%s", id, said)
				}
			}
			if keys, err := bucket.ListKeys(ctx); err != nil {
				t.Error(err)
			} else if key, ok := <-keys.Keys(); ok {
				t.Errorf("%s is in the bucket", key)
			}
			without := natstest.Start(t, natstest.Options(t))
			if said := failExample(ctx, t, without.ClientURL(), p.command, "task_abc123xyz"); !strings.Contains(said, "does the relay run with RELAY_EXPECT=true?") {
				t.Errorf("without a bucket it says\n%s", said)
			}
		})
	}
}

// failExample runs a program that has to end with another code than 0, and returns what it
// says.
func failExample(ctx context.Context, t *testing.T, address string, command []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, command[0], slices.Concat(command[1:], args)...)
	cmd.Env = relaytest.Environ("NATS_URL=" + address)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() <= 0 {
		t.Errorf("%s: %v", cmd, err)
	}
	return string(out)
}
