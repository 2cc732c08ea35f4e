package broker

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// The server's configuration in deploy works as it stands and keeps the promise
// that it makes; only its port and its folder are the test's.
func TestDeployedServerConfiguration(t *testing.T) {
	t.Parallel()
	options, err := server.ProcessConfigFile("../../deploy/nats/nats-server.conf")
	if err != nil {
		t.Fatal(err)
	}
	if options.Host != "127.0.0.1" || options.Port != 4222 {
		t.Errorf("it listens on %s:%d", options.Host, options.Port)
	}
	ours := natstest.Options(t)
	options.Port, options.StoreDir, options.NoLog, options.NoSigs = ours.Port, ours.StoreDir, true, true
	s := natstest.Start(t, options)
	if !s.JetStreamConfig().SyncAlways {
		t.Error("it acknowledges before it syncs")
	}
	b := mustOpen(t, load(t, "NATS_URL="+s.ClientURL()))
	if limit, need := b.Conn().MaxPayload(), MaxMessageBytes(load(t).Webhooks.MaxBodyBytes); limit < need {
		t.Errorf("it takes messages of %d bytes, %d are needed", limit, need)
	}
}
