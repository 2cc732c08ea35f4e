// Command producer is an example of a producer: it announces tasks that were submitted to
// APIXO, so that the relay looks after them until each has ended as an event. Beside a
// relay that runs with RELAY_EXPECT=true:
//
//	go run ./schema/examples/go/producer -model nano-banana task_abc123xyz
//
// A service calls announce with the id in APIXO's answer to its request, and again after a
// restart for each task of which it does not know that it has ended: to announce one twice
// changes nothing. ../../../DELIVERY.md says what else there is to know.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/schema"
)

// timeout is how long the broker may take for all tasks together.
const timeout = 30 * time.Second

func main() {
	server := flag.String("server", cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), "the broker; NATS_URL is the default")
	model := flag.String("model", "", "the model that the tasks were submitted to")
	flag.Parse()
	if *model == "" || flag.NArg() == 0 {
		log.Fatal("a model and the ids of tasks are needed: producer -model nano-banana task_abc123xyz")
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := run(ctx, *server, *model, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, server, model string, ids []string) error {
	nc, err := nats.Connect(server)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w; is the relay running?", server, err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	bucket, err := js.KeyValue(ctx, schema.DefaultExpectedBucket)
	if err != nil {
		return fmt.Errorf("the bucket %s: %w; does the relay run with RELAY_EXPECT=true?", schema.DefaultExpectedBucket, err)
	}
	for _, id := range ids {
		isNew, err := announce(ctx, bucket, id, schema.ExpectedTask{Model: model})
		switch {
		case err != nil:
			return fmt.Errorf("announcing the task %s: %w", id, err)
		case isNew:
			fmt.Println(id, "announced")
		default:
			fmt.Println(id, "was announced already")
		}
	}
	return nil
}

// announce reports whether the task was not in the bucket yet. After an error it may be
// there or not: announce it again.
func announce(ctx context.Context, bucket jetstream.KeyValue, id string, task schema.ExpectedTask) (bool, error) {
	// What the relay cannot ask for it would put aside, where nobody may look soon.
	if err := cmp.Or(schema.CheckTaskID(id), schema.CheckModel(task.Model)); err != nil {
		return false, err
	}
	value, err := json.Marshal(task)
	if err != nil {
		return false, err
	}
	// Not Put: it writes what is there already, and says nothing of that.
	_, err = bucket.Create(ctx, schema.ExpectedKey(id), value)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil
	}
	return err == nil, err
}
