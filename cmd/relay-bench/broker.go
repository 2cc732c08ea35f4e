package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"
)

// brokerCommand is a nats-server with its default settings: this program once more,
// in a process of its own. It says where it is in a line like the relay's, and ends
// with a signal, or when this program ends and with it its standard input.
func brokerCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: idBroker + " FOLDER", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := server.NewServer(&server.Options{
				Host: "127.0.0.1", Port: server.RANDOM_PORT,
				JetStream: true, StoreDir: args[0],
				NoSigs: true, NoLog: true, DisableJetStreamBanner: true,
			})
			if err != nil {
				return err
			}
			go s.Start()
			defer s.WaitForShutdown()
			defer s.Shutdown()
			if !s.ReadyForConnections(10 * time.Second) {
				return errors.New("the broker takes no connections after 10s")
			}
			fmt.Fprintf(stdout, `{"msg":"ready","broker":%q}`+"\n", s.ClientURL())
			awaitEnd(c.Context(), c.InOrStdin())
			return nil
		},
	}
}

// makeStreams makes empty streams of files.
func makeStreams(ctx context.Context, broker string, names ...string) error {
	conn, err := nats.Connect(broker)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}}); err != nil {
			return err
		}
	}
	return nil
}

// awaitEnd waits for the end of the context or of standard input.
func awaitEnd(ctx context.Context, stdin io.Reader) {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		close(ended)
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	}
}
