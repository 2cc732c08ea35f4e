package natstest

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/schema"
)

// Events are those in a stream of which nothing was removed, the oldest first.
func Events(t testing.TB, js jetstream.JetStream, stream string) (events []schema.Event) {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	for sequence := range s.CachedInfo().State.LastSeq {
		msg, err := s.GetMsg(t.Context(), sequence+1)
		if err != nil {
			t.Fatal(err)
		}
		e, err := schema.DecodeMessage(msg.Header, msg.Data)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}
