package event_test

import (
	"bytes"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding/format"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/schema"
)

const archive = "s3://results/a b/图"

var (
	archivedFile = schema.ArchivedFile{
		URL: "https://cdn.apixo.ai/a%20b.png?sig=x%2Fy&e=1<>", Location: archive + "/a:1/01-a_b.png", Bytes: 1 << 40, MediaType: "text/plain; charset=utf-8",
		SHA256: strings.Repeat("0f", 32),
	}
	archiveFailure = schema.ArchiveFailure{URL: "https://cdn.apixo.ai/图.png", Reason: schema.ReasonGone, Detail: "cdn.apixo.ai answered 403 Forbidden"}
)

// What became of a task's files is such an event as those of tasks are, whatever the
// attributes, in both modes; and the SDK reads it.
func TestArchivedIsTheEvent(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		task    schema.ArchivedTask
		kind    event.Kind
		subject string
		want    map[string]string
	}{
		"archived": {
			schema.ArchivedTask{ID: "a:1", Files: []schema.ArchivedFile{archivedFile, archivedFile}}, event.TaskArchived, "p.archive.stored",
			map[string]string{"id": "a:1.archived@" + archive, "type": "ai.apixo.task.archived"},
		},
		"no addresses": {
			schema.ArchivedTask{ID: "a:1"}, event.TaskArchived, "p.archive.stored",
			map[string]string{
				"id": "a:1.archived@" + archive, "type": "ai.apixo.task.archived", "reason": "no-addresses", "detail": "there are no addresses in the result",
			},
		},
		"some failed": {
			schema.ArchivedTask{ID: "a:1", Files: []schema.ArchivedFile{archivedFile}, Failures: []schema.ArchiveFailure{archiveFailure, {Reason: schema.ReasonTooMany}}},
			event.TaskArchiveFailed, "p.archive.failed",
			map[string]string{
				"id": "a:1.archive-failed@" + archive, "type": "ai.apixo.task.archive-failed", "reason": "gone", "detail": "files in the archive: 1; failures: 2",
			},
		},
		"all failed": {
			schema.ArchivedTask{ID: "a:1", Failures: []schema.ArchiveFailure{archiveFailure}}, event.TaskArchiveFailed, "p.archive.failed",
			map[string]string{
				"id": "a:1.archive-failed@" + archive, "type": "ai.apixo.task.archive-failed", "reason": "gone", "detail": "files in the archive: 0; failures: 1",
			},
		},
	} {
		for _, callback := range hostile {
			want := map[string]string{
				"specversion": "1.0", "source": "urn:x", "subject": "a:1", "time": received.UTC().Format(time.RFC3339Nano),
				"datacontenttype": "application/json", "dataschema": schema.ArchiveSchemaID,
			}
			maps.Copy(want, tt.want)
			maps.Copy(want, callback)
			for _, mode := range []event.Mode{event.Structured, event.Binary} {
				msg, err := event.Encoder{Source: "urn:x", Prefix: "p", Mode: mode}.Archived(tt.task, archive, callback, received)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if msg.Kind != tt.kind || msg.Subject != tt.subject || msg.ID != want["id"] {
					t.Errorf("%s: it is of kind %d with the id %q, for %s", name, msg.Kind, msg.ID, msg.Subject)
				}
				e := stored(t, msg)
				got, err := e.Archived()
				wantTask := tt.task
				if wantTask.Files == nil {
					wantTask.Files = []schema.ArchivedFile{}
				}
				if err != nil || !reflect.DeepEqual(got, wantTask) {
					t.Errorf("%s: read back %+v, %v", name, got, err)
				}
				if len(tt.task.Files) > 0 && !bytes.Contains(e.Data, []byte(`"`+archivedFile.URL+`"`)) {
					t.Errorf("%s: an address is not as it came: %s", name, e.Data)
				}
				if mode == event.Binary {
					wantBinary(t, msg, want, e.Data)
					continue
				}
				wantStructured(t, msg, want, "data", e.Data)
				var ce cloudevents.Event
				if err := format.JSON.Unmarshal(msg.Data, &ce); err != nil {
					t.Fatal(err)
				}
				if err := ce.Validate(); err != nil || ce.ID() != msg.ID || !bytes.Equal(ce.Data(), e.Data) {
					t.Errorf("%s: the SDK reads %v, %v", name, ce, err)
				}
			}
		}
	}
}

// Whoever published the task's event: what is about its data, or cannot be an attribute, is
// not in the archive's, and the rest is.
func TestArchivedTakesOnlyWhatCanBeAnAttribute(t *testing.T) {
	t.Parallel()
	extensions := map[string]string{
		"model": "m", "normalized": "failCode", "verified": "true", "reason": "conflict", "detail": "it differs",
		"data": "{}", "data_base64": "AA==", "Reason": "forged", "ID": "forged", "a b": "c", "": "c", "empty": "", "binary": "\xff", "lines": "a\r\nce-id: b",
		"traceparent": "none", "tracestate": "a=b",
	}
	before := maps.Clone(extensions)
	for _, mode := range []event.Mode{event.Structured, event.Binary} {
		msg, err := event.Encoder{Source: "urn:x", Prefix: "p", Mode: mode}.Archived(schema.ArchivedTask{ID: "t", Files: []schema.ArchivedFile{archivedFile}}, archive, extensions, received)
		if err != nil {
			t.Fatal(err)
		}
		if got := stored(t, msg).Extensions; !maps.Equal(got, map[string]string{"model": "m"}) {
			t.Errorf("the extensions are %q", got)
		}
	}
	if !maps.Equal(extensions, before) {
		t.Errorf("the extensions of the task's event were changed to %q", extensions)
	}
}

// A replay has the data as the JSON that it is, whichever mode it was stored in.
func TestArchivedIsJSONForOthers(t *testing.T) {
	t.Parallel()
	for _, task := range []schema.ArchivedTask{{ID: "t"}, {ID: "t", Failures: []schema.ArchiveFailure{archiveFailure}}} {
		msg, err := event.Encoder{Source: "urn:x", Prefix: "p", Mode: event.Binary}.Archived(task, archive, nil, received)
		if err != nil {
			t.Fatal(err)
		}
		text, err := event.ToJSON(stored(t, msg), msg.Header, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		if got := decoded(t, text)["data"]; !bytes.Equal(got, msg.Data) {
			t.Errorf("the data is %s in %s, want %s", got, text, msg.Data)
		}
	}
}
