package schema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/apixo-relay/apixo-relay/schema"
)

// FuzzParseWebhook holds the parser against another reader of JSON: it never
// panics, refuses what is not JSON as such, and what it accepts comes out again
// member for member, numbers to the last digit, but for the members that it names;
// those are of the types that are documented. All of its addresses are counted once.
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
	f.Add([]byte(`{"code":"200","message":7,"data":{"taskId":"t","state":"failed","failCode":1001,"failMsg":[],"costTime":"12.5","createTime":"2024-01-01t00:00:12.5+01:00","resultUrls":["u",null],"resultJson":7}}`))
	f.Add([]byte(`{"data":{"taskId":"t","state":"success","\ud800":"\udfff","resultUrls":null,"resultJson":"{\"a\":\"\\ud800\",\"resultUrls\":[\"\ud83d\",null]}","costTime":-0.5,"completeTime":{}}}`))

	f.Add([]byte(`{"data":{"taskId":"t","state":"success","resultJson":"{\"a\":[{\"https://a\":\"https:\\/\\/b\"},\"https://b\"],\"resultUrls\":[\"c\",\"c\",\"\"]}"}}`))

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
		if len(w.EventData) > 2*len(body)+64 {
			t.Fatalf("a body of %d bytes is published as %d: brokers are set to less", len(body), len(w.EventData))
		}
		came, published := decodeExactly(t, body), decodeExactly(t, w.EventData)
		data, _ := came["data"].(map[string]any)
		wantTypes(t, published)
		normalized := slices.DeleteFunc(slices.Clone(w.Normalized), func(name string) bool { return name == "code" || name == "message" || name == "other" })
		if !bytes.Contains(bytes.ToLower(body), []byte(`\ud`)) && slices.Contains(w.Normalized, "other") {
			t.Fatal("what is not known is normalized without a surrogate")
		}
		_, own := data["resultUrls"]
		for _, name := range normalized {
			if name == "resultUrls" && !own {
				continue // those that are added, without null
			}
			if _, ok := data[name]; !ok {
				t.Fatalf("%s is normalized, and not there", name)
			}
			delete(data, name)
			delete(published, name)
		}
		if !own && w.Task.State == schema.StateSuccess {
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
		if !reflect.DeepEqual(task, w.Task) {
			t.Fatalf("parsed %+v, read back %+v", w.Task, task)
		}
		all, none := task.Addresses(len(body))
		if some, more := task.Addresses(1); len(some)+more != len(all) || none != 0 || slices.ContainsFunc(task.ResultURLs, func(u string) bool { return !slices.Contains(all, u) }) {
			t.Fatalf("of the addresses %q and %d more there are %q and %d more", all, none, some, more)
		}
		again, err := schema.ParseWebhook(slices.Concat([]byte(`{"data":`), w.EventData, []byte(`}`)))
		if err != nil || again.Normalized != nil || !bytes.Equal(again.EventData, w.EventData) {
			t.Fatalf("what was published is published otherwise: %s, then %s with %q normalized (%v)", w.EventData, again.EventData, again.Normalized, err)
		}
		one, err := schema.OutcomeOf(w.EventData)
		if err != nil {
			t.Fatal(err)
		}
		other, err := schema.OutcomeOf(again.EventData)
		if err != nil || one != other {
			t.Fatalf("two outcomes of %s differ in %q (%v)", w.EventData, one.Differences(other), err)
		}
	})
}

// wantTypes fails the test unless all known members that are told are of the type
// that is documented.
func wantTypes(t *testing.T, data map[string]any) {
	t.Helper()
	for name, want := range map[string]any{
		"failCode": "", "failMsg": "", "costTime": json.Number(""), "createTime": json.Number(""), "completeTime": json.Number(""), "resultUrls": []any{},
	} {
		if v := data[name]; v != nil && reflect.TypeOf(v) != reflect.TypeOf(want) {
			t.Fatalf("%s is published as %#v", name, v)
		}
	}
	switch v := data["resultJson"].(type) {
	case nil, string, map[string]any:
	default:
		t.Fatalf("resultJson is published as %#v", v)
	}
	urls, _ := data["resultUrls"].([]any)
	for _, url := range urls {
		if _, ok := url.(string); !ok {
			t.Fatalf("resultUrls are published as %#v", urls)
		}
	}
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
