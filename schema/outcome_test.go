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
		{`{"taskId":"a","state":"failed","failCode":1001,"failMsg":2.50}`, `{"taskId":"a","state":"failed","failCode":"1001","failMsg":"2.50"}`},
		{`{"taskId":"a","state":"failed","failCode":{},"failMsg":true,"resultJson":7}`, `{"taskId":"a","state":"failed"}`},
		{`{"taskId":"a","state":"failed","failMsg":"x\ud83d"}`, `{"taskId":"a","state":"failed","failMsg":"x\ufffd"}`},
		{`{"taskId":"a","state":"success","costTime":12.5,"completeTime":"2024-01-01T00:00:12Z","resultUrls":null}`, `{"taskId":"a","state":"success"}`},
		{`{"taskId":"a","state":"success","resultUrls":["u",null]}`, `{"taskId":"a","state":"success","resultUrls":["u"]}`},
		{`{"taskId":"a","state":"success","resultJson":"{\"b\":[null],\"resultUrls\":[null,\"u\"]}"}`, `{"taskId":"a","state":"success","resultJson":{"resultUrls":["u"],"b":[null]}}`},
		{`{"taskId":"a","state":"success","resultJson":"{\"a\":\"\\ud800\"}"}`, `{"taskId":"a","state":"success","resultJson":"{\"a\":\"\\ufffd\"}"}`},
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
		{`{"taskId":"a","state":"failed","failCode":1}`, `{"taskId":"a","state":"failed","failCode":"1.0"}`, []string{"failCode"}},
		{`{"taskId":"a","state":"failed","failCode":1}`, `{"taskId":"a","state":"failed","failCode":true}`, []string{"failCode"}},
		{`{"taskId":"a","state":"success","resultJson":{"a":[null]}}`, `{"taskId":"a","state":"success","resultJson":{"a":[]}}`, []string{"resultJson"}},
		{`{"taskId":"a","state":"failed","failCode":"XY"}`, `{"taskId":"a","state":"failed","failCode":"X","failMsg":"Y"}`, []string{"failCode", "failMsg"}},
		{`{"taskId":"a","state":"failed","resultJson":"one"}`, `{"taskId":"a","state":"failed","resultJson":"other"}`, []string{"resultJson"}},
	} {
		one, other := outcome(t, tt.one), outcome(t, tt.other)
		if got := one.Differences(other); !slices.Equal(got, tt.members) || one == other {
			t.Errorf("%s\nand\n%s\ndiffer in %q, want %q", tt.one, tt.other, got, tt.members)
		}
	}
}

// What is stored may come from a version that did not know drift, and what is
// compared with it may be a data object as APIXO sent it.
func TestOutcomeOfDataAsItCame(t *testing.T) {
	t.Parallel()
	for came, published := range map[string]string{
		`{"taskId":"a","state":"failed","failCode":1001,"failMsg":"\ud83d","resultJson":7}`: `{"taskId":"a","state":"failed","failCode":"1001","failMsg":"\ufffd"}`,
		`{"taskId":"a","state":"success","resultUrls":["u",null],"costTime":"1"}`:           `{"taskId":"a","state":"success","resultUrls":["u"],"costTime":1}`,
		`{"taskId":"a","state":"success","resultJson":{"resultUrls":["u",null]}}`:           `{"taskId":"a","state":"success","resultJson":{"resultUrls":["u"]},"resultUrls":["u"]}`,
	} {
		one, err := schema.OutcomeOf([]byte(came))
		if err != nil {
			t.Fatal(err)
		}
		if other, err := schema.OutcomeOf([]byte(published)); err != nil || one != other {
			t.Errorf("%s\nand\n%s\ndiffer in %q (%v)", came, published, one.Differences(other), err)
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

// Numbers are compared as decimals, to the last digit and in any spelling.
func TestNumbersInOutcomes(t *testing.T) {
	t.Parallel()
	seed := func(number string) schema.Outcome {
		return outcome(t, `{"taskId":"a","state":"success","resultJson":{"a-1":"1.0 \\\" 2.0","seed":[`+number+`]}}`)
	}
	for _, equal := range [][]string{
		{"0", "-0", "0.0", "0e5", "-0.00E-3"},
		{"1", "1.0", "1e0", "10e-1", "0.1E+1", "100000e-5"},
		{"0.1", "0.10", "1e-1"},
		{"-25", "-2.5e1", "-250E-1"},
		{"9007199254740993", "9007199254740993.0", "9.007199254740993e15", "90071992547409930e-1"},
		{"1e30", "1000000000000000000000000000000"},
		{"1e400", "10e399"},
		{"1e99999999999999999999", "10e99999999999999999998"},
	} {
		for _, other := range equal[1:] {
			if seed(equal[0]) != seed(other) {
				t.Errorf("%s and %s are taken for different", equal[0], other)
			}
		}
	}
	for _, different := range [][2]string{
		{"0.3", "0.30000000000000001"}, {"0.12345678901234567890", "0.12345678901234567891"},
		{"9007199254740993.5", "9007199254740993.25"}, {"1e400", "1e401"}, {"1", "-1"}, {"1", "10"}, {"12", "1.2"}, {"1,2", "12"},
	} {
		if seed(different[0]) == seed(different[1]) {
			t.Errorf("%s and %s are taken for equal", different[0], different[1])
		}
	}
}
