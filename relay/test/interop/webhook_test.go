package interop

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// webhook is a delivery, and what has to be published for it.
type webhook struct {
	name   string
	model  model
	body   []byte
	status int // of the answer
	want   event
}

// event is a CloudEvent, whoever made it.
type event struct {
	// attributes are all context attributes and extension attributes.
	attributes map[string]string
	data       []byte
}

// model is a value of the callback URL's query that becomes an attribute.
type model struct{ text, encoded string }

// models: the second has every kind of character that the NATS binding
// percent-encodes: space, double quote, percent, and what is not ASCII.
// A query writes all of these in the same way as the binding.
var models = []model{
	{"nano-banana", "nano-banana"},
	{`a b"%图`, "a%20b%22%25%E5%9B%BE"},
}

// something is the value of an attribute that cannot be told in advance: it has
// to be there.
const something = "(something)"

// tasks are the payloads in schema/testdata, with each of the models, and some
// that have what careless software loses.
func tasks(t *testing.T) []webhook {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(relaytest.Root, "schema/testdata/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no payloads in schema/testdata (%v)", err)
	}
	var all []webhook
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range models {
			// An id of its own for each, or it would be taken for a repeat.
			id := dataOf(t, body)["taskId"].(string)
			body := bytes.Replace(body, []byte(id), []byte(id+"."+strconv.Itoa(i)), 1)
			all = append(all, task(t, filepath.Base(file), m, body))
		}
	}
	return append(append(all, drifted()...),
		task(t, "numbers", models[0], []byte(`{"code":200,"data":{"taskId":"numbers","state":"success","completeTime":1704067212500,
			"seed":9007199254740993,"large":123456789012345678901234567890,"exact":0.1000000000000000055511151231257827,"spelt":[1.50,1E2,-0,1e-7]}}`)),
		task(t, "text", models[0], []byte(`{"code":200,"data":{ "taskId":"text", "state":"failed" ,"completeTime":1704067205001,
			"failMsg":"<b>&amp; \u0026 \u56fe 图 \ud83d\ude00 😀 \u2028 \/ \u0000 \" \\","nothing":null,"":{"a":[]," ":{}} }}`)),
	)
}

// task is a webhook with the event that it has to become. That is worked out
// here anew, without asking the relay's own code.
func task(t *testing.T, name string, m model, body []byte) webhook {
	t.Helper()
	data := dataOf(t, body)
	id, state := data["taskId"].(string), data["state"].(string)
	completed, err := data["completeTime"].(json.Number).Int64()
	if err != nil {
		t.Fatal(err)
	}
	if state == "success" {
		data["resultUrls"] = []any{}
		result := data["resultJson"]
		if text, ok := result.(string); ok {
			result = decode(t, []byte(text))
		}
		if result, ok := result.(map[string]any); ok && result["resultUrls"] != nil {
			data["resultUrls"] = result["resultUrls"]
		}
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	return webhook{
		name: name + " of " + m.text, model: m, body: body, status: http.StatusOK,
		want: event{data: encoded, attributes: map[string]string{
			"specversion":     "1.0",
			"id":              id,
			"source":          "https://api.apixo.ai",
			"type":            "ai.apixo.task." + state,
			"subject":         id,
			"time":            time.UnixMilli(completed).UTC().Format(time.RFC3339Nano),
			"datacontenttype": "application/json",
			"dataschema":      schema.TaskSchemaID,
			"model":           m.text,
		}},
	}
}

// drifted are webhooks that have members of other types than APIXO documents, and
// lone surrogates, with the event that each has to become.
func drifted() []webhook {
	drift := func(id, state, completed, normalized, envelope, came, data string) webhook {
		members := `"taskId":"` + id + `","state":"` + state + `",`
		return webhook{
			name: id, model: models[1], body: []byte(`{` + envelope + `,"data":{` + members + came + `}}`), status: http.StatusOK,
			want: event{data: []byte(`{` + members + data + `}`), attributes: map[string]string{
				"specversion":     "1.0",
				"id":              id,
				"source":          "https://api.apixo.ai",
				"type":            "ai.apixo.task." + state,
				"subject":         id,
				"time":            completed,
				"datacontenttype": "application/json",
				"dataschema":      schema.TaskSchemaID,
				"model":           models[1].text,
				"normalized":      normalized,
			}},
		}
	}
	return []webhook{
		drift("drift.success", "success", "2024-01-01T00:00:12.5Z", "code,resultUrls,costTime,createTime,completeTime", `"code":"200"`,
			`"resultJson":"{\"resultUrls\":[null,\"https://cdn.apixo.ai/a.png\"]}","costTime":"12500","createTime":1704067200000.25,"completeTime":"2024-01-01T08:00:12.5+08:00","seed":9007199254740993`,
			`"resultJson":"{\"resultUrls\":[null,\"https://cdn.apixo.ai/a.png\"]}","costTime":12500,"createTime":1704067200000,"completeTime":1704067212500,"seed":9007199254740993,"resultUrls":["https://cdn.apixo.ai/a.png"]`),
		drift("drift.failed", "failed", something, "message,failCode,failMsg,completeTime", `"message":["a"]`,
			`"failCode":1001,"failMsg":{"en":"no"},"completeTime":"soon"`,
			`"failCode":"1001","failMsg":null,"completeTime":null`),
		drift("surrogate.failed", "failed", "2024-01-01T00:00:12.5Z", "failMsg,other", `"code":200`,
			`"failMsg":"x\ud83d","a\udfff":"\ud83d\ude00\ud83d","completeTime":1704067212500`,
			`"failMsg":"x\ufffd","a\ufffd":"\ud83d\ude00\ufffd","completeTime":1704067212500`),
		drift("surrogate.success", "success", "2024-01-01T00:00:12.5Z", "message,resultJson", `"message":"\ud800"`,
			`"resultJson":"{\"title\":\"\\ud83d\",\"resultUrls\":[\"https://cdn.apixo.ai/a.png\"]}","completeTime":1704067212500`,
			`"resultJson":"{\"title\":\"\\ufffd\",\"resultUrls\":[\"https://cdn.apixo.ai/a.png\"]}","completeTime":1704067212500,"resultUrls":["https://cdn.apixo.ai/a.png"]`),
	}
}

// rejected are bodies that are no webhooks, and are to come back byte for byte.
func rejected() []webhook {
	reject := func(name string, m model, body string, status int, reason, contentType string) webhook {
		return webhook{
			name: name, model: m, body: []byte(body), status: status,
			want: event{data: []byte(body), attributes: map[string]string{
				"specversion":     "1.0",
				"id":              something,
				"source":          "https://api.apixo.ai",
				"type":            "ai.apixo.webhook.rejected",
				"time":            something,
				"datacontenttype": contentType,
				"model":           m.text,
				"reason":          reason,
				"detail":          something,
			}},
		}
	}
	return []webhook{
		reject("invalid UTF-8", models[0], "{\"data\":{\"taskId\":\"\xff\x00\"}}\r\n", http.StatusBadRequest, "invalid-utf8", "application/octet-stream"),
		reject("no final result", models[1], " {\"data\" : {\"taskId\":\"t\",\"state\":\"processing\",\"seed\":1.50}}\n", http.StatusUnprocessableEntity, "not-final", "application/json"),
		reject("nothing", models[0], "", http.StatusBadRequest, "empty-body", "application/octet-stream"),
	}
}

// ofType are those of the webhooks whose events have a type.
func ofType(all []webhook, typ string) []webhook {
	var some []webhook
	for _, w := range all {
		if w.want.attributes["type"] == typ {
			some = append(some, w)
		}
	}
	return some
}

func dataOf(t *testing.T, body []byte) map[string]any {
	t.Helper()
	return decode(t, body).(map[string]any)["data"].(map[string]any)
}

// decode reads JSON with its numbers as they are written.
func decode(t *testing.T, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("this is not JSON: %v\n%s", err, text)
	}
	if rest := strings.TrimSpace(string(text[d.InputOffset():])); rest != "" {
		t.Fatalf("after a JSON text comes more: %q", rest)
	}
	return v
}
