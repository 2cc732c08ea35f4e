// Command cloudevents is an example of a consumer for teams that use the CloudEvents SDK
// for Go: its client calls a function for each event, and the event's data become a
// schema.Task by event.DataAs. Beside a running relay, in this folder: go run .
//
// The SDK's own JetStream consumer acknowledges an event as soon as it has handed it on,
// so that a program which dies at its work loses it. Here its message goes through the
// SDK's extension point for that: what the function returns decides, after the work. The
// example consumer beside this one has what else a service needs, dead letters among it.
//
// With RELAY_CE_MODE=binary the SDK (v2.16.2) hands on attributes as they stand in the
// headers, percent-encoded; in structured mode, the relay's default, they are whole.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/client"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// ackTimeout is how long the broker may take to confirm an acknowledgement.
	ackTimeout = 10 * time.Second
	// retryDelay is when an event comes again whose work has failed.
	retryDelay = 5 * time.Second
)

func main() {
	server := flag.String("server", cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), "the broker; NATS_URL is the default")
	durable := flag.String("durable", "cloudevents", "name under which the broker remembers this consumer")
	count := flag.Int("count", 0, "stop after so many events; 0 means when interrupted")
	ackWait := flag.Duration("ack-wait", 30*time.Second, "after so long without a word from this program, the broker delivers an event again")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("%q is no flag: -h shows which there are", flag.Arg(0))
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := consume(ctx, *server, *durable, *ackWait, *count); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

func consume(ctx context.Context, server, durable string, ackWait time.Duration, count int) error {
	nc, err := nats.Connect(server, nats.MaxReconnects(-1)) // unless told so it gives up after 60 tries
	if err != nil {
		return fmt.Errorf("connecting to %s: %w; is the relay running?", server, err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, schema.DefaultStream, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
		FilterSubject: schema.TaskSubjects(schema.DefaultPrefix),
	})
	if err != nil {
		return fmt.Errorf("the consumer %s of the stream %s: %w", durable, schema.DefaultStream, err)
	}
	// One at a time: what waits in this program while another is worked on would be
	// delivered to somebody else too.
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1), jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		return err
	}
	defer messages.Stop()
	c, err := client.New(receiver{messages}, client.WithPollGoroutines(1), client.WithBlockingCallback(), client.WithAckMalformedEvent())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := 0
	return c.StartReceiver(ctx, func(e event.Event) protocol.Result {
		err := work(e)
		if done++; done == count {
			cancel()
		}
		return err
	})
}

// work is what this program is for. It may be called again for an event that it has
// dealt with, and has to bear that. After an error the event comes again, unless that is
// a receipt which acknowledges.
func work(e event.Event) protocol.Result {
	var task schema.Task
	if err := e.DataAs(&task); err != nil {
		return protocol.NewReceipt(true, "the event %s is no task: %w", e.ID(), err)
	}
	model, _ := e.Extensions()["model"].(string)
	fmt.Println(task.ID, task.State, model, task.FailCode+strings.Join(task.ResultURLs, " "))
	return nil
}

// receiver implements protocol.Receiver: it has the SDK's client read JetStream messages,
// and acknowledges them when that is done with them.
type receiver struct{ messages jetstream.MessagesContext }

// Receive implements protocol.Receiver. Its io.EOF ends the client.
func (r receiver) Receive(ctx context.Context) (binding.Message, error) {
	msg, err := r.messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		if ctx.Err() == nil {
			log.Print(err)
		}
		return nil, io.EOF
	}
	message := nats_jetstream.NewMessage(&nats.Msg{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()})
	return binding.WithFinish(message, func(result error) {
		settle := func() error { return msg.NakWithDelay(retryDelay) }
		if protocol.IsACK(result) {
			// DoubleAck waits until the broker knows. If it does not, the event comes again.
			settle = func() error {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackTimeout)
				defer cancel()
				return msg.DoubleAck(ctx)
			}
		}
		if err := settle(); err != nil {
			log.Printf("the broker does not confirm, so the event will come again: %v", err)
		}
	}), nil
}
