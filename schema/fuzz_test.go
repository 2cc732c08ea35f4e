package schema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/apixo-relay/apixo-relay/schema"
)

// FuzzParseWebhook holds the parser against another reader of JSON: it never
// panics, refuses what is not JSON as such, and what it accepts comes out again
// member for member, numbers to the last digit.
func FuzzParseWebhook(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.json")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range seeds {
		body, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
		f.Add(body[:len(body)/2])
	}
	f.Add([]byte(`{"data":{"taskId":"t","state":"success","resultUrls":["u"],"n":1e400,"m":-0.0,"o":12345678901234567890.12345}}`))
	f.Add([]byte(`{"data":{"task\u0049d":"t","state":"failed","a":{"b":[{}]},"completeTime":1e3,"resultJson":"{"}}`))
	f.Add([]byte("{\"data\":{\"taskId\":\"t\xff\"}}"))

	f.Fuzz(func(t *testing.T, body []byte) {
		w, err := schema.ParseWebhook(body)
		if err != nil {
			var e *schema.Error
			if !errors.As(err, &e) {
				t.Fatalf("%v is no *schema.Error", err)
			}
			if !json.Valid(body) && !errors.Is(err, schema.ErrNotJSON) {
				t.Fatalf("not JSON, and refused as %v", err)
			}
			return
		}
		if !json.Valid(body) {
			t.Fatal("accepted what is not JSON")
		}
		came, published := decodeExactly(t, body), decodeExactly(t, w.EventData)
		data, _ := came["data"].(map[string]any)
		if _, own := data["resultUrls"]; !own && w.Task.State == schema.StateSuccess {
			urls, ok := published["resultUrls"].([]any)
			if !ok || len(urls) != len(w.Task.ResultURLs) {
				t.Fatalf("resultUrls are %v, the task has %q", published["resultUrls"], w.Task.ResultURLs)
			}
			delete(published, "resultUrls")
		}
		if !reflect.DeepEqual(data, published) {
			t.Fatalf("came: %v\npublished: %v", data, published)
		}
		task, err := schema.DecodeTask(w.EventData)
		if err != nil {
			t.Fatalf("published what cannot be read back: %v", err)
		}
		if !reflect.DeepEqual(task.ResultURLs, w.Task.ResultURLs) || task.ID != w.Task.ID || task.State != w.Task.State || !task.CompleteTime.Equal(w.Task.CompleteTime) {
			t.Fatalf("parsed %+v, read back %+v", w.Task, task)
		}
	})
}

// decodeExactly keeps numbers as they are spelt.
func decodeExactly(t *testing.T, b []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return m
}
