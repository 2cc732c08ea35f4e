package receiver_test

import (
	"net/http"
	"testing"
)

// The test's own address is 127.0.0.1.
func TestAllowList(t *testing.T) {
	t.Parallel()
	const inside, outside = "203.0.113.7", "192.0.2.1"
	xff := func(value string) change { return header("X-Forwarded-For", value) }
	fwd := func(value string) change { return header("Forwarded", value) }
	for _, test := range []struct {
		name, allowed, trusted string
		changes                []change
		good                   bool
		sender                 string // what the log says
	}{
		{"no list", "", "", nil, true, "127.0.0.1"},
		{"listed", "127.0.0.0/8", "", nil, true, "127.0.0.1"},
		{"listed as a single address", "192.0.2.0/24,127.0.0.1", "", nil, true, "127.0.0.1"},
		{"not listed", "203.0.113.0/24", "", nil, false, "127.0.0.1"},
		{"not listed, and says that it is", "203.0.113.0/24", "", []change{xff(inside)}, false, "127.0.0.1"},
		{"other peers are trusted", "203.0.113.0/24", "10.0.0.0/8", []change{xff(inside)}, false, "127.0.0.1"},
		{"through a proxy", "203.0.113.0/24", "127.0.0.1", []change{xff(inside)}, true, inside},
		{"not listed, through a proxy", "203.0.113.0/24", "127.0.0.1", []change{xff(outside)}, false, outside},
		{"the proxy is listed, the sender not", "127.0.0.1", "127.0.0.1", []change{xff(outside)}, false, outside},
		{"forged through a proxy", "203.0.113.0/24", "127.0.0.1", []change{xff(inside + ", " + outside)}, false, outside},
		{"both headers say so", "203.0.113.0/24", "127.0.0.1", []change{xff(inside), fwd("for=" + inside)}, true, inside},
		{"one header says otherwise", "203.0.113.0/24", "127.0.0.1", []change{xff(outside), fwd("for=" + inside)}, false, outside},
		{"the other header says otherwise", "203.0.113.0/24", "127.0.0.1", []change{xff(inside), fwd("for=" + outside)}, false, inside},
		{"no address", "0.0.0.0/0,::/0", "127.0.0.1", []change{xff("unknown")}, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, tokenEnv, "RELAY_ALLOWED_CIDRS="+test.allowed, "RELAY_TRUSTED_PROXIES="+test.trusted)
			got := r.post(t, goodPath, success("task_1"), test.changes...)
			if test.good {
				got.wantStored(t, receipt{"task_1", "APIXO", 1, false})
				r.wantCounts(t, 1, 0)
			} else {
				got.wantProblem(t, http.StatusForbidden, "address-not-allowed")
				// A good address tells nothing about the token, nor a bad one.
				r.post(t, webhookPath, success("task_1"), test.changes...).wantProblem(t, http.StatusForbidden, "address-not-allowed")
				r.wantCounts(t, 0, 0)
			}
			line := r.log.webhook(t, 1)
			if sender, _ := line["sender"].(string); sender != test.sender {
				t.Errorf("logged %v, want the sender %q", line, test.sender)
			}
			if outcome := map[bool]string{true: "published", false: "unauthorized"}[test.good]; line["outcome"] != outcome {
				t.Errorf("logged %v, want %s", line, outcome)
			}
		})
	}
}
