package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/spf13/cobra"
)

// The floor and the external broker are this program once more, in processes of
// their own. Each says where it is in a line like the relay's, and ends with a
// signal, or when this program ends and with it their standard input.
const (
	floorName  = "floor"
	brokerName = "broker"
)

// floorAnswer is as long as a receipt of the relay.
const floorAnswer = `{"taskId":"task_abc123xyz456xyz","stream":"APIXO","sequence":123456,"duplicate":false}`

// floorBody is the largest body that the floor takes, as the relay by default.
const floorBody = 256 << 10

func floorCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: floorName, Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			s := &http.Server{Handler: http.HandlerFunc(serveFloor)}
			served := make(chan error, 1)
			go func() { served <- s.Serve(listener) }()
			fmt.Fprintf(stdout, `{"msg":"ready","webhooks":"http://%s/webhook/apixo"}`+"\n", listener.Addr())
			awaitEnd(c.Context(), c.InOrStdin())
			err = s.Close()
			if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
				err = serveErr
			}
			return err
		},
	}
}

// serveFloor is the least that a receiver of webhooks does: it reads and answers.
func serveFloor(w http.ResponseWriter, r *http.Request) {
	if _, err := io.ReadAll(http.MaxBytesReader(w, r.Body, floorBody)); err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, floorAnswer) // the client may be gone
}

func brokerCommand(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use: brokerName + " FOLDER", Hidden: true, Args: cobra.ExactArgs(1),
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
