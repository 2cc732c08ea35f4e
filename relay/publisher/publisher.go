// Package publisher stores messages in JetStream: it makes and checks the
// streams, publishes with acknowledgement, retries what is worth retrying, and
// tells duplicates from conflicts.
//
// It must not know HTTP.
package publisher

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// Publisher stores messages in the relay's two streams. It may be used by many
// goroutines.
type Publisher struct {
	service.Background
	cfg     config.Stream
	encoder event.Encoder
	metrics *telemetry.Metrics
	log     *slog.Logger

	events, quarantine *streamWatcher
	warned             map[string]map[string]bool // keys of issues by stream; only a look uses it

	broker  brokerState
	streams atomic.Pointer[streamsState]
	// interrupt ends the look at the streams that is under way, if any is.
	interrupt atomic.Pointer[context.CancelCauseFunc]
	outcomes  *outcomeCache
	removed   atomic.Pointer[removals]
	pending   *semaphore.Weighted // in bytes, with the broker
	arrived   chan struct{}       // a connection
	recheck   chan struct{}       // somebody wants to know how the streams are
	changes   chan struct{}       // the broker tells of one
}

// Options are what a publisher is made of; all are required.
type Options struct {
	Config  config.Stream
	Encoder event.Encoder // that of the messages that it will be given
	// MaxMessage is the size of the largest message, in bytes.
	MaxMessage int64
	Metrics    *telemetry.Metrics
	Log        *slog.Logger
}

// New makes a publisher, which is to observe a broker's connection.
func New(o Options) *Publisher {
	p := &Publisher{
		cfg: o.Config, encoder: o.Encoder, metrics: o.Metrics, log: o.Log,
		warned:   make(map[string]map[string]bool),
		outcomes: newOutcomeCache(),
		pending:  semaphore.NewWeighted(maxPendingBytes),
		arrived:  make(chan struct{}, 1), recheck: make(chan struct{}, 1), changes: make(chan struct{}, 1),
	}
	events, quarantine := DesiredStreams(o.Config)
	p.events = newStreamWatcher(Requirements{Config: events, Given: o.Config.Given, MaxMessage: o.MaxMessage, Leaf: o.Config.Domain != ""})
	p.quarantine = newStreamWatcher(Requirements{Config: quarantine, Given: o.Config.Given, MaxMessage: o.MaxMessage})
	p.streams.Store(&streamsState{err: errors.New("the streams have not been looked at yet")})
	return p
}

// Store publishes a message and waits until the broker has acknowledged that it
// is stored, within the deadline of ctx. Its error is a *store.Error.
//
// It tries again while that can help. A try that timed out may have been stored
// all the same: the next one finds it, and it counts as stored now. A duplicate
// whose first copy is gone is stored anew, and one that tells another outcome than
// the event that is stored is kept in the quarantine, and a conflict.
func (p *Publisher) Store(ctx context.Context, msg event.Message) (store.Receipt, error) {
	s, err := p.newFuture(msg)
	if err != nil {
		return store.Receipt{}, err
	}
	return s.Wait(ctx)
}

// PublishAsync hands messages to the broker and does not wait. They are stored in their
// order, unless one of them is refused, and are tried once.
func (p *Publisher) PublishAsync(msgs []event.Message) []store.Future {
	futures := make([]store.Future, len(msgs))
	// What has to be asked for first is sent when its receipt is waited for, and in
	// that order.
	later := slices.ContainsFunc(msgs, p.mayHaveForgotten)
	var failed error // of one that was not sent, which those behind it must not pass
	for i, msg := range msgs {
		s, err := p.newFuture(msg)
		if err != nil {
			futures[i] = failedFuture{err}
			continue
		}
		s.once = true
		futures[i] = s
		switch {
		case later:
			continue
		case failed == nil && !p.pending.TryAcquire(s.pendingBytes()):
			failed = errBusy // of one of these, maybe, which has not been waited for
		case failed == nil:
			failed = s.publish()
		}
		if failed != nil {
			code, _ := p.classify(msg.Kind, s.start, failed)
			futures[i] = failedFuture{&store.Error{Code: code, Err: failed}}
		}
	}
	return futures
}

// failedFuture is a message that was refused before it was sent, with a *store.Error.
type failedFuture struct{ err error }

// Wait implements store.Future.
func (f failedFuture) Wait(context.Context) (store.Receipt, error) { return store.Receipt{}, f.err }
