package backfill

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/jsapi"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	// stallTime is how long the stream is waited for before it has been looked
	// through: a broker that is away, or one that lets this user see a stream and
	// not read it, sends nothing.
	stallTime = 30 * time.Second
	// scanStep is after how many messages it is told how many there were.
	scanStep = 1000
	// endTime is how long the end of reading is waited for. The client does not
	// let go at once while it waits for a broker that is away.
	endTime = time.Second
)

// watchStream notes where the tasks are stored, by the message ids in the stream, and
// goes on with what comes until the returned function is called. It returns when
// the stream has been looked through, or when ctx has ended, which it brings about
// if the stream cannot be read.
func (r *run) watchStream(ctx context.Context, conn *nats.Conn) (end func()) {
	if r.publisher == nil && isMissing(ctx, conn, r.cfg.Stream.Domain, r.cfg.Stream.Name) {
		return func() {} // a dry run makes no stream, and one without has nothing in it
	}
	// What is in flight when ctx ends is finished with an eye on the stream.
	reading, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done, caughtUp := make(chan struct{}), make(chan struct{})
	var read atomic.Uint64
	go func() {
		defer close(done)
		err := r.follow(reading, conn, &read, func() { close(caughtUp) })
		if err == nil {
			err = errors.New("reading the stream ended: the connection was closed")
		}
		if reading.Err() == nil {
			r.stop(fmt.Errorf("without a look at what is stored already, events could be stored twice: %w", err))
		}
	}()
	stall := r.o.stall
	if stall == 0 {
		stall = stallTime
	}
	for seen := read.Load(); ; seen = read.Load() {
		timer := time.NewTimer(stall)
		select {
		case <-caughtUp:
		case <-ctx.Done():
		case <-timer.C:
			if read.Load() != seen {
				continue
			}
			r.stop(fmt.Errorf("the broker sends nothing of the stream %s: it is away or stalled, or does not let this user create a consumer and fetch from it", r.cfg.Stream.Name))
		}
		timer.Stop()
		break
	}
	return func() {
		cancel()
		select {
		case <-done:
		case <-time.After(endTime):
		}
	}
}

// follow reads the message ids of the whole stream, and of what comes.
func (r *run) follow(ctx context.Context, conn *nats.Conn, read *atomic.Uint64, caughtUp func()) error {
	var total uint64
	return streamreader.Read(ctx, conn, streamreader.Selection{
		Domain: r.cfg.Stream.Domain, Stream: r.cfg.Stream.Name, Subjects: []string{schema.TaskSubjects(r.cfg.Stream.Prefix)},
		FromSeq: 1, Follow: true, HeadersOnly: true, CaughtUp: caughtUp,
	}, func(s streamreader.Start) {
		total = s.Pending
	}, func(m streamreader.Message) error {
		if i, ok := r.o.Tasks.IndexOf(event.TaskIDOf(m.Header.Get(jetstream.MsgIDHeader))); ok {
			// The first of several is the one that counts. What is removed before the end
			// of the run was there when it was looked for.
			r.stored[i].CompareAndSwap(0, m.Sequence)
		}
		if n := read.Add(1); n%scanStep == 0 && n <= total && r.o.OnScan != nil {
			r.o.OnScan(n, total)
		}
		return nil
	})
}

// isMissing reports whether there is no such stream for certain.
func isMissing(ctx context.Context, conn *nats.Conn, domain, stream string) bool {
	js, err := jsapi.New(conn, domain)
	if err != nil {
		return false
	}
	_, err = js.Stream(ctx, stream)
	return errors.Is(err, jetstream.ErrStreamNotFound)
}
