package schema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/schema"
)

func payload(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseWebhookReadsWhatAPIXOSends(t *testing.T) {
	t.Parallel()
	success, err := schema.ParseWebhook(payload(t, "success.json"))
	if err != nil {
		t.Fatal(err)
	}
	task := success.Task
	if task.ID != "task_abc123xyz" || task.State != schema.StateSuccess ||
		len(task.ResultURLs) != 1 || task.ResultURLs[0] != "https://cdn.apixo.ai/output/abc.jpg" ||
		task.CostTime != 12500*time.Millisecond ||
		!task.CreateTime.Equal(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)) ||
		!task.CompleteTime.Equal(time.Date(2024, 1, 1, 0, 0, 12, 500e6, time.UTC)) ||
		string(task.ResultJSON) != `{"resultUrls":["https://cdn.apixo.ai/output/abc.jpg"]}` {
		t.Errorf("read %+v", task)
	}

	failed, err := schema.ParseWebhook(payload(t, "failed.json"))
	if err != nil {
		t.Fatal(err)
	}
	task = failed.Task
	if task.ID != "task_def456uvw" || task.State != schema.StateFailed || task.FailCode != "CONTENT_VIOLATION" ||
		task.FailMsg != "Content violates usage policy" || task.ResultURLs != nil || task.ResultJSON != nil {
		t.Errorf("read %+v", task)
	}

	many, err := schema.ParseWebhook(payload(t, "success-many-urls.json"))
	if err != nil {
		t.Fatal(err)
	}
	if urls := many.Task.ResultURLs; len(urls) != 2 || urls[0] != "https://cdn.apixo.ai/output/a%20b.png?sig=x%2Fy&e=1" || urls[1] != "https://cdn.apixo.ai/output/图.png" {
		t.Errorf("read %q", urls)
	}

	music, err := schema.ParseWebhook(payload(t, "success-music-object.json"))
	if err != nil {
		t.Fatal(err)
	}
	if music.Task.ResultURLs != nil || !bytes.Contains(music.Task.ResultJSON, []byte(`"duration":172.5`)) {
		t.Errorf("read %+v", music.Task)
	}
}

// What is published is what came, to the byte, and nothing but resultUrls is new.
func TestEventDataIsWhatCame(t *testing.T) {
	t.Parallel()
	for name, added := range map[string]string{
		"success.json":              `["https://cdn.apixo.ai/output/abc.jpg"]`,
		"success-many-urls.json":    `["https://cdn.apixo.ai/output/a%20b.png?sig=x%2Fy&e=1","https://cdn.apixo.ai/output/图.png"]`,
		"success-music-object.json": `[]`,
		"failed.json":               ``,
	} {
		body := bytes.TrimSpace(payload(t, name))
		w, err := schema.ParseWebhook(body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var envelope struct {
			Data json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(body, &envelope); err != nil {
			t.Fatal(err)
		}
		want := string(envelope.Data)
		if added != "" {
			want = strings.TrimSuffix(want, "}") + `,"resultUrls":` + added + "}"
		}
		if string(w.EventData) != want {
			t.Errorf("%s: the event's data is\n%s\nwant\n%s", name, w.EventData, want)
		}
	}
}

func TestParseWebhookRefuses(t *testing.T) {
	t.Parallel()
	deep := func(n int) string {
		return `{"data":{"taskId":"t","state":"failed","x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}}`
	}
	data := func(members string) string { return `{"code":200,"data":{` + members + `}}` }
	good := `"taskId":"t","state":"success"`
	for _, tt := range []struct {
		name, body string
		kind       error
		code       string
	}{
		{"nothing", "", schema.ErrNotJSON, schema.CodeEmpty},
		{"white space", " \r\n\t", schema.ErrNotJSON, schema.CodeEmpty},
		{"white space of Unicode's", "\u00a0\u2003", schema.ErrNotJSON, schema.CodeSyntax},
		{"a form feed and a text", "\f" + data(good), schema.ErrNotJSON, schema.CodeSyntax},
		{"a no-break space behind a text", data(good) + "\u00a0", schema.ErrNotJSON, schema.CodeTrailingData},
		{"a no-break space before a text in resultJson", data(good + `,"resultJson":"\u00a0{}"`), schema.ErrNotResult, schema.CodeResultJSON},
		{"a form feed behind a text in resultJson", data(good + `,"resultJson":"null\f"`), schema.ErrNotResult, schema.CodeResultJSON},
		{"a word", "hello", schema.ErrNotJSON, schema.CodeSyntax},
		{"a form", "taskId=t&state=success", schema.ErrNotJSON, schema.CodeSyntax},
		{"cut off", `{"data":{"taskId":"t","sta`, schema.ErrNotJSON, schema.CodeSyntax},
		{"a byte order mark", "\ufeff{}", schema.ErrNotJSON, schema.CodeSyntax},
		{"NaN", data(good + `,"costTime":NaN`), schema.ErrNotJSON, schema.CodeSyntax},
		{"leading zero", data(good + `,"costTime":01`), schema.ErrNotJSON, schema.CodeSyntax},
		{"single quotes", "{'data':{}}", schema.ErrNotJSON, schema.CodeSyntax},
		{"trailing comma", data(good + ","), schema.ErrNotJSON, schema.CodeSyntax},
		{"control character in a string", data(`"taskId":"t` + "\x01" + `","state":"success"`), schema.ErrNotJSON, schema.CodeSyntax},
		{"two texts", data(good) + "{}", schema.ErrNotJSON, schema.CodeTrailingData},
		{"a text and a brace", data(good) + "}", schema.ErrNotJSON, schema.CodeTrailingData},
		{"invalid UTF-8", data("\"taskId\":\"t\xff\",\"state\":\"success\""), schema.ErrNotJSON, schema.CodeInvalidUTF8},
		{"overlong UTF-8", data("\"taskId\":\"t\xc0\xaf\",\"state\":\"success\""), schema.ErrNotJSON, schema.CodeInvalidUTF8},
		{"a member twice", data(good + `,"taskId":"u"`), schema.ErrNotJSON, schema.CodeDuplicateMember},
		{"half an escape of a surrogate", data(good + `,"x":"\ud80"`), schema.ErrNotJSON, schema.CodeSyntax},
		{"what is nearly the escape of a surrogate", data(good + `,"x":"\ud80g"`), schema.ErrNotJSON, schema.CodeSyntax},
		{"a lone surrogate outside strings", data(good + `,"x":\ud800`), schema.ErrNotJSON, schema.CodeSyntax},
		{"a lone surrogate, and invalid UTF-8", data(good + `,"x":"\ud800` + "\xff" + `"`), schema.ErrNotJSON, schema.CodeInvalidUTF8},
		{"a surrogate in UTF-8", data(good + `,"x":"` + "\xed\xa0\x80" + `"`), schema.ErrNotJSON, schema.CodeInvalidUTF8},
		{"a lone surrogate, and more behind the text", data(good+`,"x":"\ud800"`) + "}", schema.ErrNotJSON, schema.CodeTrailingData},
		{"names that are one without their lone surrogates", data(good + `,"\ud800":1,"\udfff":2`), schema.ErrNotJSON, schema.CodeDuplicateMember},
		{"a lone surrogate in a name, and U+FFFD in another", data(good + `,"x":{"\ud800":1,"\ufffd":2}`), schema.ErrNotJSON, schema.CodeDuplicateMember},
		{"a member twice, once escaped", data(good + `,"task\u0049d":"u"`), schema.ErrNotJSON, schema.CodeDuplicateMember},
		{"an unknown member twice, deep down", data(good + `,"x":[{"a":1,"a":2}]`), schema.ErrNotJSON, schema.CodeDuplicateMember},
		{"data twice", `{"data":{` + good + `},"data":{}}`, schema.ErrNotJSON, schema.CodeDuplicateMember},
		{"65 levels", deep(63), schema.ErrNotJSON, schema.CodeTooDeep},
		{"65 levels behind a syntax error", `{"data":01,"x":` + strings.Repeat("[", 64), schema.ErrNotJSON, schema.CodeSyntax},
		{"100,000 levels", strings.Repeat("[", 100_000), schema.ErrNotJSON, schema.CodeTooDeep},

		{"null", "null", schema.ErrNotResult, schema.CodeMemberType},
		{"a string", `"task_1"`, schema.ErrNotResult, schema.CodeMemberType},
		{"an array", "[" + data(good) + "]", schema.ErrNotResult, schema.CodeMemberType},
		{"an empty object", "{}", schema.ErrNotResult, schema.CodeMemberMissing},
		{"no envelope", `{` + good + `}`, schema.ErrNotResult, schema.CodeMemberMissing},
		{"data is null", `{"data":null}`, schema.ErrNotResult, schema.CodeMemberType},
		{"data is an array", `{"data":[]}`, schema.ErrNotResult, schema.CodeMemberType},
		{"data is a text", `{"data":"{}"}`, schema.ErrNotResult, schema.CodeMemberType},
		{"no taskId", data(`"state":"success"`), schema.ErrNotResult, schema.CodeMemberMissing},
		{"taskId in another case", data(`"taskID":"t","state":"success"`), schema.ErrNotResult, schema.CodeMemberMissing},
		{"state in a case that folds", data(`"taskId":"t","ſtate":"success"`), schema.ErrNotResult, schema.CodeMemberMissing},
		{"taskId is null", data(`"taskId":null,"state":"success"`), schema.ErrNotResult, schema.CodeMemberType},
		{"taskId is a number", data(`"taskId":1,"state":"success"`), schema.ErrNotResult, schema.CodeMemberType},
		{"taskId is empty", data(`"taskId":"","state":"success"`), schema.ErrNotResult, schema.CodeTaskID},
		{"taskId is too long", data(`"taskId":"` + strings.Repeat("t", 129) + `","state":"success"`), schema.ErrNotResult, schema.CodeTaskID},
		{"taskId with a line break", data(`"taskId":"t\r\nNats-Msg-Id: u","state":"success"`), schema.ErrNotResult, schema.CodeTaskID},
		{"taskId with a final line break", data(`"taskId":"t\n","state":"success"`), schema.ErrNotResult, schema.CodeTaskID},
		{"taskId with a wildcard", data(`"taskId":">","state":"success"`), schema.ErrNotResult, schema.CodeTaskID},
		{"no state", data(`"taskId":"t"`), schema.ErrNotResult, schema.CodeMemberMissing},
		{"not final", data(`"taskId":"t","state":"processing"`), schema.ErrNotResult, schema.CodeState},
		{"state in another case", data(`"taskId":"t","state":"Success"`), schema.ErrNotResult, schema.CodeState},
		{"state is a truth value", data(`"taskId":"t","state":true`), schema.ErrNotResult, schema.CodeMemberType},
		{"resultJson is a number", data(good + `,"resultJson":1`), schema.ErrNotResult, schema.CodeMemberType},
		{"a lone surrogate in taskId", data(`"taskId":"t\ud800","state":"success"`), schema.ErrNotResult, schema.CodeTaskID},
		{"a lone surrogate in state", data(`"taskId":"t","state":"success\ud800"`), schema.ErrNotResult, schema.CodeState},
		{"names that are one in resultJson without their lone surrogates", data(good + `,"resultJson":"{\"\\ud800\":1,\"\\ud801\":2}"`), schema.ErrNotResult, schema.CodeResultJSON},
		{"resultJson holds no JSON", data(good + `,"resultJson":"{"`), schema.ErrNotResult, schema.CodeResultJSON},
		{"resultJson holds a member twice", data(good + `,"resultJson":"{\"resultUrls\":[],\"resultUrls\":[\"u\"]}"`), schema.ErrNotResult, schema.CodeResultJSON},
		{"resultJson holds an array", data(good + `,"resultJson":"[]"`), schema.ErrNotResult, schema.CodeResultJSON},
		{"resultUrls is a string", data(good + `,"resultJson":{"resultUrls":"u"}`), schema.ErrNotResult, schema.CodeMemberType},
		{"resultUrls is a string, in a text", data(good + `,"resultJson":"{\"resultUrls\":\"u\"}"`), schema.ErrNotResult, schema.CodeResultJSON},
		{"resultUrls holds a number", data(good + `,"resultJson":{"resultUrls":["u",1]}`), schema.ErrNotResult, schema.CodeMemberType},
		{"resultUrls holds a truth value beside null", data(good + `,"resultUrls":[null,true]`), schema.ErrNotResult, schema.CodeMemberType},
		{"resultUrls twice, and different without null", data(good + `,"resultUrls":["u",null],"resultJson":"{\"resultUrls\":[\"u\",\"v\"]}"`), schema.ErrNotResult, schema.CodeResultJSON},
		{"resultUrls twice, and different", data(good + `,"resultUrls":["u"],"resultJson":"{\"resultUrls\":[\"v\"]}"`), schema.ErrNotResult, schema.CodeResultJSON},
	} {
		_, err := schema.ParseWebhook([]byte(tt.body))
		var e *schema.Error
		if !errors.As(err, &e) || !errors.Is(err, tt.kind) || e.Code != tt.code {
			t.Errorf("%s: got %v, want %v with code %s", tt.name, err, tt.kind, tt.code)
			continue
		}
		if len(e.Detail) > 512 || strings.ContainsFunc(e.Detail, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%s: the detail is not short and printable: %q", tt.name, e.Detail)
		}
	}
}

func TestParseWebhookIsLiberalInWhatAPIXOMayAdd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, data, want string }{
		{"only what is needed", `{"taskId":"t","state":"success"}`, `{"taskId":"t","state":"success","resultUrls":[]}`},
		{"unknown members of every kind", `{"taskId":"t","state":"failed","a":null,"b":[{"c":-0.10e+05}],"taskid":7,"State":[]}`, ``},
		{"null for what is optional", `{"taskId":"t","state":"failed","failCode":null,"failMsg":null,"costTime":null,"createTime":null,"completeTime":null,"resultJson":null}`, ``},
		{"whole numbers in other spellings", `{"taskId":"t","state":"failed","costTime":1.25e4,"createTime":1704067200000.0,"completeTime":-10e-1}`, ``},
		{"zero in other spellings", `{"taskId":"t","state":"failed","costTime":-0.00,"createTime":0e-99999999999999999999,"completeTime":0.1e1}`, ``},
		{"white space", "{ \"taskId\" :\t\"t\",\r\n\"state\":\"success\"\n }", "{ \"taskId\" :\t\"t\",\r\n\"state\":\"success\"\n ,\"resultUrls\":[]}"},
		{"escapes in what is known", `{"task\u0049d":"\u0074","state":"succe\u0073s"}`, `{"task\u0049d":"\u0074","state":"succe\u0073s","resultUrls":[]}`},
		{"resultJson empty", `{"taskId":"t","state":"success","resultJson":""}`, `{"taskId":"t","state":"success","resultJson":"","resultUrls":[]}`},
		{"resultJson with the text null", `{"taskId":"t","state":"success","resultJson":"null"}`, `{"taskId":"t","state":"success","resultJson":"null","resultUrls":[]}`},
		{"resultUrls null in resultJson", `{"taskId":"t","state":"success","resultJson":{"resultUrls":null}}`, `{"taskId":"t","state":"success","resultJson":{"resultUrls":null},"resultUrls":[]}`},
		{"resultUrls already there", `{"taskId":"t","state":"success","resultUrls":["u"]}`, ``},
		{"resultUrls there twice, and the same", `{"taskId":"t","state":"success","resultUrls":["\u0075"],"resultJson":"{\"resultUrls\":[\"u\"]}"}`, ``},
		{"nonsense in the result of a failed task", `{"taskId":"t","state":"failed","resultJson":"{"}`, ``},
		{"a time that RFC 3339 cannot write", `{"taskId":"t","state":"failed","completeTime":9007199254740991,"costTime":9007199254740991}`, ``},
		{"an id of all that is allowed", `{"taskId":"Az09_.:-","state":"failed"}`, ``},
		{"resultUrls null beside none", `{"taskId":"t","state":"failed","resultUrls":null}`, ``},
		{"64 levels", `{"taskId":"t","state":"failed","x":` + strings.Repeat("[", 62) + strings.Repeat("]", 62) + `}`, ``},
	} {
		w, err := schema.ParseWebhook([]byte(` {"data":` + tt.data + `,"more":{}}` + "\n"))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		want := tt.want
		if want == "" {
			want = tt.data
		}
		if string(w.EventData) != want {
			t.Errorf("%s: the event's data is\n%s\nwant\n%s", tt.name, w.EventData, want)
		}
	}
}

func TestTimesOutsideRFC3339AreZero(t *testing.T) {
	t.Parallel()
	w, err := schema.ParseWebhook([]byte(`{"data":{"taskId":"t","state":"failed","completeTime":9007199254740991,"costTime":9007199254740991}}`))
	if err != nil {
		t.Fatal(err)
	}
	if !w.Task.CompleteTime.IsZero() || w.Task.CostTime < 292*365*24*time.Hour {
		t.Errorf("read %+v", w.Task)
	}
	w, err = schema.ParseWebhook([]byte(`{"data":{"taskId":"t","state":"failed","completeTime":0}}`))
	if err != nil {
		t.Fatal(err)
	}
	if !w.Task.CompleteTime.Equal(time.Unix(0, 0)) {
		t.Errorf("read %+v", w.Task)
	}
}

// Whatever ParseWebhook accepts can be read back from its event, and says the same.
func TestDecodeTaskReadsBackWhatWasParsed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"success.json", "success-many-urls.json", "success-music-object.json", "failed.json"} {
		w, err := schema.ParseWebhook(payload(t, name))
		if err != nil {
			t.Fatal(err)
		}
		task, err := schema.DecodeTask(w.EventData)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, want := asJSON(t, task), asJSON(t, w.Task); got != want {
			t.Errorf("%s: read back %s, want %s", name, got, want)
		}
	}
}

// A library that knows nothing of this package reads the data of an event into a Task.
func TestTaskIsUnmarshaled(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"success.json", "success-many-urls.json", "success-music-object.json", "failed.json"} {
		w, err := schema.ParseWebhook(payload(t, name))
		if err != nil {
			t.Fatal(err)
		}
		want := asJSON(t, w.Task)
		var event struct{ Data schema.Task }
		text := slices.Concat([]byte(`{"data": `), w.EventData, []byte(`}`))
		if err := json.Unmarshal(text, &event); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		clear(text)
		if got := asJSON(t, event.Data); got != want {
			t.Errorf("%s: read %s, want %s", name, got, want)
		}
		// By itself too, out of bytes that are not kept.
		var task schema.Task
		data := bytes.Clone(w.EventData)
		if err := task.UnmarshalJSON(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		clear(data)
		if got := asJSON(t, task); got != want {
			t.Errorf("%s: read %s, want %s", name, got, want)
		}
	}
	for _, data := range []string{`null`, `{}`, `{"taskId":"u","state":"pending"}`, `{"taskId":"u","taskId":"u","state":"failed"}`} {
		task := schema.Task{ID: "t"}
		err := json.Unmarshal([]byte(data), &task)
		if _, ok := errors.AsType[*schema.Error](err); !ok || task.ID != "t" {
			t.Errorf("%s: read %+v (%v)", data, task, err)
		}
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDecodeMessage(t *testing.T) {
	t.Parallel()
	want := schema.Event{
		ID: "t", Source: "https://api.apixo.ai", Type: schema.TypeTaskFailed, Subject: "t",
		Time:            time.Date(2024, 1, 1, 0, 0, 5, 0, time.UTC),
		DataContentType: "application/json", DataSchema: schema.TaskSchemaID,
		Extensions: map[string]string{"model": `a "b" 图%`},
		Data:       []byte(`{"taskId":"t","state":"failed"}`),
	}
	structured := `{"specversion":"1.0","id":"t","source":"https://api.apixo.ai","type":"ai.apixo.task.failed","subject":"t",` +
		`"datacontenttype":"application/json","dataschema":"` + schema.TaskSchemaID + `","time":"2024-01-01T01:00:05+01:00",` +
		`"model":"a \"b\" 图%","data":{"taskId":"t","state":"failed"}}`
	binary := map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {"t"}, "ce-source": {"https://api.apixo.ai"}, "Ce-Type": {"ai.apixo.task.failed"},
		"ce-subject": {"t"}, "ce-datacontenttype": {"application/json"}, "ce-dataschema": {schema.TaskSchemaID},
		"ce-time": {"2024-01-01T00:00:05Z"}, "ce-model": {"a%20%22b%22%20%E5%9B%BE%25"}, "Nats-Msg-Id": {"t"},
	}
	for name, decode := range map[string]func() (schema.Event, error){
		"structured": func() (schema.Event, error) {
			return schema.DecodeMessage(map[string][]string{"content-type": {"application/cloudevents+json; charset=utf-8"}}, []byte(structured))
		},
		"binary": func() (schema.Event, error) { return schema.DecodeMessage(binary, want.Data) },
	} {
		got, err := decode()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if asJSON(t, got) != asJSON(t, want) {
			t.Errorf("%s: read %s, want %s", name, asJSON(t, got), asJSON(t, want))
		}
		if task, err := got.Task(); err != nil || task.ID != "t" {
			t.Errorf("%s: %+v, %v", name, task, err)
		}
	}
}

func TestEventTellsWhatItIs(t *testing.T) {
	t.Parallel()
	kept := schema.Event{Type: schema.TypeWebhookConflict, Extensions: map[string]string{"reason": schema.ReasonConflict, "detail": "it differs", "model": "m"}}
	if kept.IsTask() || kept.Reason() != schema.ReasonConflict || kept.Detail() != "it differs" || kept.Model() != "m" {
		t.Errorf("%+v is taken for something else", kept)
	}
	for _, task := range []schema.Event{{Type: schema.TypeTaskSuccess}, {Type: schema.TypeTaskFailed}} {
		if !task.IsTask() || task.Reason()+task.Detail()+task.Model() != "" {
			t.Errorf("%+v is taken for something else", task)
		}
	}
	if (schema.Event{}).IsTask() {
		t.Error("no event is taken for a task's")
	}
}

// Producers that follow older texts of the binding quote their header values.
func TestDecodeMessageKnowsQuotedHeaders(t *testing.T) {
	t.Parallel()
	e, err := schema.DecodeMessage(map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {`"a \"b\" %C3%A4"`}, "ce-source": {"s"}, "ce-type": {`"y"`},
	}, nil)
	if err != nil || e.ID != `a "b" ä` || e.Type != "y" {
		t.Errorf("read %+v, %v", e, err)
	}
}

func TestDecodeMessageRefuses(t *testing.T) {
	t.Parallel()
	structured := map[string][]string{"Content-Type": {"application/cloudevents+json"}}
	attributes := func(name, value string) map[string][]string {
		h := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"t"}, "ce-source": {"s"}, "ce-type": {"y"}}
		h[name] = []string{value}
		return h
	}
	for name, msg := range map[string]struct {
		header  map[string][]string
		payload string
	}{
		"not an event":              {nil, "{}"},
		"another version":           {attributes("ce-specversion", "0.3"), ""},
		"no id":                     {attributes("ce-id", ""), ""},
		"not percent-encoded":       {attributes("ce-model", "100%"), ""},
		"percent-encoded non-UTF-8": {attributes("ce-model", "%C0%A0"), ""},
		"a time that is none":       {attributes("ce-time", "yesterday"), ""},
		"structured, not JSON":      {structured, "{"},
		"structured, not an object": {structured, "[]"},
		"structured, not base64":    {structured, `{"specversion":"1.0","id":"t","source":"s","type":"y","data_base64":"?"}`},
	} {
		if e, err := schema.DecodeMessage(msg.header, []byte(msg.payload)); err == nil {
			t.Errorf("%s: read %+v", name, e)
		}
	}
	if _, err := (schema.Event{ID: "x", Type: schema.TypeWebhookRejected}).Task(); err == nil {
		t.Error("a rejected webhook was read as a task")
	}
}
