// Package natstest runs real NATS servers for tests, as brokers outside the relay.
package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience is how long a server may take for an answer on a busy machine.
const patience = time.Minute

// Options are those of a server with JetStream on a free port of this machine,
// with its store in a folder of the test.
func Options(t testing.TB) *server.Options {
	t.Helper()
	return &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(),
		NoLog: true, NoSigs: true,
	}
}

// Start runs a server until the test ends, or until it is shut down.
func Start(t testing.TB, options *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not become ready")
	}
	t.Cleanup(func() { Stop(s) })
	return s
}

// Stop shuts a server down and waits until it is gone.
func Stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// JetStream connects to a server as a plain client, until the test ends.
func JetStream(t testing.TB, url string, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(url, append([]nats.Option{nats.Timeout(patience)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	return js
}
