// Command idempotent is an example of a consumer with one effect for each task,
// however often its event comes. Beside a running relay:
// go run ./schema/examples/go/idempotent
//
// The effect is a message in a stream of this program's own, with a subject for
// each task. It is published with the condition that nothing was ever published
// there, which the broker checks and stores in one step. That holds for as long
// as the stream keeps its messages, not only in a duplicate window; for several
// instances at once; and when an instance dies at any point.
//
// It is exactly once for what is in the stream. An effect somewhere else, such as
// an e-mail, cannot be part of that step: let another consumer make it from this
// stream, at least once. And where the effect is a row in a database, its unique
// key is the better place: insert the row under the task's id in the transaction
// of all that belongs to it, and take "exists already" for done.
package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
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

// The stream of effects, and the first token of its subjects.
const (
	effectStream = "EFFECTS"
	effectPrefix = "effect"
)

func main() {
	server := flag.String("server", cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), "the broker; NATS_URL is the default")
	durable := flag.String("durable", "idempotent", "name under which the broker remembers this consumer")
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
	// No limits: what the stream forgets could be done again.
	_, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: effectStream, Subjects: []string{effectPrefix + ".*"}, DenyDelete: true, DenyPurge: true,
	})
	if err != nil {
		return fmt.Errorf("the stream %s: %w", effectStream, err)
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, schema.DefaultStream, jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
		FilterSubject: schema.TaskSubject(schema.DefaultPrefix, schema.StateSuccess),
	})
	if err != nil {
		return fmt.Errorf("the consumer %s of the stream %s: %w", durable, schema.DefaultStream, err)
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
		if err := handle(ctx, js, msg); err != nil {
			return err // it comes again; the example consumer shows how to go on
		}
	}
	return nil
}

func handle(ctx context.Context, js jetstream.JetStream, msg jetstream.Msg) error {
	event, err := schema.DecodeMessage(msg.Headers(), msg.Data())
	if err != nil {
		return msg.TermWithReason(err.Error()) // the example consumer keeps such messages
	}
	task, err := event.Task()
	if err != nil {
		return msg.TermWithReason(err.Error())
	}
	first, err := once(ctx, js, task)
	if err != nil {
		return fmt.Errorf("the effect of %s: %w", task.ID, err)
	}
	if first {
		fmt.Println(task.ID, "done")
	} else {
		fmt.Println(task.ID, "was done already")
	}
	return msg.DoubleAck(ctx)
}

// once makes the effect of a task, and reports whether it was not there yet.
func once(ctx context.Context, js jetstream.JetStream, task schema.Task) (bool, error) {
	effect, err := json.Marshal(map[string]any{"taskId": task.ID, "images": len(task.ResultURLs), "costMs": task.CostTime.Milliseconds()})
	if err != nil {
		return false, err
	}
	// An id may have dots, which would be other tokens of the subject: encoded it
	// is one token, and no two ids have the same.
	subject := effectPrefix + "." + base64.RawURLEncoding.EncodeToString([]byte(task.ID))
	_, err = js.Publish(ctx, subject, effect, jetstream.WithExpectLastSequencePerSubject(0))
	var refused *jetstream.APIError
	if errors.As(err, &refused) {
		switch refused.ErrorCode {
		// Two codes for one thing: streams with replicas have one of their own.
		case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
			return false, nil
		}
	}
	// Where the answer got lost the effect may be there: the next delivery tells.
	return err == nil, err
}
