package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// What announces a task to the parser does so to the schema, and nothing else does. Of
// a request's body both ask the same, and the parser a task's id besides.
func TestAnnouncementsAndSchemaAgree(t *testing.T) {
	t.Parallel()
	values := []string{`[]`, `"nano-banana"`, `null`, `7`, `{}`, `{"Model":"m"}`, `{"model":"m","more":{"a":[null]}}`}
	for _, model := range append(ids, `"."`, `".."`, `"..."`, `"../m"`, `"nano-banana"`, `true`) {
		values = append(values, `{"model":`+model+`}`)
	}
	for _, attributes := range append(others, `{"user":"42"}`, `{"user":null}`, `{"user":42}`, `{"user":{}}`, `{"":"","Ä":"\u0000"}`, `{"user":"\ud800"}`) {
		values = append(values, `{"attributes":`+attributes+`,"model":"m"}`)
	}
	for _, name := range []string{"announced", "asked", "next", "unknown", "lastAnswer", "taskId"} {
		for _, value := range []string{`null`, `"2024-01-01T00:00:00Z"`, `"soon"`, `3`, `-1`, `1.5`, `1e400`, `[]`, `{"model":7}`, `true`} {
			values = append(values, fmt.Sprintf(`{"model":"m",%q:%s}`, name, value), fmt.Sprintf(`{%q:%s}`, name, value))
		}
	}
	accepted := 0
	for _, value := range values {
		task, err := schema.ParseExpectedTask([]byte(value))
		if errors.Is(err, schema.ErrNotJSON) {
			continue // as some that stand for other members are
		}
		invalid := check(t, "expected", []byte(value))
		if (err == nil) != (invalid == nil) {
			t.Errorf("%s: the parser says %v, the schema %v", value, err, invalid)
		}
		if members, ok := strings.CutPrefix(value, "{"); ok && !strings.Contains(value, `"taskId"`) {
			body := strings.Replace(`{"taskId":"t1",`+members, ",}", "}", 1)
			if _, _, asked := schema.ParseAnnouncement([]byte(body)); (asked == nil) != (err == nil) {
				t.Errorf("%s: as a request %v, as a value %v", body, asked, err)
			}
		}
		if err != nil {
			continue
		}
		accepted++
		written, err := json.Marshal(task)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(t, "expected", written); err != nil {
			t.Errorf("%s is written as %s: %v", value, written, err)
		}
		again, err := schema.ParseExpectedTask(written)
		if err != nil || !again.Equal(task) || again.Asked != task.Asked || !again.Next.Equal(task.Next) {
			t.Errorf("%s is read back from %s as %+v, %v", value, written, again, err)
		}
	}
	if accepted < 20 || len(values)-accepted < 20 {
		t.Errorf("only %d of %d announce a task", accepted, len(values))
	}
}

// The data that the code writes is what the schema says, and what the schema's examples
// say is what the code reads.
func TestMissingTaskAndSchemaAgree(t *testing.T) {
	t.Parallel()
	for _, task := range []schema.MissingTask{
		{ID: "a:1", Model: "nano-banana", Announced: time.Now(), Asked: 3, LastAnswer: "processing"},
		{ID: "t", Model: "m", Announced: time.Unix(0, 0).UTC()},
	} {
		data, err := json.Marshal(task)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(t, "missing", data); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	}
	var root struct {
		Examples []json.RawMessage `json:"examples"`
	}
	if err := json.Unmarshal([]byte(document(t, "missing").Text), &root); err != nil {
		t.Fatal(err)
	}
	for _, example := range root.Examples {
		task, err := schema.Event{Type: schema.TypeTaskMissing, Data: example}.Missing()
		if err != nil || !schema.ValidTaskID(task.ID) || !schema.ValidModel(task.Model) || task.Announced.IsZero() || task.Asked == 0 || task.LastAnswer == "" {
			t.Errorf("%s was read as %+v, %v", example, task, err)
		}
	}
}

// Tasks that are announced by the example in Python, and whose webhooks never come, end as
// the events that the documents describe; and what announces none is kept as they say.
func TestWhatIsAnnouncedEnds(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	const key, token = "key-of-the-status-api", "token-0123456789"
	program := relaytest.Build(t, "./cmd/apixo-relay")
	for _, mode := range []string{"structured", "binary"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
			defer cancel()
			fake := fakeapi.New(key)
			fake.Set("fails", fakeapi.Failure)
			fake.Set("un:known", fakeapi.Error(404, "Task not found"))
			api := httptest.NewServer(fake)
			t.Cleanup(api.Close)
			r := startRelay(t, program, mode, "RELAY_WEBHOOK_TOKENS="+token, "RELAY_EXPECT=true", "RELAY_EXPECT_AFTER=1s", "RELAY_VERIFY=flag",
				"APIXO_API_KEY="+key, "APIXO_BASE_URL="+api.URL)
			base, _, _ := strings.Cut(r.Webhooks, "/webhook/")
			announce := func(token string, ids ...string) (printed []string, err error) {
				cmd := exec.CommandContext(ctx, "python3", slices.Concat([]string{filepath.Join(relaytest.Root, "schema/examples/python/announce.py"), "nano-banana"}, ids)...)
				cmd.Env = relaytest.Environ("RELAY_URL="+base, "RELAY_TOKEN="+token)
				out, err := cmd.Output()
				return lines(out), err
			}
			printed, err := announce(token, "succeeds", "fails", "un:known")
			if want := []string{"succeeds announced", "fails announced", "un:known announced"}; err != nil || !slices.Equal(printed, want) {
				t.Fatalf("it printed %q, want %q: %v", printed, want, err)
			}
			if printed, err := announce("another-0123456789", "succeeds"); err == nil {
				t.Errorf("with a wrong token it printed %q", printed)
			}
			if printed, err := announce(token, "a/b"); err == nil {
				t.Errorf("what is no id was announced: %q", printed)
			}
			// Whoever publishes by hand can use keys that no client takes.
			js := natstest.JetStream(t, r.Broker)
			for key, value := range map[string]string{"no.json": "{", "twice": `{"a":1,"a":2}`, "bytes": "\"\xff\"", "empty": "", "no-model": `{"Model":"m"}`, "a/b": `{"model":"m"}`, "ä\xff\x01": `{"model":"m"}`} {
				if _, err := js.Publish(ctx, "$KV."+schema.DefaultExpectedBucket+"."+key, []byte(value)); err != nil {
					t.Fatal(err)
				}
			}

			got := make(map[string][]jetstream.Msg)
			for subject, n := range map[string]int{"apixo.task.success": 1, "apixo.task.failed": 1, "apixo.quarantine.missing": 1, "apixo.quarantine.rejected": 8} {
				stream, name := schema.DefaultStream, "event"
				if rest, ok := strings.CutPrefix(subject, "apixo.quarantine."); ok {
					stream, name = schema.DefaultQuarantine, map[string]string{"missing": "missing", "rejected": "quarantine"}[rest]
				}
				got[subject] = readAll(ctx, t, r.Broker, stream, subject, n)
				for _, msg := range got[subject] {
					checkMessage(t, mode, name, msg)
				}
			}
			for subject, id := range map[string]string{"apixo.task.success": "succeeds", "apixo.task.failed": "fails"} {
				event := decodeEvent(t, got[subject][0])
				if event.ID != id || event.Model() != "nano-banana" || event.Verified() != "true" {
					t.Errorf("%s: %+v", id, event)
				}
				if recovered := got[subject][0].Headers().Get(schema.HeaderRecovered); recovered != schema.RecoveredReconciled {
					t.Errorf("%s: recovered is %q", id, recovered)
				}
			}
			missing := decodeEvent(t, got["apixo.quarantine.missing"][0])
			task, err := missing.Missing()
			if err != nil || task.ID != "un:known" || task.Model != "nano-banana" || task.Asked != 3 || missing.ID != fmt.Sprintf("un:known.missing.%d", task.Announced.Unix()) ||
				missing.Subject != task.ID || missing.Reason() != "unknown-task" {
				t.Errorf("%+v of %+v, %v", task, missing, err)
			}
			var reasons []string
			for _, msg := range got["apixo.quarantine.rejected"] {
				event := decodeEvent(t, msg)
				reasons = append(reasons, fmt.Sprintf("%s %s %s", event.Subject, event.Reason(), event.DataContentType))
			}
			slices.Sort(reasons)
			if want := []string{
				" invalid-task-id application/json", // by HTTP
				" invalid-task-id application/json", // of a key that is no text
				"a/b invalid-task-id application/json", "bytes invalid-utf8 application/octet-stream", "empty empty-body application/octet-stream",
				"no-model member-missing application/json", "no.json invalid-json application/octet-stream", "twice duplicate-member application/octet-stream",
			}; !slices.Equal(reasons, want) {
				t.Errorf("announcements were rejected as %q, want %q", reasons, want)
			}
			if printed, err := announce(token, "succeeds"); err != nil || !slices.Equal(printed, []string{"succeeds has ended already"}) {
				t.Errorf("announced after its end, it printed %q: %v", printed, err)
			}
		})
	}
}

func decodeEvent(t *testing.T, msg jetstream.Msg) schema.Event {
	t.Helper()
	event, err := schema.DecodeMessage(msg.Headers(), msg.Data())
	if err != nil {
		t.Fatal(err)
	}
	return event
}
