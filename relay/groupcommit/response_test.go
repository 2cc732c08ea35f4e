package groupcommit

import (
	"encoding/json"
	"testing"

	"github.com/nats-io/nats.go"
)

// What is read without a parser is what the parser reads.
func FuzzReadUsual(f *testing.F) {
	for _, text := range []string{
		`{"stream":"APIXO", "seq":12}`, `{"stream":"APIXO", "seq":18446744073709551615}`, `{"stream":"APIXO", "seq":12,"duplicate": true}`,
		`{"stream":"A\\u0042", "seq":1}`, `{"stream":"A", "seq":-1}`, `{"stream":"A", "seq":01}`, `{"stream":"A", "seq":1}}`, `{"stream":"", "seq":1}`,
		`{"stream":"A","seq":1}`, `{"stream":"APIXO", "seq":12,"batch":"b","count":3}`, `{"error":{"code":400,"err_code":10071,"description":"x"},"stream":"A","seq":0}`, ``, `{`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := readUsual(data)
		if !ok {
			return
		}
		var want response
		if err := json.Unmarshal(data, &want); err != nil || got != want {
			t.Errorf("%q is read as %+v, and is %+v (%v)", data, got, want, err)
		}
	})
}

func TestResponses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]response{
		`{"stream":"APIXO", "seq":12}`:                            {Stream: "APIXO", Sequence: 12},
		`{"stream":"APIXO", "seq":12,"duplicate": true}`:          {Stream: "APIXO", Sequence: 12, Duplicate: true},
		`{"stream":"APIXO", "seq":12,"batch":"b","count":3}`:      {Stream: "APIXO", Sequence: 12, Count: 3},
		`{"type":"x","stream":"APIXO","domain":"hub","seq":1234}`: {Stream: "APIXO", Sequence: 1234},
	} {
		if got, err := readResponse(&nats.Msg{Data: []byte(text)}); err != nil || got != want {
			t.Errorf("%s is read as %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{``, `{}`, `no`, `{"stream":""}`, `{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}`} {
		if r, err := readResponse(&nats.Msg{Data: []byte(text)}); err == nil {
			t.Errorf("%q is read as %+v", text, r)
		}
	}
}
