package schema_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/schema"
)

// The events of an archive, as they are stored, are read and written without a loss.
func TestArchivedTask(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("0f", 32)
	file := `{"url":"https://a/1","location":"nats:results/t1/01-1","bytes":1099511627776,"mediaType":"image/png","sha256":"` + sum + `"}`
	files := []schema.ArchivedFile{{URL: "https://a/1", Location: "nats:results/t1/01-1", Bytes: 1 << 40, MediaType: "image/png", SHA256: sum}}
	for _, tt := range []struct {
		name, attributes, data string
		want                   schema.ArchivedTask
		reason                 string
	}{
		{"archived", `"type":"ai.apixo.task.archived"`, `{"taskId":"t1","files":[` + file + `]}`, schema.ArchivedTask{ID: "t1", Files: files}, ""},
		{
			"no addresses", `"type":"ai.apixo.task.archived","reason":"no-addresses","detail":"there are none"`, `{"taskId":"t1","files":[]}`,
			schema.ArchivedTask{ID: "t1", Files: []schema.ArchivedFile{}}, schema.ReasonNoAddresses,
		},
		{
			"failed", `"type":"ai.apixo.task.archive-failed","reason":"gone","detail":"some are gone"`,
			`{"taskId":"t1","files":[` + file + `],"failures":[{"url":"https://a/2","reason":"gone","detail":"403"},{"url":"","reason":"too-many","detail":"7 more"}]}`,
			schema.ArchivedTask{ID: "t1", Files: files, Failures: []schema.ArchiveFailure{
				{URL: "https://a/2", Reason: schema.ReasonGone, Detail: "403"}, {Reason: schema.ReasonTooMany, Detail: "7 more"},
			}}, schema.ReasonGone,
		},
	} {
		payload := []byte(`{"specversion":"1.0","id":"t1.x@nats:results","source":"https://api.apixo.ai","subject":"t1","time":"2024-01-02T00:00:00Z",` +
			`"datacontenttype":"application/json","dataschema":"` + schema.ArchiveSchemaID + `","model":"m",` + tt.attributes + `,"data":` + tt.data + `}`)
		event, err := schema.DecodeMessage(map[string][]string{"Content-Type": {"application/cloudevents+json"}}, payload)
		if err != nil {
			t.Fatal(err)
		}
		task, err := event.Archived()
		if err != nil || !reflect.DeepEqual(task, tt.want) || event.IsTask() || event.Reason() != tt.reason {
			t.Errorf("%s: %+v of %+v, %v", tt.name, task, event, err)
		}
		if got := asJSON(t, task); got != tt.data {
			t.Errorf("%s: the data is written as %s", tt.name, got)
		}
		var written, stored map[string]any
		unmarshal(t, []byte(marshal(t, event.JSONFormat())), &written)
		unmarshal(t, payload, &stored)
		if !reflect.DeepEqual(written, stored) {
			t.Errorf("%s: it is written as %v", tt.name, written)
		}
	}
}

func TestArchivedRefuses(t *testing.T) {
	t.Parallel()
	good := schema.Event{ID: "e", Type: schema.TypeTaskArchived, Data: []byte(`{"taskId":"t","files":[],"more":1}`)}
	if _, err := good.Archived(); err != nil {
		t.Fatal(err)
	}
	for _, typ := range []string{schema.TypeTaskSuccess, schema.TypeTaskMissing, schema.TypeWebhookRejected, "ai.apixo.task.archive", ""} {
		e := good
		e.Type = typ
		if task, err := e.Archived(); err == nil {
			t.Errorf("an event of the type %q was read as %+v", typ, task)
		}
	}
	for _, data := range []string{``, `{`, `null`, `[]`, `{}`, `{"taskId":"a/b"}`, `{"taskId":"t","files":{}}`, `{"taskId":"t","files":[{"bytes":"1"}]}`, `{"taskId":"t","failures":[1]}`} {
		e := good
		e.Data = []byte(data)
		if task, err := e.Archived(); err == nil || task.ID != "" {
			t.Errorf("%s was read as %+v, %v", data, task, err)
		}
	}
}
