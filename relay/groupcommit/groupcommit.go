// Package groupcommit stores messages in JetStream, singly or many at once.
//
// A broker that fsyncs takes its time for each message, and an atomic batch
// (JetStream's ADR-50) needs little more for many than for one: messages that wait
// at the same time share its cost. Which way is faster is measured while it runs
// (see costs); a message that is alone never waits for company.
//
// A batch is refused as a whole, for instance because one of its messages is a
// duplicate: then each of them is sent singly, and gets its own answer.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// ackTimeout bounds one try: a replica that is not the leader, and a store with
	// an I/O error, never answer.
	ackTimeout = 4 * time.Second
	// maxBatch and maxBatchBytes bound a batch: nats-server takes 1,000 messages
	// (streamDefaultMaxAtomicBatchSize), and what is large gains nothing by company.
	maxBatch      = 1000
	maxBatchBytes = 1 << 20
	// maxOut and maxBytesOut are how many messages, and of what size, may be with the
	// broker and not yet stored: half of what nats-server queues for a stream before
	// it drops messages (10,000, and 128 MiB).
	maxOut      = 5000
	maxBytesOut = 64 << 20
	// recentIDs is how many ids are remembered, at 8 bytes each.
	recentIDs = 8192
)

// Message is what is to be stored.
type Message struct {
	Subject string
	// ID is its Nats-Msg-Id.
	ID string
	// Header is what else its headers are. It is not changed.
	Header map[string][]string
	Data   []byte
	// Single: its stream takes no batches.
	Single bool
}

// Ack is the broker's word that a message is stored.
type Ack struct {
	Stream   string
	Sequence uint64
	// Duplicate: a message with that id was stored already, at that sequence.
	Duplicate bool
	// Note is what observed returned about the acknowledgement.
	Note any
}

// Stored is what the broker has stored by one acknowledgement.
type Stored struct {
	// Sent is when the last of the messages was sent.
	Sent     time.Time
	sendings []*Sending
}

// Len is how many messages there are: more than 1 in a batch.
func (s Stored) Len() int { return len(s.sendings) }

// Headers visits those of the messages. They are not to be changed.
func (s Stored) Headers(yield func(map[string][]string) bool) {
	for _, sending := range s.sendings {
		if !yield(sending.msg.Header) {
			return
		}
	}
}

// NotSentError is that of a message which the broker cannot have stored, since it
// was not sent.
type NotSentError struct{ Err error }

// Error says why.
func (e *NotSentError) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *NotSentError) Unwrap() error { return e.Err }

// Committer sends messages over one connection at a time. All methods may be
// called by many goroutines; none of them waits for the connection.
type Committer struct {
	batches  func() bool
	observed func(Stored) any
	wake     chan struct{}
	seed     maphash.Seed

	mu sync.Mutex
	// conn is the connection, nil while there is none; replies come by inbox, which
	// belongs to the connection inboxOf.
	conn, inboxOf *nats.Conn
	inbox         string
	// singly are sent before waiting, and never in a batch; of waiting, so many can
	// be in one.
	singly, waiting []*Sending
	batchable       int
	flights         map[uint64]*flight
	lastFlight      uint64
	singles         int       // messages on their way singly
	ahead           int       // those of them that were waiting: a batch goes after them
	batch           bool      // there is a batch on its way
	bytes           int       // of all that is on its way
	lastSingle      time.Time // when a message that was sent singly was last acknowledged
	costs           costs
	recent          [recentIDs]uint64 // hashes of ids
}

// New makes a committer. It asks batches whether the stream takes atomic batches
// now, and tells observed what was stored by one acknowledgement, before anybody gets
// that, with what it returns; both must return at once.
func New(batches func() bool, observed func(Stored) any) *Committer {
	return &Committer{
		batches: batches, observed: observed, wake: make(chan struct{}, 1), seed: maphash.MakeSeed(),
		flights: make(map[uint64]*flight),
	}
}

// Sending is a message on its way.
type Sending struct {
	msg   Message
	apart bool // from all batches
	state atomic.Int32
	done  chan outcome // has room for the only one
}

type outcome struct {
	ack Ack
	err error
}

// States of a Sending.
const (
	waiting = iota
	sent
	abandoned // before it was sent
)

// Send sends a message. A repeat of one that may still be on its way goes behind
// that, and apart from all batches, which would be refused for its sake.
func (c *Committer) Send(msg Message) *Sending {
	s := &Sending{msg: msg, apart: msg.Single, done: make(chan outcome, 1)}
	id := maphash.String(c.seed, msg.ID)
	c.mu.Lock()
	if slot := &c.recent[id%recentIDs]; *slot == id {
		s.apart = true
	} else {
		*slot = id
	}
	c.queue(s)
	c.mu.Unlock()
	c.look()
	return s
}

// SendInOrder sends messages that are to be stored in their order. If one of
// them is not sent, those behind it are not sent either.
func (c *Committer) SendInOrder(msgs []Message) []*Sending {
	sendings := make([]*Sending, len(msgs))
	c.mu.Lock()
	for i, msg := range msgs {
		sendings[i] = &Sending{msg: msg, apart: msg.Single, done: make(chan outcome, 1)}
		c.queue(sendings[i])
	}
	c.mu.Unlock()
	c.look()
	return sendings
}

// queue lines up a message. Lock held.
func (c *Committer) queue(s *Sending) {
	switch {
	case !s.apart:
		c.batchable++
		c.waiting = append(c.waiting, s)
	case len(c.waiting) > 0:
		c.waiting = append(c.waiting, s)
	default:
		c.singly = append(c.singly, s)
	}
}

// Wait returns the broker's word, or an error: a *NotSentError, a
// *jetstream.APIError, or another after which the message may be stored or not.
// It must be called once.
func (s *Sending) Wait(ctx context.Context) (Ack, error) {
	select {
	case o := <-s.done:
		return o.ack, o.err
	case <-ctx.Done():
	}
	if s.state.CompareAndSwap(waiting, abandoned) {
		return Ack{}, &NotSentError{fmt.Errorf("the connection to the broker is stalled, or busy with those before it: %w", context.Cause(ctx))}
	}
	return Ack{}, fmt.Errorf("no acknowledgement came: %w", context.Cause(ctx))
}

// Attach gives a connection to send over.
func (c *Committer) Attach(conn *nats.Conn) {
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	c.look()
}

// Lost takes the connection away. What is on its way will not be acknowledged,
// and what waits is not sent.
func (c *Committer) Lost() {
	c.mu.Lock()
	c.conn = nil
	c.mu.Unlock()
	c.giveUp(nats.ErrDisconnected, func(*flight) bool { return true })
}

// Denied ends the waiting for messages to a subject to which this user may not
// publish: the broker says so apart from them, and does not reply. The others of a
// batch are sent again.
func (c *Committer) Denied(subject string, why error) {
	c.mu.Lock()
	var denied []*Sending
	for _, f := range c.flights {
		if !f.has(subject) {
			continue
		}
		c.land(f)
		for _, s := range f.members {
			if s.msg.Subject == subject {
				denied = append(denied, s)
			} else {
				c.again(s)
			}
		}
	}
	c.mu.Unlock()
	failAll(denied, why)
	c.look()
}

var errStopped = errors.New("the relay is shutting down")

// Run sends what it is given, until ctx ends.
func (c *Committer) Run(ctx context.Context) {
	overdue := time.NewTicker(ackTimeout / 16)
	defer overdue.Stop()
	for {
		for c.sendNext() {
		}
		select {
		case <-c.wake:
			// Those who are about to hand over messages come first, and what they bring
			// leaves in the same write. Alone, nobody comes first.
			runtime.Gosched()
		case now := <-overdue.C:
			c.giveUp(errNoAck, func(f *flight) bool { return now.Sub(f.sent) > ackTimeout })
		case <-ctx.Done():
			c.mu.Lock()
			left := c.takeAll()
			c.mu.Unlock()
			failAll(left, &NotSentError{errStopped})
			return
		}
	}
}

// look makes Run look at what there is to do.
func (c *Committer) look() {
	select {
	case c.wake <- struct{}{}:
	default: // it is about to
	}
}
