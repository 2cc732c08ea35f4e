// Command peer is what relay-bench compares the relay to: "peer floor" reads
// webhooks and answers, "peer naive BROKER" publishes them, too. It is a program of
// its own so that CPU and memory are those of such a handler alone: nats-server
// looks at its own process once a second wherever it is linked.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := errors.New("usage: peer floor | peer naive BROKER")
	switch {
	case len(os.Args) == 2 && os.Args[1] == "floor":
		err = serve(ctx, floor)
	case len(os.Args) == 3 && os.Args[1] == "naive":
		err = serveNaive(ctx, os.Args[2])
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "peer: %v\n", err)
		os.Exit(1)
	}
}

// floorAnswer is as long as a receipt of the relay.
const floorAnswer = `{"taskId":"task_abc123xyz456xyz","stream":"APIXO","sequence":123456,"duplicate":false}`

// maxBody is the largest body that is taken, as by the relay by default.
const maxBody = 256 << 10

// floor is the least that a receiver of webhooks does: it reads and answers.
func floor(w http.ResponseWriter, r *http.Request) {
	if _, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, floorAnswer) // the client may be gone
}

// serve says where the handler is, in a line like the relay's, and serves it until
// a signal, or until whoever started this ends and with it the standard input.
func serve(ctx context.Context, handler http.HandlerFunc) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: handler}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	fmt.Printf(`{"msg":"ready","webhooks":"http://%s/webhook/apixo"}`+"\n", listener.Addr())
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	}
	err = s.Close()
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = serveErr
	}
	return err
}
