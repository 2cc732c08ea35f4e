package natstest

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/apixo-relay/apixo-relay/relay/test/leaktest"
)

// Main is [leaktest.Main] for a package whose tests run servers. A stream that is made while
// its server ends keeps two goroutines (nats-server 2.15.2), which are ignored. Of a server
// that was not ended there are others besides.
func Main(m *testing.M, options ...goleak.Option) {
	leaktest.Main(m, append(options,
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
	)...)
}
