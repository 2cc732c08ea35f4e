// Command go is an example of a consumer: it prints a line for each task that
// ended. Beside a running relay: go run ./schema/examples/go
//
// The consumer is durable: the broker remembers what has been acknowledged. A
// second run goes on where the first ended, and several at once share the work.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/schema"
)

func main() {
	// nats.DefaultURL is where the relay's embedded broker is, too.
	server := flag.String("server", cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), "the broker; NATS_URL is the default")
	durable := flag.String("durable", "example", "name under which the broker remembers this consumer")
	count := flag.Int("count", 0, "stop after so many messages; 0 means when interrupted")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := consume(ctx, *server, *durable, *count); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

func consume(ctx context.Context, server, durable string, count int) error {
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
		Durable:       durable,
		AckPolicy:     jetstream.AckExplicitPolicy,
		FilterSubject: schema.TaskSubjects(schema.DefaultPrefix), // or TaskSubject, for one of the states
	})
	if err != nil {
		return fmt.Errorf("the consumer %s of the stream %s: %w", durable, schema.DefaultStream, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for done := 0; count == 0 || done < count; done++ {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		event, err := schema.DecodeMessage(msg.Headers(), msg.Data())
		if err != nil {
			return err // somebody else published this; msg.Term would make the broker skip it
		}
		task, err := event.Task()
		if err != nil {
			return err
		}
		// The work goes here. Addresses expire: download what they lead to soon.
		// A message can come twice; task.ID is the same then, so note what is done.
		fmt.Println(task.ID, task.State, event.Extensions["model"], task.FailCode+strings.Join(task.ResultURLs, " "))
		// Acknowledge after the work: what is not acknowledged within 30 seconds
		// comes again. DoubleAck waits until the broker knows.
		if err := msg.DoubleAck(ctx); err != nil {
			return fmt.Errorf("acknowledging %s: %w", task.ID, err)
		}
	}
	return nil
}
