package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/jserr"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/retry"
)

const (
	ackTimeout   = 5 * time.Second
	retryTimeout = 30 * time.Second
	// maxWait bounds the time between two attempts, so that a broker that is back gets
	// the rest soon, and RetryTimeout is kept.
	maxWait = 2 * time.Second
)

// NATSOptions say where events are published.
type NATSOptions struct {
	// Domain is the JetStream domain whose streams are looked at; empty means that of
	// the server that is connected to.
	Domain string
	// Subject is one literal subject, for all of them.
	Subject string
	// Prefix is that of the relay's subjects, and Own are its streams: what lies in
	// them is refused.
	Prefix string
	Own    []string
	// Concurrency is that of the replay.
	Concurrency int
	// AckTimeout is how long an acknowledgement may take before an event is published
	// again, with the same id; 0 means 5 seconds. RetryTimeout is how long a broker that
	// takes nothing is waited for; 0 means 30 seconds.
	AckTimeout, RetryTimeout time.Duration
	// Backoff returns how long to wait between the attempts of one delivery; nil means
	// [httpclient.Backoff].
	Backoff func() backoff.BackOff
	// Denied tells of subjects that this user may not publish to. Who makes many replays over
	// one connection watches it once; nil means a watcher of this replay's own.
	Denied *broker.PermissionWatcher
}

// NATS publishes each message to another subject, in order, as it is stored. If a
// stream takes the subject it is delivered with that stream's acknowledgement, and
// one that the stream calls a duplicate is skipped. The notice says what there is to
// know if none does; it is empty otherwise.
//
// The error is a *SubjectError if the subject cannot be used.
func NATS(ctx context.Context, conn *nats.Conn, o NATSOptions) (t Target, notice string, err error) {
	o.AckTimeout, o.RetryTimeout = cmp.Or(o.AckTimeout, ackTimeout), cmp.Or(o.RetryTimeout, retryTimeout)
	if o.Backoff == nil {
		o.Backoff = httpclient.Backoff
	}
	if o.Denied == nil {
		o.Denied = broker.WatchPermissions(conn)
	}
	js, err := jsapi.New(conn, o.Domain, jetstream.WithPublishAsyncTimeout(o.AckTimeout), jetstream.WithPublishAsyncMaxPending(o.Concurrency+1))
	if err != nil {
		return nil, "", fmt.Errorf("JetStream cannot be used: %w", err)
	}
	stream, err := o.check(ctx, js)
	if err != nil {
		return nil, "", err
	}
	p := &natsTarget{o: o, conn: conn, js: js, queue: make(chan *pendingPublish, o.Concurrency), generation: conn.Stats().Reconnects, permissions: o.Denied}
	switch {
	case stream == nil:
		p.plain, notice = true, fmt.Sprintf("no stream takes the subject %s: only those who listen to it now get the events", o.Subject)
	case stream.NoAck:
		p.plain, notice = true, fmt.Sprintf("the stream %s acknowledges nothing (no_ack): nobody can tell whether it stores the events", stream.Name)
	}
	p.collecting.Go(p.collect)
	return p, notice, nil
}

// natsTarget keeps the order by publishing in one goroutine, and by publishing
// again, while that one waits, what has failed and all that came after it.
type natsTarget struct {
	o     NATSOptions
	conn  *nats.Conn
	js    jetstream.JetStream
	plain bool // without acknowledgements

	permissions *broker.PermissionWatcher

	queue      chan *pendingPublish // published, and to be acknowledged in this order
	collecting sync.WaitGroup
	open       sync.WaitGroup // publications that are not done
	generation uint64         // of the connection, as deliver saw it

	mu      sync.Mutex    // held while something is published
	sent    atomic.Uint64 // how many were published
	flushed uint64        // how many of them had left with the last flush
	gaveUp  bool          // a broker that said nothing after the end is not asked for each of them
	flushOn uint64        // the generation of the connection that was flushed
}

// pendingPublish is a message that was published.
type pendingPublish struct {
	ctx  context.Context
	msg  *nats.Msg
	done func(result)

	future     jetstream.PubAckFuture
	denied     <-chan struct{}
	err        error  // if it could not be published
	number     uint64 // of all that were published
	generation uint64 // of the connection
}

func (t *natsTarget) name() string { return "nats:" + t.o.Subject }

func (t *natsTarget) close() {
	close(t.queue)
	t.collecting.Wait()
}

// prepare leaves out the headers that steer a server: they were for the stream that
// the message is in, and could refuse it elsewhere, or empty the other stream. The
// id stays, by which that one knows what it has; it is the task's again where the event
// was stored anew under another one. Who recovered the event is as true there as here.
//
// What that stream calls a duplicate is believed, though its copy may be gone: it is
// another's, who may have consumed it, and this user need not be allowed to read it.
func (t *natsTarget) prepare(m streamreader.Message) (outgoing, error) {
	header := make(map[string][]string, len(m.Header))
	for name, values := range m.Header {
		if name == jetstream.MsgIDHeader || !strings.HasPrefix(strings.ToLower(name), "nats-") {
			header[name] = values
		}
	}
	if id := m.Header.Get(jetstream.MsgIDHeader); id != "" {
		header[jetstream.MsgIDHeader] = []string{event.TaskIDOf(id)}
	}
	return outgoing{header: header, body: m.Data}, nil
}

func (t *natsTarget) deliver(ctx context.Context, p outgoing, done func(result)) {
	// On a new connection nothing may overtake what was lost with the old one.
	if now := t.conn.Stats().Reconnects; now != t.generation {
		t.open.Wait()
		t.generation = now
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil {
		done(result{}.givenUp(nil))
		return
	}
	out := &pendingPublish{ctx: ctx, done: done, msg: &nats.Msg{Subject: t.o.Subject, Header: p.header, Data: p.body}}
	t.publish(out)
	t.open.Add(1)
	t.queue <- out // its buffer holds as many as may be in flight
}

func (t *natsTarget) publish(p *pendingPublish) {
	p.generation = t.conn.Stats().Reconnects
	if t.plain {
		p.err = t.conn.PublishMsg(p.msg)
	} else {
		p.denied = t.permissions.Watch(t.o.Subject)
		// Its own retries would let others overtake.
		p.future, p.err = t.js.PublishMsgAsync(p.msg, jetstream.WithRetryAttempts(0))
	}
	p.number = t.sent.Add(1)
}

// collect waits for the acknowledgements, in order.
func (t *natsTarget) collect() {
	repairing := false
	for p := range t.queue {
		duplicate, err := t.acknowledged(p)
		if t.isTransient(err) && !repairing {
			repairing = true
			t.mu.Lock()
		}
		p.done(t.settled(p, duplicate, err))
		t.open.Done()
		if repairing && len(t.queue) == 0 {
			repairing = false
			t.mu.Unlock()
		}
	}
}

// settled is what came of a publication, after as many more as make sense.
func (t *natsTarget) settled(p *pendingPublish, duplicate bool, err error) result {
	began, r := time.Now(), result{attempts: 1}
	pauses := t.o.Backoff()
	for first := true; t.isTransient(err); first = false {
		r.reason = err.Error()
		if !first && retry.Sleep(p.ctx, min(pauses.NextBackOff(), maxWait)) != nil || p.ctx.Err() != nil {
			return r.givenUp(nil)
		}
		if time.Since(began) > t.o.RetryTimeout {
			if errors.Is(err, nats.ErrReconnectBufExceeded) {
				err = nats.ErrDisconnected // which is what that means where nothing is kept for later
			}
			return r.givenUp(fmt.Errorf("the broker has not taken an event to %s for %v: %w", t.o.Subject, t.o.RetryTimeout, err))
		}
		t.publish(p)
		r.attempts++
		duplicate, err = t.acknowledged(p)
	}
	if denied, ok := errors.AsType[*broker.PermissionError](err); ok {
		return r.givenUp(denied)
	}
	r.outcome, r.reason = Delivered, ""
	switch {
	case err != nil:
		r.outcome, r.reason = Failed, err.Error()
	case duplicate:
		r.outcome = Skipped
	}
	return r
}

// acknowledged waits until a publication is known to have arrived, or not.
func (t *natsTarget) acknowledged(p *pendingPublish) (duplicate bool, err error) {
	switch {
	case p.err != nil:
		return false, p.err
	case t.plain:
		err = t.flush(p)
		// The broker says so before it answers the flush.
		if denied := broker.LastPermissionError(t.conn, t.o.Subject); denied != nil {
			err = denied
		}
		return false, err
	}
	select {
	case ack := <-p.future.Ok():
		return ack.Duplicate, nil
	case err = <-p.future.Err():
		return false, err
	case <-p.denied:
		return false, &broker.PermissionError{Subject: t.o.Subject}
	}
}

// flush makes sure that a publication has reached the broker, and with it all that
// were published before.
func (t *natsTarget) flush(p *pendingPublish) error {
	if t.gaveUp {
		return nats.ErrTimeout
	}
	if p.number > t.flushed {
		sent, generation := t.sent.Load(), t.conn.Stats().Reconnects
		if err := t.conn.FlushTimeout(t.o.AckTimeout); err != nil {
			t.gaveUp = p.ctx.Err() != nil
			return err
		}
		t.flushed, t.flushOn = sent, generation
	}
	if p.generation != t.flushOn || t.flushOn != t.conn.Stats().Reconnects {
		return nats.ErrDisconnected // what it was written to was another connection
	}
	return nil
}

// isTransient tells errors of a broker that is away or busy from those of one that
// refuses.
func (t *natsTarget) isTransient(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return jserr.IsTransient(api.ErrorCode)
	}
	for _, passing := range []error{
		nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrConnectionReconnecting, nats.ErrTimeout,
		nats.ErrConnectionClosed, // as a flush calls it that was under way when the connection went
		jetstream.ErrAsyncPublishTimeout, jetstream.ErrNoStreamResponse, jetstream.ErrTooManyStalledMsgs,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}
