package replay_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/schema"
)

// A line says what a message is and what came of it; what others wrote cannot steer a terminal,
// and ids stay whole.
func TestLineOfADelivery(t *testing.T) {
	t.Parallel()
	stored := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	long := strings.Repeat("x", 128)
	for name, tt := range map[string]struct {
		delivery   replay.Delivery
		text, json string
	}{
		"delivered": {
			replay.Delivery{
				Position: replay.Position{Sequence: 7, Stored: stored.UTC(), ID: long}, Type: schema.TypeTaskSuccess, Subject: long, Model: "nano-banana",
				Outcome: replay.Delivered, Status: "200 OK", Attempts: 1, Duration: 12500 * time.Microsecond,
			},
			"      7  success   " + long + " model=nano-banana → 200 OK  12.5 ms",
			`"id":"` + long + `","type":"ai.apixo.task.success","subject":"` + long + `","model":"nano-banana","outcome":"delivered","delivered":true,` +
				`"status":"200 OK","attempts":1,"durationMs":12.5}`,
		},
		"delivered in the end": {
			replay.Delivery{Type: schema.TypeTaskFailed, Subject: "t", Outcome: replay.Delivered, Status: "202 Accepted", Attempts: 3, Duration: 2 * time.Second},
			"failed    t → 202 Accepted (after 3 attempts)  2.00 s", `"status":"202 Accepted","attempts":3,"durationMs":2000}`,
		},
		"published": {
			replay.Delivery{Type: schema.TypeTaskFailed, Subject: "t", Outcome: replay.Delivered, Attempts: 1},
			"failed    t → delivered  0.00 ms", `"outcome":"delivered","delivered":true,"attempts":1,"durationMs":0}`,
		},
		"failed": {
			replay.Delivery{Type: schema.TypeTaskSuccess, Subject: "t", Outcome: replay.Failed, Status: "403 Forbidden", Reason: "403 Forbidden: no", Attempts: 1, Duration: time.Millisecond},
			"t → 403 Forbidden: no  1.00 ms", `"outcome":"failed","delivered":false,"status":"403 Forbidden","reason":"403 Forbidden: no","attempts":1,"durationMs":1}`,
		},
		"no event": {
			replay.Delivery{Outcome: replay.Skipped, Reason: "a \x1b[31m is no\nCloudEvent"},
			"unknown   - → skipped: a �[31m is no CloudEvent", `"outcome":"skipped","delivered":false,"reason":"a \u001b[31m is no\nCloudEvent","attempts":0,"durationMs":0}`,
		},
		"rejected": {
			replay.Delivery{Position: replay.Position{ID: "0a1b"}, Type: schema.TypeWebhookRejected, Outcome: replay.Selected},
			"rejected  0a1b → would be delivered", `"outcome":"selected","delivered":false,"attempts":0,"durationMs":0}`,
		},
		"hostile": {
			replay.Delivery{Type: "ai.apixo.\x1b[2J", Subject: "a\n\x1bb", Model: "\u202ec", Outcome: replay.Unfinished, Reason: "given up"},
			"�[2J      a �b model=�c → not delivered: given up", `"outcome":"unfinished"`,
		},
	} {
		var line, object bytes.Buffer
		if err := tt.delivery.WriteText(&line, false); err != nil {
			t.Fatal(err)
		}
		if got := line.String(); !strings.HasSuffix(got, tt.text+"\n") || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: the text is\n%q, want\n%q", name, got, tt.text)
		}
		if err := tt.delivery.WriteJSON(&object); err != nil {
			t.Fatal(err)
		}
		if got := object.String(); !strings.Contains(got, tt.json) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: the JSON is\n%s, want\n%s", name, got, tt.json)
		}
		if name == "delivered" && (!strings.HasPrefix(line.String(), "2026-01-02 03:04:05 ") || !strings.HasPrefix(object.String(), `{"sequence":7,"stored":"2026-01-02T`)) {
			t.Errorf("they begin\n%s\n%s", line.String(), object.String())
		}
		var colored bytes.Buffer
		if err := tt.delivery.WriteText(&colored, true); err != nil || !strings.Contains(colored.String(), "\x1b[") || strings.Contains(colored.String(), "\x1b[2J") {
			t.Errorf("%s: in color: %q, %v", name, colored.String(), err)
		}
	}
	broken := writer(func([]byte) (int, error) { return 0, errors.New("full") })
	if (replay.Delivery{}).WriteText(broken, false) == nil || (replay.Delivery{}).WriteJSON(broken) == nil {
		t.Error("an error of the writer is lost")
	}
}
