package publisher_test

import (
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// A setting that an existing stream does not have is told by the log, of both streams and
// once, however often they are looked at; one that nobody has set is not.
func TestSettingsThatAreNotInForce(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"create", "require"} {
		s := natstest.Start(t, natstest.Options(t))
		if before := start(t, s); strings.Contains(before.log.String(), "level=WARN") {
			t.Errorf("a stream that is as it was made is warned of:\n%s", before.log)
		}
		unset := start(t, s, "RELAY_STREAM_POLICY="+policy)
		b := open(t, s, "RELAY_STREAM_POLICY="+policy, "RELAY_STREAM_MAX_AGE=24h", "RELAY_STREAM_MAX_BYTES=4000000", "RELAY_DEDUPE_WINDOW=30m")
		b.awaitConnection(t)
		for range 3 {
			if err := b.Look(t.Context()); err != nil {
				t.Error(err)
			}
		}
		for _, stream := range []string{"APIXO", "APIXO_QUARANTINE"} {
			for _, told := range []string{
				`keeps events for 168h0m0s, RELAY_STREAM_MAX_AGE says 24h0m0s" do="set its max_age to 24h0m0s, or start`,
				`has a max_bytes of -1, RELAY_STREAM_MAX_BYTES says 4000000" do="set its max_bytes to 4000000, or start`,
				`remembers ids for 1h0m0s, RELAY_DEDUPE_WINDOW says 30m0s" do="set its duplicate window to 30m0s, or start`,
			} {
				if n := strings.Count(b.log.String(), "the stream "+stream+" "+told); n != 1 {
					t.Errorf("with the policy %s the log says %d times that %s %s:\n%s", policy, n, stream, told, b.log)
				}
			}
		}
		if log := unset.log.String(); strings.Contains(log, "RELAY_") {
			t.Errorf("what nobody has set is told:\n%s", log)
		}
		if err := b.Ready(); err != nil {
			t.Errorf("ready: %v", err)
		}
	}
}
