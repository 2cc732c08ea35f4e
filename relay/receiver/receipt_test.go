package receiver

import (
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/store"
)

// Scripts read the body of a 200: its members, their order and their spelling stay.
func TestReceiptBody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		receipt store.Receipt
		want    string
	}{
		{store.Receipt{Stream: "APIXO", Sequence: 12}, `{"taskId":"Az09_.:-","stream":"APIXO","sequence":12,"duplicate":false}`},
		{store.Receipt{Stream: "APIXO", Sequence: 1<<64 - 1, Duplicate: true}, `{"taskId":"Az09_.:-","stream":"APIXO","sequence":18446744073709551615,"duplicate":true}`},
		{store.Receipt{Duplicate: true, Conflict: true}, `{"taskId":"Az09_.:-","stream":"","sequence":0,"duplicate":true,"conflict":true}`},
		{store.Receipt{Stream: "<a>\"\\\n图"}, `{"taskId":"Az09_.:-","stream":"\u003ca\u003e\"\\\n图","sequence":0,"duplicate":false}`},
	} {
		if got := string(receiptResponse("Az09_.:-", tt.receipt).body); got != tt.want+"\n" {
			t.Errorf("the body is %s, want %s", got, tt.want)
		}
	}
}
