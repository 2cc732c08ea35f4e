// Package expect announces tasks to the relay that looks after them, and shows what is
// outstanding.
//
// It must not know flags or exit codes, nor how tasks are looked after.
package expect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/expected"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/ops/tasklist"
	"github.com/apixo-relay/apixo-relay/relay/text"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// concurrency is how many tasks are announced at once.
	concurrency = 16
	// answerTimeout bounds one request to the broker.
	answerTimeout = 10 * time.Second
)

// What can become of a task.
const (
	Announced = "announced" // the bucket has it now
	Already   = "already"   // it had it, and is told the same
)

// Result is what became of one task.
type Result struct {
	TaskID string `json:"taskId"`
	Model  string `json:"model"`
	Result string `json:"result"`
}

// Options say what to announce.
type Options struct {
	Tasks *tasklist.List
	// Attributes are those of the callback URL, for all of them.
	Attributes map[string]string
	// OnMade is called if the bucket had to be made, and so no relay has looked after tasks
	// here. It may be nil.
	OnMade func(bucket string)
	// OnResult is called for each task that is in the bucket, not by two goroutines at once.
	// Its error ends the run.
	OnResult func(Result) error
}

// Client announces and lists tasks. Many goroutines may use it at once.
type Client struct {
	conn   *nats.Conn
	cfg    config.Config
	denied *broker.PermissionWatcher
}

// New returns a client over a connection, which is the caller's.
func New(conn *nats.Conn, cfg config.Config) *Client {
	return &Client{conn: conn, cfg: cfg, denied: broker.WatchPermissions(conn)}
}

// Run announces tasks. Its error is the first one; the tasks that were told to OnResult are
// announced all the same, and announcing them again is harmless.
func (c *Client) Run(ctx context.Context, o Options) error {
	b, err := c.open(ctx, c.cfg)
	if err != nil {
		return err
	}
	if b.Made && o.OnMade != nil {
		o.OnMade(c.cfg.Expect.Bucket)
	}
	var mu sync.Mutex
	workers, running := errgroup.WithContext(ctx)
	workers.SetLimit(concurrency)
	for i := range o.Tasks.Len() {
		if running.Err() != nil {
			break
		}
		workers.Go(func() error {
			t := o.Tasks.At(i)
			asking, stop := c.denied.Guard(running, "$KV."+c.cfg.Expect.Bucket+"."+schema.ExpectedKey(t.ID))
			defer stop(nil)
			asking, cancel := context.WithTimeout(asking, answerTimeout)
			defer cancel()
			_, already, err := b.Announce(asking, t.ID, schema.ExpectedTask{Model: t.Model, Attributes: o.Attributes})
			if err != nil {
				return fmt.Errorf("%s is not announced: %w", t.ID, inWords(asking, err))
			}
			result := Result{TaskID: t.ID, Model: t.Model, Result: Announced}
			if already {
				result.Result = Already
			}
			mu.Lock()
			defer mu.Unlock()
			return o.OnResult(result)
		})
	}
	if err := workers.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("stopped before the end; run it again, and what is announced already stays so")
	}
	return nil
}

// open opens the bucket within some seconds.
func (c *Client) open(ctx context.Context, cfg config.Config) (*expected.Bucket, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	js, err := jsapi.New(c.conn, cfg.Stream.Domain)
	if err != nil {
		return nil, err
	}
	ctx, stop := c.denied.Guard(ctx, jsapi.Prefix(cfg.Stream.Domain)+"STREAM.INFO."+expected.StreamName(cfg.Expect.Bucket))
	defer stop(nil)
	b, err := expected.OpenBucket(ctx, js, cfg, nil)
	if err != nil {
		return nil, inWords(ctx, err)
	}
	return b, nil
}

// inWords returns the cause of an error that says less than that of its context's end.
func inWords(ctx context.Context, err error) error {
	if cause, ok := errors.AsType[*broker.PermissionError](context.Cause(ctx)); ok {
		return cause
	}
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: is JetStream enabled for this account, and has the bucket's stream a leader?", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the broker did not answer within %s", answerTimeout)
	}
	return err
}

// Task is an outstanding one.
type Task struct {
	TaskID     string            `json:"taskId"`
	Model      string            `json:"model,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Announced  time.Time         `json:"announced"`
	Asked      int               `json:"asked"`
	// Next is when it is asked for next.
	Next       time.Time `json:"next,omitzero"`
	LastAnswer string    `json:"lastAnswer,omitempty"`
	// Problem is why the announcement cannot be used; the relay quarantines it.
	Problem string `json:"problem,omitempty"`
}

// List returns what is outstanding, first what is asked for next.
func (c *Client) List(ctx context.Context) ([]Task, error) {
	cfg := c.cfg
	cfg.Stream.Policy = config.PolicyRequire // to look makes nothing
	b, err := c.open(ctx, cfg)
	if errors.Is(err, expected.ErrBucketMissing) {
		return nil, fmt.Errorf("there is no bucket %s: the relay makes it when it starts with RELAY_EXPECT=true, and 'apixo-relay expect ID' does", cfg.Expect.Bucket)
	} else if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	outstanding, err := b.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("the bucket %s cannot be read: %w", cfg.Expect.Bucket, inWords(ctx, err))
	}
	tasks := make([]Task, 0, len(outstanding))
	for _, o := range outstanding {
		tasks = append(tasks, taskOf(o, cfg))
	}
	slices.SortStableFunc(tasks, func(a, b Task) int { return a.Next.Compare(b.Next) })
	return tasks, nil
}

// Get returns one task that is outstanding; nil if it is not, or nothing is announced here.
func (c *Client) Get(ctx context.Context, id string) (*Task, error) {
	cfg := c.cfg
	cfg.Stream.Policy = config.PolicyRequire // to look makes nothing
	b, err := c.open(ctx, cfg)
	if errors.Is(err, expected.ErrBucketMissing) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	found, err := b.Get(ctx, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("the bucket %s cannot be read: %w", cfg.Expect.Bucket, inWords(ctx, err))
	}
	t := taskOf(found, cfg)
	return &t, nil
}

func taskOf(o expected.Outstanding, cfg config.Config) Task {
	t := Task{TaskID: o.ID, Model: o.Model, Attributes: o.Attributes, Announced: o.Announced.UTC(), Asked: o.Asked, Next: o.Next, LastAnswer: o.LastAnswer}
	if o.Err != nil {
		t.Problem = o.Err.Error()
	} else if t.Next.IsZero() {
		t.Next = o.Announced.Add(cfg.Expect.After).UTC()
	}
	return t
}

// maxColumn bounds a column: who has longer names does without alignment.
const maxColumn = 40

// WriteText writes what is outstanding for a person.
func WriteText(w io.Writer, tasks []Task, now time.Time, color bool) error {
	id, model := len("TASK"), len("MODEL")
	for _, t := range tasks {
		id, model = max(id, min(len(t.TaskID), maxColumn)), max(model, min(len(t.Model), maxColumn))
	}
	var b strings.Builder
	line := func(cells ...string) string {
		return strings.TrimRight(fmt.Sprintf("%-*s  %-*s  %-12s  %5s  %-10s  %s", id, cells[0], model, cells[1], cells[2], cells[3], cells[4], cells[5]), " ") + "\n"
	}
	if len(tasks) > 0 {
		b.WriteString(text.Paint(color, text.Faint, strings.TrimSuffix(line("TASK", "MODEL", "ANNOUNCED", "ASKED", "NEXT", "LAST ANSWER"), "\n")) + "\n")
	}
	for _, t := range tasks {
		next := "now"
		if wait := t.Next.Sub(now); wait > 0 {
			next = "in " + age(wait)
		}
		last := text.Line(t.LastAnswer)
		if t.Problem != "" {
			next, last = "-", text.Paint(color, text.Red, text.Line(t.Problem))
		}
		b.WriteString(line(text.Line(t.TaskID), text.Line(t.Model), age(now.Sub(t.Announced))+" ago", text.Count(t.Asked), next, last))
	}
	fmt.Fprintf(&b, "%s outstanding\n", text.Count(len(tasks)))
	_, err := io.WriteString(w, b.String())
	return err
}

// age writes a time as people do: to the second, and from an hour on to the minute.
func age(d time.Duration) string {
	unit := time.Second
	if d >= time.Hour {
		unit = time.Minute
	}
	s := max(d, 0).Round(unit).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = strings.TrimSuffix(s, zero[1:])
		}
	}
	return s
}
