package receiver

import (
	"encoding/json"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/event"
)

// The body of a 200 is what encoding/json makes of it, to the byte.
func TestReceiptBody(t *testing.T) {
	t.Parallel()
	type body struct {
		TaskID    string `json:"taskId"`
		Stream    string `json:"stream"`
		Sequence  uint64 `json:"sequence"`
		Duplicate bool   `json:"duplicate"`
		Conflict  bool   `json:"conflict,omitempty"`
	}
	for _, stream := range []string{"APIXO", "", "a b", `a"b`, `a\b`, "<a>&'b'", "图", "\u2028\u2029", "\x00\x1f\x7f", "\xff", "~!@#$%^()_+{}|:?[]"} {
		for _, receipt := range []event.Receipt{
			{Stream: stream, Sequence: 1}, {Stream: stream, Sequence: 1<<64 - 1, Duplicate: true}, {Stream: stream, Duplicate: true, Conflict: true},
		} {
			want, err := json.Marshal(body{"Az09_.:-", stream, receipt.Sequence, receipt.Duplicate, receipt.Conflict})
			if err != nil {
				t.Fatal(err)
			}
			if got := stored("Az09_.:-", receipt).body; string(got) != string(want)+"\n" {
				t.Errorf("the body is %s, want %s", got, want)
			}
		}
	}
}
