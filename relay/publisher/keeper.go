package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// recheckGood and recheckBad are how often the streams are looked at: seldom
	// where all is well, to notice what somebody changes, and often where not.
	recheckGood = 30 * time.Second
	recheckBad  = time.Second
	// checkTimeout bounds one look.
	checkTimeout = 5 * time.Second
)

// streamsState is what the last look at the streams said.
type streamsState struct {
	at  time.Time // when it began
	err error     // nil: they are there and take what the relay sends
	// events is the stream of the events once it has been found, and unreadable
	// says why this user may not read it, if so.
	events     jetstream.Stream
	unreadable error
}

// Start brings the streams in order by the policy, and looks after them until
// Stop. A broker that is away is waited for; an *UnfitError is returned.
func (p *Publisher) Start(ctx context.Context) error {
	select {
	case <-p.arrived: // which this first look is for
	default:
	}
	err := p.checkStreams(ctx)
	var unfit *UnfitError
	if errors.As(err, &unfit) {
		return err
	}
	if err != nil {
		p.log.Warn("the streams cannot be used yet", "error", err)
	}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.done.Go(func() { p.lookAfterStreams(ctx) })
	p.done.Go(func() { p.commits.Run(ctx) })
	return nil
}

// Stop ends what Start began. Store must not be called any more.
func (p *Publisher) Stop() {
	if p.stop != nil {
		p.stop()
	}
	p.done.Wait()
}

// Ready is nil if a message would be stored now, and else says why not.
func (p *Publisher) Ready() error {
	if _, ok := p.connection(); !ok {
		return errNotConnected
	}
	if err := p.streams.Load().err; err != nil {
		return err
	}
	// The limit may be the account's or the server's, of which nothing is known
	// until the next message comes.
	if full := p.full.Load(); full != nil && time.Since(*full) < recheckGood {
		return fmt.Errorf("the stream is full: the broker refused a message for want of room %s ago", time.Since(*full).Round(time.Second))
	}
	if silent := p.silent.Load(); silent != nil && time.Since(*silent) < recheckGood {
		return fmt.Errorf("the broker did not acknowledge a message %s ago", time.Since(*silent).Round(time.Second))
	}
	if denied := p.denials.events(); len(denied) > 0 {
		return &DeniedError{strings.Join(denied, ", ")}
	}
	return nil
}

// unfit is what makes a stream unusable until somebody changes it, or nil if
// that has not been found out since a time.
func (p *Publisher) unfit(stream string, since time.Time) *UnfitError {
	var unfit *UnfitError
	if state := p.streams.Load(); state.at.After(since) && errors.As(state.err, &unfit) && unfit.Stream == stream {
		return unfit
	}
	return nil
}

var errNotConnected = errors.New("there is no connection to the broker")

func (p *Publisher) lookAfterStreams(ctx context.Context) {
	var looked time.Time
	for {
		wait := recheckGood
		if p.streams.Load().err != nil || p.full.Load() != nil || p.silent.Load() != nil {
			wait = recheckBad
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-p.arrived:
		case <-p.recheck:
			// At once, but never more often than that, however many webhooks fail.
			sleep(ctx, recheckBad/4-time.Since(looked))
		}
		timer.Stop()
		if _, ok := p.connection(); !ok {
			continue
		}
		before := p.streams.Load().err
		err := p.checkStreams(ctx)
		looked = time.Now()
		switch {
		case ctx.Err() != nil:
		case err != nil && (before == nil || before.Error() != err.Error()):
			p.log.Error("the streams cannot be used", "error", err)
		case err == nil && before != nil:
			p.log.Info("the streams can be used")
		}
	}
}

// checkSoon asks for a look at the streams.
func (p *Publisher) checkSoon() {
	select {
	case p.recheck <- struct{}{}:
	default: // one is coming already
	}
}

// checkStreams makes, changes or only looks at both streams, as the policy says.
func (p *Publisher) checkStreams(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	// An existing stream is changed, and its weaknesses are told, once and after
	// trouble. In between it is only looked at: what somebody changes by hand
	// meanwhile is not fought over.
	before := p.streams.Load()
	settle := before.err != nil
	now := streamsState{at: time.Now(), events: before.events, unreadable: before.unreadable}
	defer func() {
		// A broker that answers now may have been silent before.
		if silent := p.silent.Load(); now.err == nil && silent != nil && silent.Before(now.at) {
			p.silent.CompareAndSwap(silent, nil)
		}
	}()
	now.err = func() error {
		l, ok := p.connection()
		if !ok {
			return errNotConnected
		}
		wantEvents, wantQuarantine := Wanted(p.cfg)
		events, err := p.checkStream(ctx, l, wantEvents, settle)
		var denied *DeniedError
		if errors.As(err, &denied) && now.events == nil {
			now.unreadable = err // without a look at the stream nothing in it is found
		}
		if err != nil {
			return err
		}
		now.events, now.unreadable = events, p.readable(ctx, events)
		p.metrics.DedupeWindow(events.CachedInfo().Config.Duplicates)
		quarantine, err := p.checkStream(ctx, l, wantQuarantine, settle)
		if err != nil {
			return err
		}
		p.lookForRoom(events.CachedInfo().State.Bytes + quarantine.CachedInfo().State.Bytes)
		if settle {
			p.warn(events.CachedInfo(), wantEvents)
			p.warn(quarantine.CachedInfo(), wantQuarantine)
		}
		return nil
	}()
	if now.unreadable != nil && before.unreadable == nil {
		p.log.Warn("repeats are taken for plain duplicates", "error", now.unreadable)
	}
	p.streams.Store(&now)
	return now.err
}

// lookForRoom finds out whether there is room again, by the size of the streams
// together: that they shrink since a message was refused.
func (p *Publisher) lookForRoom(bytes uint64) {
	full := p.full.Load()
	switch {
	case full == nil:
	case full != p.fullSeen:
		p.fullSeen, p.fullBytes = full, bytes
	case bytes < p.fullBytes:
		p.full.CompareAndSwap(full, nil)
	}
}
