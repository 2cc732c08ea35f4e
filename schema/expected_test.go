package schema_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/schema"
)

func TestExpectedKey(t *testing.T) {
	t.Parallel()
	for id, key := range map[string]string{
		"task_abc-1": "task_abc-1", "a.b": "a.b", "a:b": "a=3Ab", ".a": "=2Ea", "a.": "a=2E",
		"a..b": "a=2E=2Eb", ".": "=2E", "..": "=2E=2E", "a.b..c:": "a.b=2E=2Ec=3A",
	} {
		if got := schema.ExpectedKey(id); got != key {
			t.Errorf("%q: %q, want %q", id, got, key)
		}
		if got, err := schema.TaskIDOfKey(key); got != id || err != nil {
			t.Errorf("%q: %q, %v", key, got, err)
		}
	}
	for _, key := range []string{"a=", "a=3", "a=G1", "a/b", "", strings.Repeat("x", 129), "a=00b", "a= 1"} {
		if id, err := schema.TaskIDOfKey(key); !errors.Is(err, schema.ErrNotAnnouncement) {
			t.Errorf("%q: %q, %v", key, id, err)
		}
	}
}

func TestParseExpectedTask(t *testing.T) {
	t.Parallel()
	task, err := schema.ParseExpectedTask([]byte(`{"model":"nano-banana","attributes":{"user":"42"},"asked":2,"next":"2026-01-31T12:00:00Z","announced":7,"lastAnswer":"pending","more":[1]}`))
	want := schema.ExpectedTask{Model: "nano-banana", Attributes: map[string]string{"user": "42"}, Asked: 2, Next: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), LastAnswer: "pending"}
	if err != nil || !task.Equal(want) || task.Asked != 2 || !task.Next.Equal(want.Next) || !task.Announced.IsZero() || task.LastAnswer != "pending" {
		t.Errorf("%+v, %v", task, err)
	}
	for value, code := range map[string]string{
		``: schema.CodeEmpty, `{"model"`: schema.CodeSyntax, `{"model":"a"} x`: schema.CodeTrailingData, `{"model":"a","model":"b"}`: schema.CodeDuplicateMember,
		`"a"`: schema.CodeMemberType, `{}`: schema.CodeMemberMissing, `{"model":7}`: schema.CodeMemberType, `{"model":"../x"}`: schema.CodeModel, `{"model":".."}`: schema.CodeModel,
		`{"model":"a","attributes":{"a":1}}`: schema.CodeMemberType, `{"model":"a","attributes":[]}`: schema.CodeMemberType,
	} {
		_, err := schema.ParseExpectedTask([]byte(value))
		if e, ok := errors.AsType[*schema.Error](err); !ok || e.Code != code {
			t.Errorf("%s: %v, want %s", value, err, code)
		}
	}
}

func TestParseAnnouncement(t *testing.T) {
	t.Parallel()
	id, task, err := schema.ParseAnnouncement([]byte(`{"taskId":"a:1","model":"m","asked":3}`))
	if id != "a:1" || err != nil || task.Model != "m" || task.Asked != 0 {
		t.Errorf("%s, %+v, %v", id, task, err)
	}
	// A lone surrogate is read as browsers read it, wherever it stands.
	id, task, err = schema.ParseAnnouncement([]byte(`{"taskId":"t","attributes":{"user":"\ud800"},"model":"m"}`))
	if id != "t" || err != nil || task.Model != "m" || task.Attributes["user"] != "\ufffd" {
		t.Errorf("%s, %+v, %v", id, task, err)
	}
	for body, code := range map[string]string{
		`{"model":"m"}`: schema.CodeMemberMissing, `{"taskId":"a/b","model":"m"}`: schema.CodeTaskID, `{"taskId":7,"model":"m"}`: schema.CodeMemberType,
		`{"taskId":"a"}`: schema.CodeMemberMissing, `[]`: schema.CodeMemberType, "\xff": schema.CodeInvalidUTF8,
	} {
		_, _, err := schema.ParseAnnouncement([]byte(body))
		if e, ok := errors.AsType[*schema.Error](err); !ok || e.Code != code {
			t.Errorf("%s: %v, want %s", body, err, code)
		}
	}
}

// The event of a missing task, as it is stored, is read and written without a loss.
func TestMissingTask(t *testing.T) {
	t.Parallel()
	payload := []byte(`{"specversion":"1.0","id":"t1.missing.1704067200","source":"https://api.apixo.ai","type":"ai.apixo.task.missing","subject":"t1","time":"2024-01-02T00:00:00Z","datacontenttype":"application/json","dataschema":"` +
		schema.MissingSchemaID + `","reason":"not-final","detail":"it has not ended","data":{"taskId":"t1","model":"m","announced":"2024-01-01T00:00:00Z","asked":7,"lastAnswer":"processing"}}`)
	event, err := schema.DecodeMessage(map[string][]string{"Content-Type": {"application/cloudevents+json"}}, payload)
	if err != nil {
		t.Fatal(err)
	}
	task, err := event.Missing()
	want := schema.MissingTask{ID: "t1", Model: "m", Announced: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), Asked: 7, LastAnswer: "processing"}
	if err != nil || task != want || event.IsTask() || event.DataSchema != schema.MissingSchemaID {
		t.Errorf("%+v of %+v, %v", task, event, err)
	}
	var written, stored map[string]any
	unmarshal(t, []byte(marshal(t, event.JSONFormat())), &written)
	unmarshal(t, payload, &stored)
	if !reflect.DeepEqual(written, stored) {
		t.Errorf("it is written as %v", written)
	}
	event.Type = schema.TypeTaskFailed
	if _, err := event.Missing(); err == nil {
		t.Error("the event of a task that failed is read as that of a missing one")
	}
}
