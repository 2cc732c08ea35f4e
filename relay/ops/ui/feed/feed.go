// Package feed knows what is in the streams of events, of the quarantine and of the archive, for
// whoever looks at them: where a task is, how many events came in each minute of the last hour, the
// latest ones, why how many are in the quarantine, and how far behind consumers are.
//
// It keeps that in bounded memory and up to date by ephemeral consumers, and leaves nothing in
// the broker. It must not know HTTP, nor how anything is shown.
package feed

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/service"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Options are what a [Feed] needs.
type Options struct {
	// Conn is a connection that reconnects for ever. The feed does not close it.
	Conn *nats.Conn
	// Domain is the JetStream domain that has the streams; empty means that of the
	// connection's server.
	Domain string
	// Stream, Quarantine and Archive are the streams' names, Prefix is what their subjects begin
	// with. Without the name of an archive none is looked at.
	Stream, Quarantine, Archive, Prefix string
	// Index is how many task ids are kept for look-ups, 8 bytes each; of the archive's events
	// there are as many.
	Index int
	// Log is told when a stream can be read no more, and when it can again.
	Log *slog.Logger
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
}

// Feed follows the streams. Its methods may be called by many goroutines at once, also before
// Start and after Stop; what they return belongs to the caller.
//
// While the broker is away it has what it knew, and goes on when the broker is back. Where a
// stream was deleted and made anew, it begins anew.
type Feed struct {
	service.Background
	o Options

	changes   notifier
	consumers consumerCache
	live      chan head     // what may be shown or measured, to be got with its body
	measure   chan struct{} // has a place for the word that there are events of the time before to be measured

	lookInterval time.Duration // the constant

	mu         sync.RWMutex
	events     *source
	quarantine *source
	archive    *source // nil if none is looked at
	index      *index
	archived   *index
	kept       quarantineIndex
	minutes    minutes
	latest     latest
	recovered  recoveredEvents
}

// New returns a feed that is to be started.
func New(o Options) *Feed {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Prefix = cmp.Or(o.Prefix, schema.DefaultPrefix)
	f := &Feed{o: o, index: newIndex(max(o.Index, 1)), archived: newIndex(max(o.Index, 1)), live: make(chan head, liveBacklog), measure: make(chan struct{}, 1), lookInterval: lookInterval}
	f.latest.init()
	f.consumers.init()
	f.events = &source{f: f, name: o.Stream, again: make(chan struct{}, 1), status: StreamStatus{Name: o.Stream, Filling: true}}
	f.events.following = &eventStream{source: f.events}
	f.quarantine = &source{f: f, name: o.Quarantine, again: make(chan struct{}, 1), status: StreamStatus{Name: o.Quarantine, Filling: true}}
	f.quarantine.following = &quarantineStream{source: f.quarantine}
	if o.Archive != "" {
		f.archive = &source{f: f, name: o.Archive, again: make(chan struct{}, 1), status: StreamStatus{Name: o.Archive, Filling: true}}
		f.archive.following = &archiveStream{f.archive}
	}
	return f
}

// Start implements [service.Service]. The broker may be away: there is no error.
func (f *Feed) Start(context.Context) error {
	f.Go(f.events.run)
	f.Go(f.quarantine.run)
	if f.archive != nil {
		f.Go(f.archive.run)
	}
	f.Go(f.showLatest)
	return nil
}

// Stop implements [service.Service].
func (f *Feed) Stop(ctx context.Context) error {
	f.changes.stop()
	return f.Background.Stop(ctx)
}

// Changed returns a channel that is closed at the next change of anything that the feed knows,
// a few times a second at most. Ask for it before what it is about is read.
func (f *Feed) Changed() <-chan struct{} { return f.changes.next() }

// Find returns the sequences in the stream of events that may hold a task, newest first: they
// are found by a hash of 32 bits, so that the message has to be looked at. complete says
// that every message of the stream is known, so that an empty answer is final; see [Feed.CatchUp]
// for what was stored a moment ago.
//
// A message without a Nats-Msg-Id, which the relay does not publish, is found by its header
// ce-subject, and without that not at all.
func (f *Feed) Find(taskID string) (sequences []uint64, complete bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.index.find(taskID), f.events.isComplete()
}

// Quarantined returns the sequences in the quarantine that may be about a task, newest first:
// its conflicts, unconfirmed webhooks, that it is missing, and rejected bodies that have its id.
// They are found by a hash, so that the message has to be looked at.
func (f *Feed) Quarantined(taskID string) []uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.kept.find(f.index.hash(taskID))
}

// Archived returns the sequences in the stream of the archive that may tell of a task, newest
// first; complete as for [Feed.Find], also where there is no such stream.
func (f *Feed) Archived(taskID string) (sequences []uint64, complete bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.archived.find(taskID), f.archive == nil || f.archive.isComplete()
}

// Reasons returns why how many messages are in the quarantine, the commonest first. whole says
// that every message of it was counted.
func (f *Feed) Reasons() (counts []ReasonCount, whole bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.kept.counts(), f.quarantine.isComplete()
}

// Forget takes messages out of what is known of the quarantine, once they were deleted. It
// would be noticed within a few seconds anyhow.
func (f *Feed) Forget(sequences ...uint64) {
	f.mu.Lock()
	f.kept.forget(sequences)
	f.latest.forget(f.o.Quarantine, sequences)
	f.mu.Unlock()
	f.changes.notify()
}

// Minutes returns the last 60 full minutes and the current one, the oldest first.
func (f *Feed) Minutes() []Minute {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.minutes.report(f.o.Now())
}

// Latest returns the latest messages of both streams that are shown, newest last, at most 50:
// those behind a serial number, or with 0 all of them. last is the Serial of the newest one,
// to be given the next time. leftOut is how many came since the start that are not shown,
// because more came than a person can follow.
func (f *Feed) Latest(after uint64) (items []Item, last, leftOut uint64) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.latest.after(after)
}
