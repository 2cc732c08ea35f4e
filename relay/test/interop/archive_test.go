package interop

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	events "github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// archived are tasks of whose files an archive tells: safe, lost, both, and none.
func archived() []schema.ArchivedTask {
	sum := strings.Repeat("0f", 32)
	file := func(name string) schema.ArchivedFile {
		return schema.ArchivedFile{URL: "https://cdn.apixo.ai/" + name + "?sig=x%2Fy&e=1", Location: "s3://results/apixo/a:1/01-" + name, Bytes: 1 << 40, MediaType: "text/plain; charset=utf-8", SHA256: sum}
	}
	var failures []schema.ArchiveFailure
	for _, reason := range schema.ArchiveFailureReasons() {
		failures = append(failures, schema.ArchiveFailure{URL: "javascript:图\u0000<>", Reason: reason, Detail: "it says \"no\"\u2028"})
	}
	return []schema.ArchivedTask{
		{ID: "a:1", Files: []schema.ArchivedFile{file("a.png"), file("b.png")}},
		{ID: "none"},
		{ID: "some", Files: []schema.ArchivedFile{file("a.png")}, Failures: failures},
		{ID: "lost", Failures: []schema.ArchiveFailure{{Reason: schema.ReasonTooMany}}},
	}
}

// What the schema's examples say is what the code reads and writes.
func TestArchivedTaskAndSchemaAgree(t *testing.T) {
	t.Parallel()
	var root struct {
		Examples []json.RawMessage `json:"examples"`
	}
	if err := json.Unmarshal([]byte(document(t, "archive").Text), &root); err != nil {
		t.Fatal(err)
	}
	for _, example := range root.Examples {
		task, err := schema.Event{Type: schema.TypeTaskArchived, Data: example}.Archived()
		if err != nil {
			t.Errorf("%s: %v", example, err)
			continue
		}
		written, err := json.Marshal(task)
		if err != nil {
			t.Fatal(err)
		}
		if !sameJSON(t, written, example) {
			t.Errorf("%s was read as %+v", example, task)
		}
	}
	for _, data := range []string{
		`{"taskId":"t"}`, `{"files":[]}`, `{"taskId":"t","files":null}`, `{"taskId":"a/b","files":[]}`, `{"taskId":"t","files":[],"failures":[]}`,
		`{"taskId":"t","files":[{"url":"u","location":"s3://b/k","bytes":-1,"mediaType":"a/b","sha256":"` + strings.Repeat("0", 64) + `"}]}`,
		`{"taskId":"t","files":[{"url":"u","location":"s3://b/k","bytes":1,"mediaType":"a/b","sha256":"` + strings.Repeat("0", 63) + `"}]}`,
		`{"taskId":"t","files":[],"failures":[{"url":"u","reason":"Gone","detail":""}]}`,
	} {
		if check(t, "archive", []byte(data)) == nil {
			t.Errorf("%s is valid", data)
		}
	}
}

// What an archive tells is what the documents say, other software reads it, and the example
// does each event once.
func TestWhatAnArchiveTellsIsReadBack(t *testing.T) {
	t.Parallel()
	requireNode(t, javaScriptExample)
	example := worker{"archived", []string{relaytest.Build(t, "./schema/examples/go/archived")}, goFlag}
	for name, mode := range map[string]events.Mode{"structured": events.Structured, "binary": events.Binary} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
			defer cancel()
			broker := natstest.Start(t, natstest.Options(t)).ClientURL()
			js := natstest.JetStream(t, broker)
			if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: schema.DefaultArchive, Subjects: []string{schema.ArchiveSubjects("apixo")}}); err != nil {
				t.Fatal(err)
			}
			encoder := events.Encoder{Source: "https://api.apixo.ai", Prefix: "apixo", Mode: mode}
			published := make(map[string][]webhook) // by subject
			for i, task := range archived() {
				m := models[i%len(models)]
				msg, err := encoder.Archived(task, "s3://results/apixo", map[string]string{"model": m.text, "verified": "true"}, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				header := nats.Header(maps.Clone(msg.Header))
				if _, err := js.PublishMsg(ctx, &nats.Msg{Subject: msg.Subject, Header: header, Data: msg.Data}, jetstream.WithMsgID(msg.ID)); err != nil {
					t.Fatal(err)
				}
				published[msg.Subject] = append(published[msg.Subject], webhook{name: task.ID, model: m, want: ofArchive(t, task, m)})
			}

			for subject, want := range published {
				for _, msg := range readAll(ctx, t, broker, schema.DefaultArchive, subject, len(want)) {
					checkMessage(t, name, "archive", msg)
				}
				for reader, tt := range map[string]struct {
					read   reader
					wanted func(webhook) event
				}{
					"schema package": {readWithSchema(name), asPublished}, "Go SDK": {readWithGoSDK, asGoSDKReads(name)}, "JavaScript SDK": {readWithJavaScript, asPublished},
				} {
					ctx, cancel := context.WithTimeout(ctx, readerTimeout)
					got := tt.read(ctx, t, broker, schema.DefaultArchive, subject, len(want))
					cancel()
					if len(got) != len(want) {
						t.Errorf("%s reads %d events from %s, %d were published", reader, len(got), subject, len(want))
						continue
					}
					for i, w := range want {
						compare(t, reader+", "+w.name, got[i], tt.wanted(w), sameJSON)
					}
				}
			}

			want := []string{
				"a:1 stored s3://results/apixo/a:1/01-a.png text/plain; charset=utf-8 1099511627776", "a:1 stored s3://results/apixo/a:1/01-b.png text/plain; charset=utf-8 1099511627776",
				"none empty no-addresses",
				"some stored s3://results/apixo/a:1/01-a.png text/plain; charset=utf-8 1099511627776",
				`lost lost too-many "" ""`,
			}
			for _, reason := range schema.ArchiveFailureReasons() {
				want = append(want, "some lost "+reason+` "javascript:图\x00<>" "it says \"no\"\u2028"`)
			}
			options := map[string]any{"count": len(archived()), "ack-wait": shortWait}
			if printed := example.runUntilAck(ctx, t, broker, options); !slices.Equal(printed, want[:2]) {
				t.Errorf("before it was killed, the example printed %q", printed)
			}
			printed := example.run(ctx, t, broker, options) // the first event comes again
			slices.Sort(printed)
			slices.Sort(want)
			if !slices.Equal(printed, want) {
				t.Errorf("the example printed\n%s\nwant\n%s", strings.Join(printed, "\n"), strings.Join(want, "\n"))
			}
			consumer, err := js.Consumer(ctx, schema.DefaultArchive, "archived")
			if err != nil {
				t.Fatal(err)
			}
			if info := consumer.CachedInfo(); info.NumPending != 0 || info.NumAckPending != 0 {
				t.Errorf("%d events are undelivered and %d unacknowledged", info.NumPending, info.NumAckPending)
			}
		})
	}
}

// ofArchive is the event that has to be published of a task's files.
func ofArchive(t *testing.T, task schema.ArchivedTask, m model) event {
	t.Helper()
	typ, word := schema.TypeTaskArchived, ".archived@"
	if task.Failures != nil {
		typ, word = schema.TypeTaskArchiveFailed, ".archive-failed@"
	}
	attributes := map[string]string{
		"specversion": "1.0", "id": task.ID + word + "s3://results/apixo", "source": "https://api.apixo.ai", "type": typ, "subject": task.ID, "time": something,
		"datacontenttype": "application/json", "dataschema": schema.ArchiveSchemaID, "model": m.text,
	}
	switch {
	case task.Failures != nil:
		attributes["reason"], attributes["detail"] = task.Failures[0].Reason, something
	case task.Files == nil:
		attributes["reason"], attributes["detail"] = schema.ReasonNoAddresses, something
	}
	if task.Files == nil {
		task.Files = []schema.ArchivedFile{}
	}
	data, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	return event{attributes, data}
}

// What the program itself tells of files that it stored, and of those that it could not, is
// what the documents say.
func TestWhatIsArchivedIsValid(t *testing.T) {
	t.Parallel()
	program := relaytest.Build(t, "./cmd/apixo-relay")
	for _, mode := range []string{"structured", "binary"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), modeTimeout)
			defer cancel()
			r, results := startRelay(t, program, mode), startResults(t)
			for id, address := range map[string]string{
				"a:1": results.URL + "/a%20b.png?sig=x%2Fy&e=1", "..": results.URL + "/../../x", "expired": results.URL + "/expired", "forbidden": "https://example.com/a.png", "no-address": "../x",
			} {
				r.post(ctx, t, succeeded(t, id, address))
			}
			r.post(ctx, t, task(t, "none", models[1], []byte(`{"code":200,"data":{"taskId":"none","state":"success","resultJson":"{}","completeTime":1704067212500}}`)))

			dir := t.TempDir()
			cmd := exec.CommandContext(ctx, program, "archive", "--to", "file://"+dir, "--since", "1h", "--until-now")
			cmd.Env = relaytest.Environ("NATS_URL="+r.Broker, "RELAY_ARCHIVE_HOSTS="+results.URL, "RELAY_CE_MODE="+mode)
			out, err := cmd.CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
				t.Fatalf("some addresses are dead, and it ended as %v:\n%s", err, out)
			}

			got := make(map[string]string)
			for _, subject := range []string{"apixo.archive.stored", "apixo.archive.failed"} {
				for _, msg := range readAll(ctx, t, r.Broker, schema.DefaultArchive, subject, 3) {
					checkMessage(t, mode, "archive", msg)
					event := decodeEvent(t, msg)
					task, err := event.Archived()
					if err != nil {
						t.Fatal(err)
					}
					for _, file := range task.Files {
						path, inDir := strings.CutPrefix(file.Location, "file://"+dir+"/")
						stored, err := os.ReadFile(filepath.Join(dir, path))
						if !inDir || err != nil || fmt.Sprintf("%x", sha256.Sum256(stored)) != file.SHA256 || int64(len(stored)) != file.Bytes {
							t.Errorf("%+v has %q, %v", file, stored, err)
						}
						got[task.ID] += path
					}
					got[task.ID] += event.Reason()
				}
			}
			if want := map[string]string{
				"a:1": "a:1/01-a_b.png", "..": "=2E./01-x", "expired": schema.ReasonGone, "forbidden": schema.ReasonForbiddenHost, "no-address": schema.ReasonInvalidAddress, "none": schema.ReasonNoAddresses,
			}; !maps.Equal(got, want) {
				t.Errorf("it told %q, want %q\n%s", got, want, out)
			}
		})
	}
}
