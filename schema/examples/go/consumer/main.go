// Command consumer is an example of a consumer: it prints a line for each task
// that ended and, if it is told a folder, downloads the results into it. Beside a
// running relay: go run ./schema/examples/go/consumer
//
// The consumer is durable: the broker remembers what has been acknowledged. A
// second run goes on where the first ended, and several at once share the work.
// An event is acknowledged after the work is done, so it can come again: here a
// second download overwrites the first. What fails for the time being is tried
// again, later and later; what cannot be done goes to a stream of dead letters,
// with the reason. ../../../DELIVERY.md says why each of these is needed.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/schema"
)

// The stream of dead letters, and the first token of its subjects.
const (
	deadStream = "DEAD_LETTERS"
	deadPrefix = "dead"
)

const (
	// brokerTimeout is how long the broker may take to confirm something.
	brokerTimeout = 10 * time.Second
	// workTimeout is how long one try may take. Without it, a server that never
	// answers would hold an event for ever.
	workTimeout = 5 * time.Minute
)

type consumer struct {
	js      jetstream.JetStream
	durable string
	dir     string
	tries   uint64
	backoff time.Duration
	ackWait time.Duration
}

func main() {
	var c consumer
	// nats.DefaultURL is where the relay's embedded broker is, too.
	server := flag.String("server", cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), "the broker; NATS_URL is the default")
	count := flag.Int("count", 0, "stop after so many events; 0 means when interrupted")
	flag.StringVar(&c.durable, "durable", "example", "name under which the broker remembers this consumer")
	flag.StringVar(&c.dir, "dir", "", "download results into this folder; without it they are only printed")
	flag.Uint64Var(&c.tries, "tries", 5, "how often to try before an event becomes a dead letter")
	flag.DurationVar(&c.backoff, "backoff", time.Second, "wait so long before the second try, and twice as long before each further one")
	flag.DurationVar(&c.ackWait, "ack-wait", 30*time.Second, "after so long without a word from this program, the broker delivers an event again")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("%q is no flag: -h shows which there are", flag.Arg(0))
	}
	// A folder that cannot be written to is no event's fault, and is seen at once.
	if c.dir != "" {
		if err := os.MkdirAll(c.dir, 0o755); err != nil {
			log.Fatal(err)
		}
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := c.run(ctx, *server, *count); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

func (c *consumer) run(ctx context.Context, server string, count int) error {
	nc, err := nats.Connect(server, nats.MaxReconnects(-1)) // unless told so it gives up after 60 tries
	if err != nil {
		return fmt.Errorf("connecting to %s: %w; is the relay running?", server, err)
	}
	defer nc.Close()
	if c.js, err = jetstream.New(nc); err != nil {
		return err
	}
	if _, err := c.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: deadStream, Subjects: []string{deadPrefix + ".>"}}); err != nil {
		return fmt.Errorf("the stream %s: %w", deadStream, err)
	}
	events, err := c.js.CreateOrUpdateConsumer(ctx, schema.DefaultStream, jetstream.ConsumerConfig{
		Durable:       c.durable,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       c.ackWait,
		FilterSubject: schema.TaskSubjects(schema.DefaultPrefix), // or TaskSubject, for one of the states
		// No MaxDeliver: at that the broker would give up without a dead letter.
		// handle counts instead.
	})
	if err != nil {
		return fmt.Errorf("the consumer %s of the stream %s: %w", c.durable, schema.DefaultStream, err)
	}
	// One at a time: what waits in this program while another is worked on would
	// be taken for lost after ack-wait, and delivered to somebody else too.
	messages, err := events.Messages(jetstream.PullMaxMessages(1), jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for done := 0; count == 0 || done < count; {
		msg, err := messages.Next(jetstream.NextContext(ctx)) // a signal ends the waiting,
		if err != nil {
			return err
		}
		if c.handle(context.WithoutCancel(ctx), msg) { // but not the work
			done++
		}
	}
	return nil
}

// handle works on a message and tells the broker how that ended. It reports
// whether the message is dealt with, and will not come again.
func (c *consumer) handle(ctx context.Context, msg jetstream.Msg) bool {
	meta, err := msg.Metadata()
	if err != nil {
		log.Print(err)
		return false
	}
	// More deliveries than tries: the last one ended without a word, so perhaps
	// this very event makes the program crash.
	if meta.NumDelivered > c.tries {
		return c.bury(ctx, msg, meta, fmt.Sprintf("given up after %d tries that ended without a word", meta.NumDelivered-1))
	}
	err = c.keepAlive(msg, func() error {
		ctx, cancel := context.WithTimeout(ctx, workTimeout)
		defer cancel()
		return c.work(ctx, msg)
	})
	var permanent permanentError
	switch {
	case err == nil:
		// DoubleAck waits until the broker knows. If it does not, the event comes again.
		return c.settled(ctx, msg.DoubleAck)
	case errors.As(err, &permanent):
		return c.bury(ctx, msg, meta, err.Error())
	case meta.NumDelivered == c.tries:
		return c.bury(ctx, msg, meta, fmt.Sprintf("given up after %d tries: %v", c.tries, err))
	}
	delay := min(c.backoff<<min(meta.NumDelivered-1, 16), time.Hour)
	log.Printf("try %d of %d failed, the next is in %v: %v", meta.NumDelivered, c.tries, delay, err)
	if err := msg.NakWithDelay(delay); err != nil {
		log.Print(err) // then it comes again after ack-wait
	}
	return false
}

// permanentError is one that another try would not mend.
type permanentError struct{ error }

// work is what this program is for. It may be called again for an event that it
// has dealt with, and has to bear that.
func (c *consumer) work(ctx context.Context, msg jetstream.Msg) error {
	event, err := schema.DecodeMessage(msg.Headers(), msg.Data())
	if err != nil {
		return permanentError{err} // somebody else published this
	}
	task, err := event.Task()
	if err != nil {
		return permanentError{err}
	}
	if c.dir != "" {
		for i, address := range task.ResultURLs {
			// The id has no slash, so it can be in the name of a file.
			if err := download(ctx, address, filepath.Join(c.dir, fmt.Sprintf("%s-%d", task.ID, i))); err != nil {
				return err
			}
		}
	}
	fmt.Println(task.ID, task.State, event.Model(), task.FailCode+strings.Join(task.ResultURLs, " "))
	return nil
}

// download fetches a file. It is whole or not there at all: a second try, or a
// second instance, begins anew and puts the same in its place.
func download(ctx context.Context, address, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return permanentError{err}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusOK:
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusRequestTimeout:
		return fmt.Errorf("%s answered %s", address, res.Status)
	default: // gone, for example: results expire
		return permanentError{fmt.Errorf("%s answered %s", address, res.Status)}
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".download-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // no longer there if all went well
	_, err = io.Copy(file, res.Body)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// keepAlive tells the broker, as long as the work lasts, that somebody is on it.
func (c *consumer) keepAlive(msg jetstream.Msg, work func() error) error {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(c.ackWait / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = msg.InProgress() // the next one may get through
			case <-done:
				return
			}
		}
	}()
	defer func() {
		close(done)
		<-stopped
	}()
	return work()
}

// bury stores a message as a dead letter and ends its delivery, in this order:
// a program that dies in between does both again, and the letter's id makes it one.
func (c *consumer) bury(ctx context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata, reason string) bool {
	reason = strings.NewReplacer("\r", " ", "\n", " ").Replace(reason)
	letter := nats.NewMsg(deadPrefix + "." + c.durable)
	for name, values := range msg.Headers() {
		letter.Header[name] = values
	}
	letter.Header.Set("Dead-Letter-Reason", reason)
	letter.Header.Set("Dead-Letter-Subject", msg.Subject())
	letter.Header.Set("Dead-Letter-Sequence", fmt.Sprint(meta.Sequence.Stream))
	letter.Data = msg.Data()
	id := fmt.Sprintf("%s.%s.%d", meta.Stream, c.durable, meta.Sequence.Stream)
	store := func(ctx context.Context) error {
		_, err := c.js.PublishMsg(ctx, letter, jetstream.WithMsgID(id))
		return err
	}
	if !c.settled(ctx, store) {
		return false
	}
	log.Printf("dead letter of %s, sequence %d: %s", msg.Subject(), meta.Sequence.Stream, reason)
	return c.settled(ctx, func(context.Context) error { return msg.TermWithReason(reason) })
}

// settled tells the broker something. What it does not hear, it makes up for by
// delivering the event again.
func (c *consumer) settled(ctx context.Context, tell func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	if err := tell(ctx); err != nil {
		log.Printf("the broker does not confirm, so the event will come again: %v", err)
		return false
	}
	return true
}
