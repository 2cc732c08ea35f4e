package streamreader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/jsapi"
)

const (
	// scanBatch and scanBytes are how much one request of a scan asks for. Another one is
	// made when half of it has come, so that the broker always has something to send, and
	// less than that waits for which it closes the connection.
	scanBatch = 4000
	scanBytes = 2 << 20
	// scanSilence is after how long without an answer a scan makes another consumer, and
	// maxSilent after how many of them in a row it gives up.
	scanSilence = 3 * time.Second
	maxSilent   = 3
)

// Head is a message without its payload.
type Head struct {
	// Sequence and Stored are its place in the stream and when it got there.
	Sequence uint64
	Stored   time.Time
	Subject  string
	// ID is the message id under which it was published; empty without one.
	ID string
	// Header is all of its headers.
	Header nats.Header
}

// Scan calls each for every message of a selection, in order: [Read] for those who need a great
// many messages, no payload, and twice the speed. FromSeq and ToSeq of the selection are
// its bounds, Since, Until and Follow mean nothing. What is stored meanwhile may be read or not.
//
// Its error is that of each, unchanged; the cause of ctx's end; or why the stream cannot be
// read, about 10 s after the broker has gone silent.
func Scan(ctx context.Context, conn *nats.Conn, s Selection, each func(Head) error) error {
	js, err := jsapi.New(conn, s.Domain)
	if err != nil {
		return fmt.Errorf("JetStream cannot be used: %w", err)
	}
	c := scan{ctx: ctx, conn: conn, js: js, s: s, each: each, next: max(s.FromSeq, 1)}
	for silent := 0; ; {
		before := c.next
		err := c.run()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !errors.Is(err, errScanLost):
			return err
		case c.next > before:
			silent = 0
		default:
			if silent++; silent == maxSilent {
				return fmt.Errorf("reading the stream %s ended: the broker sends nothing more of it: it is away or stalled, or does not let this user fetch from a consumer", s.Stream)
			}
		}
	}
}

// errScanLost: go on by another consumer, since messages were lost or nothing comes.
var errScanLost = errors.New("messages were lost")

// scan reads a selection by pull consumers. The client's own way of reading from one takes more
// than twice as much time for each message.
type scan struct {
	ctx  context.Context
	conn *nats.Conn
	js   jetstream.JetStream
	s    Selection
	each func(Head) error
	// next is the sequence to go on at.
	next uint64
}

// run reads by one consumer.
func (c *scan) run() error {
	if c.s.ToSeq > 0 && c.next > c.s.ToSeq {
		return nil
	}
	consumer, err := c.js.CreateConsumer(c.ctx, c.s.Stream, jetstream.ConsumerConfig{
		FilterSubjects: c.s.Subjects, HeadersOnly: true, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: c.next,
		AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: cmp.Or(c.s.inactiveThreshold, inactiveThreshold), MemoryStorage: true, Replicas: 1,
	})
	switch {
	case err != nil && !c.conn.IsConnected():
		c.awaitConnection()
		return errScanLost
	case err != nil:
		return Explain(c.s, err)
	}
	name := consumer.CachedInfo().Name
	defer deleteConsumer(c.conn, c.s, name)
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	b := &scanBatches{scan: c, ended: make(chan error, 1), inbox: c.conn.NewInbox(), fetch: jsapi.Prefix(c.s.Domain) + "CONSUMER.MSG.NEXT." + c.s.Stream + "." + name}
	// By a channel of messages it would take half as much time again.
	sub, err := c.conn.Subscribe(b.inbox, b.take)
	if err != nil {
		return fmt.Errorf("the stream %s cannot be read: %w", c.s.Stream, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	return b.receive()
}

// awaitConnection waits for as long as the broker may be silent.
func (c *scan) awaitConnection() {
	connected := c.conn.StatusChanged(nats.CONNECTED)
	defer c.conn.RemoveStatusListener(connected)
	if c.conn.IsConnected() {
		return
	}
	timer := time.NewTimer(scanSilence)
	defer timer.Stop()
	select {
	case <-connected:
	case <-timer.C:
	case <-c.ctx.Done():
	}
}

// scanBatches are what one consumer sends.
type scanBatches struct {
	*scan
	fetch, inbox string // subjects
	ended        chan error

	mu   sync.Mutex
	over bool // nobody waits any more
	// asked is how many messages were asked for and have not come.
	asked int
	// received is the number of the last message that the consumer has sent.
	received uint64
}

// receive waits until all has come, and returns when each is not called any more.
func (b *scanBatches) receive() error {
	defer func() {
		b.mu.Lock()
		b.over = true
		b.mu.Unlock()
	}()
	b.mu.Lock()
	err := b.ask()
	b.mu.Unlock()
	if err != nil {
		return err
	}
	silence := time.NewTicker(scanSilence)
	defer silence.Stop()
	for seen := uint64(0); ; {
		select {
		case err := <-b.ended:
			return err
		case <-b.ctx.Done():
			return context.Cause(b.ctx)
		case <-silence.C:
			b.mu.Lock()
			silent := seen == b.received
			seen = b.received
			b.mu.Unlock()
			if silent {
				return errScanLost
			}
		}
	}
}

// ask makes a request where half of what was asked for has come.
func (b *scanBatches) ask() error {
	if b.asked > scanBatch/2 {
		return nil
	}
	request := fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d}`, scanBatch, scanBytes, time.Minute)
	if err := b.conn.PublishRequest(b.fetch, b.inbox, request); err != nil {
		return errScanLost
	}
	b.asked += scanBatch
	return nil
}

// take deals with one message.
func (b *scanBatches) take(msg *nats.Msg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return
	}
	if ended, err := b.deliver(msg); ended || err != nil {
		b.over = true
		b.ended <- err
	}
}

func (b *scanBatches) deliver(msg *nats.Msg) (ended bool, err error) {
	if status := msg.Header.Get("Status"); status != "" && msg.Reply == "" {
		// A request has ended before it had all that it asked for.
		left, err := strconv.Atoi(msg.Header.Get("Nats-Pending-Messages"))
		if err != nil || left == 0 {
			return false, errScanLost // the consumer was deleted, or there is no such one
		}
		b.asked -= left
		return false, b.ask()
	}
	meta, err := msg.Metadata()
	if err != nil || meta.Sequence.Consumer != b.received+1 {
		return false, errScanLost
	}
	b.received++
	b.asked--
	if b.s.ToSeq > 0 && meta.Sequence.Stream > b.s.ToSeq {
		return true, nil
	}
	head := Head{Sequence: meta.Sequence.Stream, Stored: meta.Timestamp, Subject: msg.Subject, Header: msg.Header, ID: msg.Header.Get(jetstream.MsgIDHeader)}
	if err := b.each(head); err != nil {
		return true, err
	}
	b.next = head.Sequence + 1
	if meta.NumPending == 0 || head.Sequence == b.s.ToSeq {
		return true, nil
	}
	return false, b.ask()
}
