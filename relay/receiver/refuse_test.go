package receiver

import (
	"net/http/httptest"
	"testing"
)

// However many refusals wait to be taken, the next one goes with less, or not at all.
func TestRefusalsInNumber(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		waiting     int64
		given, body bool
	}{
		{0, true, true}, {maxRefusing - 1, true, true},
		{maxRefusing, true, false}, {2*maxRefusing - 1, true, false},
		{2 * maxRefusing, false, false},
	} {
		var rc Receiver
		rc.refusing.Store(test.waiting)
		w := httptest.NewRecorder()
		given := rc.respond(w, rc.responseTo(result{}, unauthorized), false)
		if given != test.given || (w.Body.Len() > 0) != test.body || given && w.Code != unauthorized.status {
			t.Errorf("with %d waiting: given %v, %d with %d bytes", test.waiting, given, w.Code, w.Body.Len())
		}
		if n := rc.refusing.Load(); n != test.waiting {
			t.Errorf("%d wait afterwards, and %d did before", n, test.waiting)
		}
		// Those who were let in are told everything.
		w = httptest.NewRecorder()
		if given := rc.respond(w, rc.responseTo(result{}, brokerUnavailable), true); !given || w.Body.Len() == 0 {
			t.Errorf("with %d waiting, who was let in: given %v, %d bytes", test.waiting, given, w.Body.Len())
		}
	}
}
