package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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
	for _, name := range []string{"announced", "asked", "next", "lastAnswer", "taskId"} {
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
