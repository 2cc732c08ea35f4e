package target_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main(m,
		// The library's ObjectStore.Put, which a test stores with, and the relay does not, begins
		// a goroutine and sets the channel that it takes events from back to nil in the end. If
		// it had not run by then, it waits for ever (nats.go 1.55.0, jetstream/publish.go).
		goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"),
	)
}
