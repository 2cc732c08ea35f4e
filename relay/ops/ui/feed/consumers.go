package feed

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/apixo-relay/apixo-relay/relay/jsapi"
)

const (
	// maxConsumers is how many consumers are told, and maxFilters how many filters one may
	// have to be told its oldest unread message, for each of which the broker is asked.
	maxConsumers = 200
	maxFilters   = 16
	// maxAsking is how many questions the broker has at once.
	maxAsking = 8
	// consumersAge is for how long an answer is good, and consumersTimeout how long
	// one may take.
	consumersAge     = 2 * time.Second
	consumersTimeout = 5 * time.Second
	// silenceAge is for how long a broker is not asked again that has not answered: it
	// does not answer to a user who may not ask.
	silenceAge = 30 * time.Second
)

// Consumers are those of the stream of events.
type Consumers struct {
	// At is when the broker was asked.
	At time.Time
	// Consumers are at most 200 of them, by name, and More how many others there are.
	Consumers []Consumer
	More      int
	// Readers is how many besides only look at the stream: this page, tail, replay and the
	// like, which have no durable name and acknowledge nothing.
	Readers int
	// Oldest is when the first message of the stream was stored; zero if it is empty.
	Oldest time.Time
	// MaxAge is after how long the stream deletes messages; 0 means never.
	MaxAge time.Duration
}

// Consumer is a consumer of the stream of events.
type Consumer struct {
	Name    string
	Durable bool
	// Paused until PausedUntil.
	Paused      bool
	PausedUntil time.Time
	AckPolicy   jetstream.AckPolicy
	// Filters are the subjects that it reads; none means all.
	Filters []string
	// Pending is its lag: how many messages it has not been sent. AckPending is how many it
	// has been sent and has not acknowledged, Redelivered how many of these more than
	// once. Waiting is how many requests of it wait for messages.
	Pending                          uint64
	AckPending, Redelivered, Waiting int
	// LastDelivered and LastAcked are when that was; zero for never.
	LastDelivered, LastAcked time.Time
	// OldestUnread is when the first message was stored that it has not acknowledged; zero if
	// there is none, or the broker did not tell.
	OldestUnread time.Time
}

// consumerCache has what the broker said a moment ago.
type consumerCache struct {
	asking chan struct{} // has a place for one who asks; it guards what follows
	last   Consumers
	err    error
	at     time.Time
}

func (c *consumerCache) init() { c.asking = make(chan struct{}, 1) }

// Consumers returns the consumers of the stream of events, as they were at most 2 s ago. It
// takes 5 s at most; its error says why the broker does not tell.
func (f *Feed) Consumers(ctx context.Context) (Consumers, error) {
	ctx, cancel := context.WithTimeout(ctx, consumersTimeout)
	defer cancel()
	c := &f.consumers
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return Consumers{}, fmt.Errorf("the broker did not tell in time about the consumers of the stream %s: %w", f.o.Stream, context.Cause(ctx))
	}
	good := consumersAge
	if errors.Is(c.err, context.DeadlineExceeded) && f.o.Conn.IsConnected() {
		good = silenceAge
	}
	if age := f.o.Now().Sub(c.at); age < 0 || age >= good {
		last, err := f.askConsumers(ctx)
		if err != nil && errors.Is(ctx.Err(), context.Canceled) {
			return Consumers{}, err // that of one who has gone
		}
		c.last, c.err, c.at = last, err, f.o.Now()
	}
	last := c.last
	last.Consumers = slices.Clone(last.Consumers)
	return last, c.err
}

// consumerList is a page of the broker's answer about consumers.
type consumerList struct {
	Error     *jetstream.APIError       `json:"error"`
	Total     int                       `json:"total"`
	Consumers []*jetstream.ConsumerInfo `json:"consumers"`
}

func (f *Feed) askConsumers(ctx context.Context) (Consumers, error) {
	stream, err := f.events.ask(ctx)
	if err != nil {
		return Consumers{}, err
	}
	info := stream.CachedInfo()
	told := Consumers{At: f.o.Now(), MaxAge: info.Config.MaxAge}
	if info.State.Msgs > 0 {
		told.Oldest = info.State.FirstTime
	}
	// The client's own way has no bound: one page has 256.
	reply, err := f.o.Conn.RequestWithContext(ctx, jsapi.Prefix(f.o.Domain)+"CONSUMER.LIST."+f.o.Stream, nil)
	if err != nil {
		return Consumers{}, fmt.Errorf("the broker does not tell about the consumers of the stream %s: it is stalled, or does not let this user list them: %w", f.o.Stream, err)
	}
	var list consumerList
	if err := json.Unmarshal(reply.Data, &list); err != nil {
		return Consumers{}, fmt.Errorf("the broker's answer about the consumers of the stream %s cannot be read: %w", f.o.Stream, err)
	}
	if list.Error != nil {
		return Consumers{}, fmt.Errorf("the broker does not tell about the consumers of the stream %s: %w", f.o.Stream, list.Error)
	}
	list.Consumers = slices.DeleteFunc(list.Consumers, func(c *jetstream.ConsumerInfo) bool { return c == nil })
	told.More = max(list.Total-len(list.Consumers), 0)
	list.Consumers = slices.DeleteFunc(list.Consumers, isReader)
	told.Readers = list.Total - told.More - len(list.Consumers)
	slices.SortFunc(list.Consumers, func(a, b *jetstream.ConsumerInfo) int { return cmp.Compare(a.Name, b.Name) })
	if n := len(list.Consumers) - maxConsumers; n > 0 {
		told.More += n
		list.Consumers = list.Consumers[:maxConsumers]
	}
	told.Consumers = make([]Consumer, len(list.Consumers))
	var asking errgroup.Group
	asking.SetLimit(maxAsking)
	for i, c := range list.Consumers {
		told.Consumers[i] = consumerOf(c)
		asking.Go(func() error {
			told.Consumers[i].OldestUnread = f.oldestUnread(ctx, c)
			return nil
		})
	}
	_ = asking.Wait()
	return told, nil
}

// isReader reports whether a consumer only looks at the stream.
func isReader(c *jetstream.ConsumerInfo) bool {
	return c.Config.Durable == "" && c.Config.AckPolicy == jetstream.AckNonePolicy
}

func consumerOf(c *jetstream.ConsumerInfo) Consumer {
	told := Consumer{
		Name: c.Name, Durable: c.Config.Durable != "", Paused: c.Paused, AckPolicy: c.Config.AckPolicy, Filters: filters(c),
		Pending: c.NumPending, AckPending: c.NumAckPending, Redelivered: c.NumRedelivered, Waiting: c.NumWaiting,
	}
	if c.Paused && c.Config.PauseUntil != nil {
		told.PausedUntil = *c.Config.PauseUntil
	}
	if c.Delivered.Last != nil {
		told.LastDelivered = *c.Delivered.Last
	}
	if c.AckFloor.Last != nil {
		told.LastAcked = *c.AckFloor.Last
	}
	return told
}

func filters(c *jetstream.ConsumerInfo) []string {
	if c.Config.FilterSubject != "" {
		return []string{c.Config.FilterSubject}
	}
	return c.Config.FilterSubjects
}

// oldestUnread is when the first message was stored that a consumer has not acknowledged, or
// not been sent where it acknowledges nothing.
func (f *Feed) oldestUnread(ctx context.Context, c *jetstream.ConsumerInfo) (oldest time.Time) {
	if c.NumPending == 0 && c.NumAckPending == 0 {
		return time.Time{}
	}
	read := c.AckFloor.Stream
	if c.Config.AckPolicy == jetstream.AckNonePolicy {
		read = c.Delivered.Stream
	}
	subjects := filters(c)
	if len(subjects) == 0 {
		subjects = []string{">"}
	}
	if len(subjects) > maxFilters {
		return time.Time{}
	}
	for _, subject := range subjects {
		request, err := json.Marshal(nextRequest{Sequence: read + 1, Subject: subject})
		if err != nil {
			return time.Time{}
		}
		reply, err := f.o.Conn.RequestWithContext(ctx, jsapi.MessageSubject(f.o.Domain, f.o.Stream), request)
		if err != nil {
			return time.Time{}
		}
		msg, err := jsapi.ParseMessage(reply.Data)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return time.Time{}
		case oldest.IsZero() || msg.Time.Before(oldest):
			oldest = msg.Time
		}
	}
	return oldest
}

// nextRequest asks for the first message from a sequence on that has a subject.
type nextRequest struct {
	Sequence uint64 `json:"seq"`
	Subject  string `json:"next_by_subj"`
}
