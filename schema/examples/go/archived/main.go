// Command archived is an example of a consumer of what an archive tells: it prints a line for
// each file that is safe there, and one for each that is not and will not be. Beside a
// running relay and apixo-relay archive: go run ./schema/examples/go/archived
//
// The addresses in a task's event are dead after a day; what is in the archive stays. So
// a service that shows results for longer keeps what it reads here: the location, and the
// digest by which a file is the one that was stored.
//
// An event can come again, with the same id. What it says of a task then is the same: a
// row under the task's id, set to it, is the same done twice.
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
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/schema"
)

func main() {
	server := flag.String("server", cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), "the broker; NATS_URL is the default")
	durable := flag.String("durable", "archived", "name under which the broker remembers this consumer")
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
	nc, err := nats.Connect(server, nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connecting to %s: %w; is the relay running?", server, err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, schema.DefaultArchive, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
		FilterSubject: schema.ArchiveSubjects(schema.DefaultPrefix), // or ArchiveFailedSubject, for what is lost
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("there is no stream %s: apixo-relay archive makes it when it begins", schema.DefaultArchive)
	}
	if err != nil {
		return fmt.Errorf("the consumer %s of the stream %s: %w", durable, schema.DefaultArchive, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1), jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for done := 0; count == 0 || done < count; done++ {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if err := handle(ctx, msg); err != nil {
			return err // it comes again; the example consumer shows how to go on
		}
	}
	return nil
}

func handle(ctx context.Context, msg jetstream.Msg) error {
	event, err := schema.DecodeMessage(msg.Headers(), msg.Data())
	if err != nil {
		return msg.TermWithReason(err.Error()) // the example consumer keeps such messages
	}
	task, err := event.Archived()
	if err != nil {
		return msg.TermWithReason(err.Error())
	}
	for _, file := range task.Files {
		fmt.Println(task.ID, "stored", file.Location, file.MediaType, file.Bytes)
	}
	for _, failure := range task.Failures {
		// Quoted, since strangers may have chosen each character of an address.
		fmt.Printf("%s lost %s %q %q\n", task.ID, failure.Reason, failure.URL, failure.Detail)
	}
	if len(task.Files)+len(task.Failures) == 0 {
		fmt.Println(task.ID, "empty", event.Reason())
	}
	return msg.DoubleAck(ctx)
}
