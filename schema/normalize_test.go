package schema_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/schema"
)

// asIs stands for a value that is published as it came.
const asIs = ""

// Each value in the place of each member that has one type, and what is published
// of it where that is a whole number, a time and a text.
var drift = []struct{ came, number, time, text string }{
	{`12500`, asIs, asIs, `"12500"`},
	{`0`, asIs, asIs, `"0"`},
	{`-1`, asIs, asIs, `"-1"`},
	{`1.25e4`, asIs, asIs, `"1.25e4"`},
	{`1704067212500.0`, asIs, asIs, `"1704067212500.0"`},
	{`9007199254740991`, asIs, asIs, `"9007199254740991"`},
	{`0e-99999999999999999999`, asIs, asIs, `"0e-99999999999999999999"`},
	{`90071992547409910e-1`, asIs, asIs, `"90071992547409910e-1"`},
	{`0.00000000000000000125e22`, asIs, asIs, `"0.00000000000000000125e22"`},

	{`12.5`, `13`, `13`, `"12.5"`},
	{`-12.5`, `-13`, `-13`, `"-12.5"`},
	{`12.49999999999999999999`, `12`, `12`, `"12.49999999999999999999"`},
	{`0.5`, `1`, `1`, `"0.5"`},
	{`0.05`, `0`, `0`, `"0.05"`},
	{`0.99999999999999999`, `1`, `1`, `"0.99999999999999999"`},
	{`1e-99999999999999999999`, `0`, `0`, `"1e-99999999999999999999"`},
	{`125e-1`, `13`, `13`, `"125e-1"`},
	{`1.7040672125004E+12`, `1704067212500`, `1704067212500`, `"1.7040672125004E+12"`},
	{`9007199254740990.5`, `9007199254740991`, `9007199254740991`, `"9007199254740990.5"`},
	{`9007199254740991.4`, `9007199254740991`, `9007199254740991`, `"9007199254740991.4"`},

	{`9007199254740991.5`, `null`, `null`, `"9007199254740991.5"`},
	{`9007199254740993`, `null`, `null`, `"9007199254740993"`},
	{`-9007199254740992`, `null`, `null`, `"-9007199254740992"`},
	{`99999999999999999999`, `null`, `null`, `"99999999999999999999"`},
	{`1e400`, `null`, `null`, `"1e400"`},
	{`1e99999999999999999999`, `null`, `null`, `"1e99999999999999999999"`},

	{`"12500"`, `12500`, `12500`, asIs},
	{`"\u0031"`, `1`, `1`, asIs},
	{`"-7"`, `-7`, `-7`, asIs},
	{`"-0"`, `0`, `0`, asIs},
	{`"12.5"`, `13`, `13`, asIs},
	{`"1.25e4"`, `12500`, `12500`, asIs},
	{`"1704067212500"`, `1704067212500`, `1704067212500`, asIs},
	{`"9007199254740993"`, `null`, `null`, asIs},
	{`"1e400"`, `null`, `null`, asIs},
	{`"007"`, `null`, `null`, asIs},
	{`"+1"`, `null`, `null`, asIs},
	{`" 1"`, `null`, `null`, asIs},
	{`"1\n"`, `null`, `null`, asIs},
	{`"1."`, `null`, `null`, asIs},
	{`"0x10"`, `null`, `null`, asIs},
	{`"1,000"`, `null`, `null`, asIs},
	{`"12.5s"`, `null`, `null`, asIs},
	{`"NaN"`, `null`, `null`, asIs},
	{`"-"`, `null`, `null`, asIs},
	{`"١"`, `null`, `null`, asIs},
	{`""`, `null`, `null`, asIs},
	{`"soon"`, `null`, `null`, asIs},
	{`"null"`, `null`, `null`, asIs},

	{`"2024-01-01T00:00:12Z"`, `null`, `1704067212000`, asIs},
	{`"2024-01-01T00:00:12.5Z"`, `null`, `1704067212500`, asIs},
	{`"2024-01-01t00:00:12.5z"`, `null`, `1704067212500`, asIs},
	{`"2024-01-01T08:00:12.500+08:00"`, `null`, `1704067212500`, asIs},
	{`"2023-12-31T18:30:12.5-05:30"`, `null`, `1704067212500`, asIs},
	{`"2024-01-01T00:00:12.4996Z"`, `null`, `1704067212500`, asIs},
	{`"2024-01-01T00:00:12.4994999999999999Z"`, `null`, `1704067212499`, asIs},
	{`"1969-12-31T23:59:59.999-00:00"`, `null`, `-1`, asIs},
	{`"9999-12-31T23:59:59.999Z"`, `null`, `253402300799999`, asIs},
	{`"2024-01-01T00:00:12"`, `null`, `null`, asIs},
	{`"2024-01-01 00:00:12Z"`, `null`, `null`, asIs},
	{`"2024-01-01T00:00:12,5Z"`, `null`, `null`, asIs},
	{`"2024-01-01T0:00:12Z"`, `null`, `null`, asIs},
	{`"2024-02-30T00:00:12Z"`, `null`, `null`, asIs},
	{`"2024-01-01T00:00:12+24:00"`, `null`, `null`, asIs},
	{`"2024-01-01T00:00:12-01:60"`, `null`, `null`, asIs},
	{`"2024-01-01T00:00:12+0100"`, `null`, `null`, asIs},
	{`"2024-01-01T00:00:12+23:59"`, `null`, `1703980872000`, asIs},
	{`"2024-01-01"`, `null`, `null`, asIs},

	{`null`, asIs, asIs, asIs},
	{`true`, `null`, `null`, `null`},
	{`false`, `null`, `null`, `null`},
	{`{}`, `null`, `null`, `null`},
	{`{"$date":1704067212500}`, `null`, `null`, `null`},
	{`[]`, `null`, `null`, `null`},
	{`[12500]`, `null`, `null`, `null`},
}

func TestNormalize(t *testing.T) {
	t.Parallel()
	for _, d := range drift {
		for member, want := range map[string]string{
			"costTime": d.number, "createTime": d.time, "completeTime": d.time, "failCode": d.text, "failMsg": d.text,
		} {
			for _, state := range []string{"success", "failed"} {
				normalizes(t, member, dataWith(state, member, d.came), want)
			}
		}
		// What is not published is named all the same.
		for member, want := range map[string]string{"code": d.number, "message": d.text} {
			w, err := schema.ParseWebhook(fmt.Appendf(nil, `{%q:%s,"data":{"taskId":"t","state":"failed"}}`, member, d.came))
			var names []string
			if want != asIs {
				names = []string{member}
			}
			if err != nil || !slices.Equal(w.Normalized, names) || string(w.EventData) != `{"taskId":"t","state":"failed"}` {
				t.Errorf("%s %s: published as %s with %q normalized (%v), want %q", member, d.came, w.EventData, w.Normalized, err, names)
			}
		}
	}
}

// What a failed task has of a result is of the right type, or counts as not told.
func TestNormalizeWhatFailed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ member, came, want string }{
		{"resultJson", `7`, `null`},
		{"resultJson", `true`, `null`},
		{"resultJson", `["u"]`, `null`},
		{"resultJson", `null`, asIs},
		{"resultJson", `""`, asIs},
		{"resultJson", `"no JSON"`, asIs},
		{"resultJson", `{"resultUrls":7}`, asIs},
		{"resultUrls", `["u"]`, asIs},
		{"resultUrls", `[ ]`, asIs},
		{"resultUrls", `null`, asIs},
		{"resultUrls", `[null,"u", null]`, `["u"]`},
		{"resultUrls", `["u",7]`, `null`},
		{"resultUrls", `"u"`, `null`},
		{"resultUrls", `{}`, `null`},
	} {
		normalizes(t, tt.member, dataWith("failed", tt.member, tt.came), tt.want)
	}
}

// dataWith has a member between two that are unknown, and come out as they came.
func dataWith(state, member, value string) [3]string {
	return [3]string{`{"taskId":"t","n":1.50, "state":"` + state + `", "` + member + `" : `, value, `, "x":[-0.10e+05, "\u0041"] }`}
}

// normalizes holds what is published of a webhook's data against what it is to be:
// the same but for one value, and that of the type which is documented.
func normalizes(t *testing.T, member string, data [3]string, want string) {
	t.Helper()
	came := strings.Join(data[:], "")
	var names []string
	if want != asIs {
		data[1], names = want, []string{member}
	}
	published := strings.Join(data[:], "")
	if strings.Contains(came, `"success"`) {
		published = strings.TrimSuffix(published, "}") + `,"resultUrls":[]}`
	}
	w, err := schema.ParseWebhook([]byte(`{"data":` + came + `}`))
	if err != nil {
		t.Errorf("%s: %v", came, err)
		return
	}
	if string(w.EventData) != published || !slices.Equal(w.Normalized, names) {
		t.Errorf("%s\nis published as\n%s\nwith %q normalized, want\n%s\nwith %q", came, w.EventData, w.Normalized, published, names)
	}
	// Whoever reads the event, and whoever read the webhook, has the same task.
	task, err := schema.DecodeTask(w.EventData)
	if err != nil || !reflect.DeepEqual(task, w.Task) {
		t.Errorf("%s: read %+v, and from its event %+v (%v)", came, w.Task, task, err)
	}
	again, err := schema.ParseWebhook([]byte(`{"data":` + string(w.EventData) + `}`))
	if err != nil || again.Normalized != nil || string(again.EventData) != string(w.EventData) {
		t.Errorf("%s was published, and is normalized once more: %q, %s (%v)", w.EventData, again.Normalized, again.EventData, err)
	}
}

func TestNormalizeResultURLs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		came, added string // what is added to the data, as it came
		urls, names []string
	}{
		{`"resultJson":"{\"resultUrls\":[\"u\",null]}"`, `["u"]`, []string{"u"}, []string{"resultUrls"}},
		{`"resultJson":{"resultUrls":[null, "u" ,null,"v"]}`, `["u","v"]`, []string{"u", "v"}, []string{"resultUrls"}},
		{`"resultJson":{"resultUrls":[null]}`, `[]`, nil, []string{"resultUrls"}},
		{`"resultJson":{"resultUrls":null}`, `[]`, nil, nil},
		{`"resultJson":{"resultUrls":[ "u" , "v"]}`, `[ "u" , "v"]`, []string{"u", "v"}, nil},
	} {
		data := `{"taskId":"t","state":"success",` + tt.came + `}`
		w, err := schema.ParseWebhook([]byte(`{"data":` + data + `}`))
		want := strings.TrimSuffix(data, "}") + `,"resultUrls":` + tt.added + `}`
		if err != nil || string(w.EventData) != want || !slices.Equal(w.Normalized, tt.names) || !slices.Equal(w.Task.ResultURLs, tt.urls) {
			t.Errorf("%s\nis published as\n%s\nwith %q and %q normalized (%v), want\n%s", data, w.EventData, w.Task.ResultURLs, w.Normalized, err, want)
		}
	}
	for _, tt := range []struct{ came, want string }{
		{`"resultUrls":["u",null]`, `"resultUrls":["u"]`},
		{`"resultUrls":[null,null]`, `"resultUrls":[]`},
		{`"resultUrls":null`, `"resultUrls":[]`},
		{`"resultUrls" : null , "resultJson":{"resultUrls":["u"]}`, `"resultUrls" : ["u"] , "resultJson":{"resultUrls":["u"]}`},
		{`"resultJson":{"resultUrls":["u",null]},"resultUrls":null`, `"resultJson":{"resultUrls":["u",null]},"resultUrls":["u"]`},
		{`"resultJson":{"resultUrls":["u",null]},"resultUrls":[null,"u"]`, `"resultJson":{"resultUrls":["u",null]},"resultUrls":["u"]`},
	} {
		w, err := schema.ParseWebhook([]byte(`{"data":{"taskId":"t","state":"success",` + tt.came + `}}`))
		if want := `{"taskId":"t","state":"success",` + tt.want + `}`; err != nil || string(w.EventData) != want || !slices.Equal(w.Normalized, []string{"resultUrls"}) {
			t.Errorf("%s\nis published as\n%s\nwith %q normalized (%v), want\n%s", tt.came, w.EventData, w.Normalized, err, want)
		}
	}
}

// All at once, and in what order they are named.
func TestNormalizedNamesComeInOrder(t *testing.T) {
	t.Parallel()
	w, err := schema.ParseWebhook([]byte(`{"message":1,"other":"\udfff","data":{"completeTime":"2024-01-01T00:00:12.5Z","createTime":[],"failMsg":2.50,"failCode":1001,` +
		`"costTime":"12.5","resultUrls":[null],"resultJson":7,"state":"failed","taskId":"t"},"code":"200"}`))
	want := `{"completeTime":1704067212500,"createTime":null,"failMsg":"2.50","failCode":"1001","costTime":13,"resultUrls":[],"resultJson":null,"state":"failed","taskId":"t"}`
	if err != nil || string(w.EventData) != want || !slices.Equal(w.Normalized, schema.NormalizedMembers()) {
		t.Errorf("published as\n%s\nwith %q normalized (%v), want\n%s\nwith %q", w.EventData, w.Normalized, err, want, schema.NormalizedMembers())
	}
	task := schema.Task{
		ID: "t", State: schema.StateFailed, FailCode: "1001", FailMsg: "2.50", CostTime: 13 * time.Millisecond,
		CompleteTime: time.Date(2024, 1, 1, 0, 0, 12, 500e6, time.UTC),
	}
	if !reflect.DeepEqual(w.Task, task) {
		t.Errorf("read %+v, want %+v", w.Task, task)
	}
	// The slice is the caller's.
	clear(schema.NormalizedMembers())
	if schema.NormalizedMembers()[0] != "code" {
		t.Error("the names can be changed from outside")
	}
}

// A lone surrogate is U+FFFD wherever it stands, and all else stays as it came.
func TestLoneSurrogates(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, came, want, names string }{
		{"at the end", `"failMsg":"x\ud83d"`, `"failMsg":"x\ufffd"`, "failMsg"},
		{"low, in capitals", `"failMsg":"\uDE00x"`, `"failMsg":"\ufffdx"`, "failMsg"},
		{"swapped", `"failCode":"\ude00\ud83d"`, `"failCode":"\ufffd\ufffd"`, "failCode"},
		{"high before a pair", `"failMsg":"\ud83d\ud83d\ude00"`, `"failMsg":"\ufffd\ud83d\ude00"`, "failMsg"},
		{"low behind a pair", `"failMsg":"\ud83d\ude00\ude00"`, `"failMsg":"\ud83d\ude00\ufffd"`, "failMsg"},
		{"before another escape", `"failMsg":"\ud83d\n\udbff\\ude00\udfff\u0041"`, `"failMsg":"\ufffd\n\ufffd\\ude00\ufffd\u0041"`, "failMsg"},
		{"behind an escaped backslash there is none", `"failMsg":"\\ud83d\\\ud83d"`, `"failMsg":"\\ud83d\\\ufffd"`, "failMsg"},
		{"pairs alone", `"failMsg":"\ud83d\ude00\uD83D\uDE00\ue000\ud7ff"`, asIs, ""},
		{"in a member that is not known", `"x":[{"y":"\ud800"}]`, `"x":[{"y":"\ufffd"}]`, "other"},
		{"in a name", `"x\ud800":"\ud800"`, `"x\ufffd":"\ufffd"`, "other"},
		{"in a name far down", `"x":{"\udfff":1}`, `"x":{"\ufffd":1}`, "other"},
		{"in a name beside a known one", `"failMsg":"\ud800","failMsg\ud800":"m"`, `"failMsg":"\ufffd","failMsg\ufffd":"m"`, "failMsg,other"},
		{"in what is no time", `"createTime":"\ud800"`, `"createTime":null`, "createTime"},
		{"in a member of the envelope's name", `"code":"\ud800"`, `"code":"\ufffd"`, "other"},
		{"in the result of a failed task", `"resultJson":"\ud800{\"a\":\"\\ud800\"}"`, `"resultJson":"\ufffd{\"a\":\"\\ud800\"}"`, "resultJson"},
		{"in addresses of a failed task", `"resultUrls":["\ud800",null]`, `"resultUrls":["\ufffd"]`, "resultUrls"},
	} {
		w, err := schema.ParseWebhook([]byte(` {"data":{"taskId":"t","n":1.50, "state":"failed",` + tt.came + "} }\n"))
		want := tt.want
		if want == asIs {
			want = tt.came
		}
		if want = `{"taskId":"t","n":1.50, "state":"failed",` + want + `}`; err != nil || string(w.EventData) != want || strings.Join(w.Normalized, ",") != tt.names {
			t.Errorf("%s:\n%s\nis published as\n%s\nwith %q normalized (%v), want\n%s\nwith %q", tt.name, tt.came, w.EventData, w.Normalized, err, want, tt.names)
		}
	}
	for _, tt := range []struct{ name, envelope, names string }{
		{"in the envelope", `"message":"\ud800"`, "message"},
		{"in the envelope's code", `"code":"\ud800"`, "code"},
		{"in a member of the envelope that is not known", `"data_":"\ud800"`, "other"},
		{"in a name of the envelope", `"\ud800":1`, "other"},
	} {
		w, err := schema.ParseWebhook([]byte(`{` + tt.envelope + `,"data":{"taskId":"t","state":"failed"}}`))
		if err != nil || string(w.EventData) != `{"taskId":"t","state":"failed"}` || strings.Join(w.Normalized, ",") != tt.names {
			t.Errorf("%s: published as %s with %q normalized (%v), want %q", tt.name, w.EventData, w.Normalized, err, tt.names)
		}
	}
}

// The text in resultJson is JSON once more, with surrogates of its own.
func TestLoneSurrogatesInResultJSON(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, came, want, inner, urls, names string }{
		{"in its text", `"{\"a\":\"\\ud800\",\"resultUrls\":[\"u\"]}"`, `"{\"a\":\"\\ufffd\",\"resultUrls\":[\"u\"]}"`, `{"a":"\ufffd","resultUrls":["u"]}`, `["u"]`, "resultJson"},
		{"in its string", `"{\"a\":\"\ud800\"}"`, `"{\"a\":\"\ufffd\"}"`, "{\"a\":\"\ufffd\"}", `[]`, "resultJson"},
		{"in both, spelt in other ways", `" {\"a\":\"\u005cud800\",\u0022b\":\"\ud800\u00e9\"}\t"`, `" {\"a\":\"\\ufffd\",\"b\":\"` + "\ufffd" + `é\"}\t"`, "{\"a\":\"\\ufffd\",\"b\":\"\ufffdé\"}", `[]`, "resultJson"},
		{"in an address, with null", `"{\"resultUrls\":[\"\\udfffu\",null]}"`, `"{\"resultUrls\":[\"\\ufffdu\",null]}"`, `{"resultUrls":["\ufffdu",null]}`, `["\ufffdu"]`, "resultJson,resultUrls"},
		{"in an object", `{"\udfff":"\ud800"}`, `{"\ufffd":"\ufffd"}`, `{"\ufffd":"\ufffd"}`, `[]`, "resultJson"},
		{"pairs alone", `"{\"a\":\"\\ud83d\\ude00\"}"`, `"{\"a\":\"\\ud83d\\ude00\"}"`, `{"a":"\ud83d\ude00"}`, `[]`, ""},
	} {
		w, err := schema.ParseWebhook([]byte(`{"data":{"taskId":"t","resultJson": ` + tt.came + ` ,"state":"success"}}`))
		want := `{"taskId":"t","resultJson": ` + tt.want + ` ,"state":"success","resultUrls":` + tt.urls + `}`
		if err != nil || string(w.EventData) != want || string(w.Task.ResultJSON) != tt.inner || strings.Join(w.Normalized, ",") != tt.names {
			t.Errorf("%s:\n%s\nis published as\n%s\nwith the result\n%s\nand %q normalized (%v), want\n%s", tt.name, tt.came, w.EventData, w.Task.ResultJSON, w.Normalized, err, want)
		}
		task, err := schema.DecodeTask(w.EventData)
		if err != nil || !reflect.DeepEqual(task, w.Task) {
			t.Errorf("%s: read %+v, and from its event %+v (%v)", tt.name, w.Task, task, err)
		}
	}
}

// A consumer reads what others publish as the relay reads webhooks.
func TestDecodeTaskIsAsLiberal(t *testing.T) {
	t.Parallel()
	want := schema.Task{ID: "t", State: schema.StateFailed, FailCode: "1001", FailMsg: "x\ufffd", CostTime: 13 * time.Millisecond}
	data := []byte(`{"taskId":"t","state":"failed","failCode":1001,"failMsg":"x\ud83d","costTime":"12.5","createTime":true}`)
	if task, err := schema.DecodeTask(data); err != nil || !reflect.DeepEqual(task, want) {
		t.Errorf("read %+v (%v), want %+v", task, err, want)
	}
	e, err := schema.DecodeMessage(map[string][]string{"Content-Type": {"application/cloudevents+json"}},
		[]byte(`{"specversion":"1.0","id":"t","source":"s","type":"ai.apixo.task.failed","data":`+string(data)+`}`))
	if err != nil {
		t.Fatal(err)
	}
	if task, err := e.Task(); err != nil || !reflect.DeepEqual(task, want) {
		t.Errorf("read %+v (%v), want %+v", task, err, want)
	}
}
