package schema_test

import (
	"slices"
	"testing"

	"github.com/apixo-relay/apixo-relay/schema"
)

func outcome(t *testing.T, data string) schema.Outcome {
	t.Helper()
	w, err := schema.ParseWebhook([]byte(`{"code":200,"data":` + data + `}`))
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	o, err := schema.OutcomeOf(w.EventData)
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return o
}

func TestEqualOutcomes(t *testing.T) {
	t.Parallel()
	for _, tt := range [][2]string{
		{`{"taskId":"a","state":"success"}`, `{"taskId":"b","state":"success","completeTime":1,"costTime":2,"new":[]}`},
		{`{"taskId":"a","state":"success"}`, `{"state":"success","taskId":"a","resultJson":null,"failCode":null,"failMsg":""}`},
		{`{"taskId":"a","state":"success","resultJson":""}`, `{"taskId":"a","state":"success","resultJson":"null"}`},
		{`{"taskId":"a","state":"success","resultJson":"{\"a\":1,\"resultUrls\":[\"u\"]}"}`, `{"taskId":"a","state":"success","resultJson":{ "resultUrls": ["u"], "a": 1.0 }}`},
		{`{"taskId":"a","state":"success","resultJson":" {\"a\":\"\\u00e9\",\"n\":100} "}`, `{"taskId":"a","state":"success","resultJson":"{\"n\":1e2,\"a\":\"é\"}"}`},
		{`{"taskId":"a","state":"success","resultJson":{"o":{"x":1,"y":[1,2]}}}`, `{"taskId":"a","state":"success","resultJson":{"o":{"y":[1, 2],"x":1}}}`},
		{`{"taskId":"a","state":"success","resultJson":{"resultUrls":["u"]}}`, `{"taskId":"a","state":"success","resultJson":{"resultUrls":["u"]},"resultUrls":["u"]}`},
		{`{"taskId":"a","state":"failed","failCode":"X","failMsg":"é"}`, `{"taskId":"a","state":"failed","failMsg":"\u00e9","failCode":"X","resultJson":""}`},
		{`{"taskId":"a","state":"failed","resultJson":"no JSON"}`, `{"taskId":"a","state":"failed","resultJson":"no\u0020JSON"}`},
	} {
		one, other := outcome(t, tt[0]), outcome(t, tt[1])
		if one != other || one.Differences(other) != nil {
			t.Errorf("%s\nand\n%s\ndiffer in %q", tt[0], tt[1], one.Differences(other))
		}
	}
}

func TestDifferentOutcomes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		one, other string
		members    []string
	}{
		{`{"taskId":"a","state":"success"}`, `{"taskId":"a","state":"failed"}`, []string{"state"}},
		{`{"taskId":"a","state":"success","resultJson":{"a":1}}`, `{"taskId":"a","state":"success"}`, []string{"resultJson"}},
		{`{"taskId":"a","state":"success","resultJson":"{\"resultUrls\":[\"u\",\"v\"]}"}`, `{"taskId":"a","state":"success","resultJson":"{\"resultUrls\":[\"v\",\"u\"]}"}`, []string{"resultJson"}},
		{`{"taskId":"a","state":"success","resultUrls":["u"]}`, `{"taskId":"a","state":"success","resultUrls":["v"]}`, []string{"resultJson"}},
		{`{"taskId":"a","state":"success","resultUrls":["u"]}`, `{"taskId":"a","state":"success"}`, []string{"resultJson"}},
		// A reader that takes numbers for doubles would not see it.
		{`{"taskId":"a","state":"success","resultJson":{"seed":12345678901234567890}}`, `{"taskId":"a","state":"success","resultJson":{"seed":12345678901234567891}}`, []string{"resultJson"}},
		{`{"taskId":"a","state":"success","resultJson":{"a":"1"}}`, `{"taskId":"a","state":"success","resultJson":{"a":1}}`, []string{"resultJson"}},
		{`{"taskId":"a","state":"success","resultJson":{}}`, `{"taskId":"a","state":"success"}`, []string{"resultJson"}},
		{`{"taskId":"a","state":"failed","failCode":"X","failMsg":"m"}`, `{"taskId":"a","state":"failed","failCode":"Y","failMsg":"M"}`, []string{"failCode", "failMsg"}},
		{`{"taskId":"a","state":"failed","failCode":"XY"}`, `{"taskId":"a","state":"failed","failCode":"X","failMsg":"Y"}`, []string{"failCode", "failMsg"}},
		{`{"taskId":"a","state":"failed","resultJson":"one"}`, `{"taskId":"a","state":"failed","resultJson":"other"}`, []string{"resultJson"}},
	} {
		one, other := outcome(t, tt.one), outcome(t, tt.other)
		if got := one.Differences(other); !slices.Equal(got, tt.members) || one == other {
			t.Errorf("%s\nand\n%s\ndiffer in %q, want %q", tt.one, tt.other, got, tt.members)
		}
	}
}

func TestOutcomeOfWhatIsNoTask(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"", "[]", "{}", `{"taskId":"a","state":"processing"}`} {
		if o, err := schema.OutcomeOf([]byte(data)); err == nil {
			t.Errorf("%q has the outcome %v", data, o)
		}
	}
}
