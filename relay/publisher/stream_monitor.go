package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/retry"
)

const (
	// recheckGood and recheckBad are how often the streams are looked at: seldom
	// where all is well, to notice what somebody changes, and often where not.
	recheckGood = 30 * time.Second
	recheckBad  = time.Second
	// recheckUnwatched is how often where the broker does not tell of changes.
	recheckUnwatched = 5 * time.Second
	// checkTimeout bounds one look.
	checkTimeout = 5 * time.Second
)

// streamsState is what the last look at the streams said.
type streamsState struct {
	at  time.Time // when it began
	err error     // nil: they are there and take what the relay sends
	// events is the stream of the events once it has been found, as it was at the time
	// found, and unreadable says why this user may not read it, if so. unheard says that
	// nobody took the question.
	events       jetstream.Stream
	found        time.Time
	unreadable   error
	noResponders bool
}

// Start implements service.Service: it brings the streams in order by the policy, and
// monitors them until Stop, after which Store must not be called. A broker that is away is
// waited for, and so is somebody who mends a stream; a *[StreamConfigError] that is fatal is
// returned, and each where somebody else has to make the streams.
func (p *Publisher) Start(ctx context.Context) error {
	select {
	case <-p.arrived: // which this first look is for
	default:
	}
	err := p.checkStreams(ctx, true)
	unfit := false
	for _, m := range []*streamWatcher{p.events, p.quarantine} {
		if e := m.verdict.Load().unfit; e != nil {
			if e.Fatal || p.cfg.Policy == config.PolicyRequire {
				return err
			}
			unfit = true
		}
	}
	switch {
	case unfit:
		p.log.Error("the streams cannot be used, and webhooks get 503 until somebody mends that", "error", err)
	case err != nil:
		p.log.Warn("the streams cannot be used yet", "error", err)
	}
	p.Go(p.monitorStreams)
	return nil
}

// Ready is nil if a message would be stored now, and else says why not.
func (p *Publisher) Ready() error {
	if _, ok := p.broker.connection(); !ok {
		return errNotConnected
	}
	if err := p.streams.Load().err; err != nil {
		return err
	}
	for _, m := range []*streamWatcher{p.events, p.quarantine} {
		if unfit := m.verdict.Load().unfit; unfit != nil { // a look that has not ended yet
			return unfit
		}
	}
	return p.broker.refusal()
}

// streamError is what makes the stream of a kind of messages unusable until somebody changes it, or
// nil if that has not been found out since a time.
func (p *Publisher) streamError(kind event.Kind, since time.Time) *StreamConfigError {
	if v := p.watcherOf(kind).verdict.Load(); v.at.After(since) {
		return v.unfit
	}
	return nil
}

var errNotConnected = errors.New("there is no connection to the broker")

func (p *Publisher) monitorStreams(ctx context.Context) {
	var looked time.Time
	for {
		wait := recheckGood
		if !p.isWatched() {
			wait = recheckUnwatched
		}
		if p.streams.Load().err != nil || p.broker.isInDoubt() {
			wait = recheckBad
		}
		makes := true
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-p.arrived:
		case <-p.recheck:
			// At once, but never more often than that, however many webhooks fail.
			_ = retry.Sleep(ctx, recheckBad/4-time.Since(looked))
		case <-p.changes:
			_ = retry.Sleep(ctx, recheckBad/4-time.Since(looked))
			// Whoever deletes a stream may be about to make another one, and would find
			// the relay's there.
			makes = false
		}
		timer.Stop()
		if _, ok := p.broker.connection(); !ok {
			continue
		}
		before := p.streams.Load().err
		err := p.checkStreams(ctx, makes)
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

// requestCheck asks for a look at the streams.
func (p *Publisher) requestCheck() {
	select {
	case p.recheck <- struct{}{}:
	default: // one is coming already
	}
}

// checkStreams makes, changes or only looks at both streams, as the policy says. One
// that is missing is made only if makes is true.
func (p *Publisher) checkStreams(ctx context.Context, makes bool) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	ctx, interrupt := context.WithCancelCause(ctx)
	defer interrupt(nil)
	p.interrupt.Store(&interrupt)
	// An existing stream is changed, and its weaknesses are told, once and after
	// trouble. In between it is only looked at: what somebody changes by hand
	// meanwhile is not fought over.
	before := p.streams.Load()
	settle := before.err != nil
	now := streamsState{at: time.Now(), events: before.events, found: before.found, unreadable: before.unreadable}
	if settle && !is[*StreamConfigError](before.err) {
		clear(p.warned) // one that stays unfit is looked at every second
	}
	now.err = func() error {
		l, ok := p.broker.connection()
		if !ok {
			return errNotConnected
		}
		// Each is looked at whatever became of the other: somebody may wait for it.
		events, err := p.checkStreamOnce(ctx, l, p.events, settle, makes)
		if events != nil {
			p.metrics.DedupeWindow(events.CachedInfo().Config.Duplicates)
		}
		switch {
		case err == nil:
			now.events, now.found = events, now.at
			now.unreadable = p.readable(ctx)
			// Once that can be the moment in which a leaf node is cut off, and repeats are to
			// wait for its end. An account that cannot ask hears nothing the next time, too.
			now.noResponders = errors.Is(now.unreadable, nats.ErrNoResponders)
			if now.noResponders && !before.noResponders {
				now.unreadable = before.unreadable
				p.requestCheck()
			}
		case is[*broker.PermissionError](err) && now.events == nil:
			now.unreadable = err // without a look at the stream nothing in it is found
		}
		quarantine, quarantineErr := p.checkStreamOnce(ctx, l, p.quarantine, settle, makes)
		switch {
		case is[*StreamConfigError](err) && is[*StreamConfigError](quarantineErr):
			return fmt.Errorf("%w; and %w", err, quarantineErr)
		case err != nil:
			return err
		case quarantineErr != nil:
			return quarantineErr
		}
		p.broker.detectFreedSpace(events.CachedInfo().State.Bytes + quarantine.CachedInfo().State.Bytes)
		return nil
	}()
	if errors.Is(context.Cause(ctx), errNotConnected) {
		now.err = errNotConnected
	}
	if now.unreadable != nil && before.unreadable == nil {
		p.log.Warn("repeats are taken for plain duplicates", "error", now.unreadable)
	}
	if now.err == nil {
		p.broker.answered(now.at)
	}
	p.streams.Store(&now)
	return now.err
}

// checkStreamOnce brings one stream in order, judges it, and tells the log what is new about it.
func (p *Publisher) checkStreamOnce(ctx context.Context, l *session, m *streamWatcher, settle, makes bool) (jetstream.Stream, error) {
	told := m.changes.Load()
	v := &verdict{at: time.Now()}
	defer m.checked(told)
	if err := m.subscribe(l.conn, p.streamChanged); err != nil {
		return nil, fmt.Errorf("the stream %s cannot be watched: %w", m.needs.Config.Name, err)
	}
	needs := m.needs
	needs.MaxPayload = l.conn.MaxPayload()
	stream, err := p.checkStream(ctx, l, needs, settle, makes)
	if err != nil {
		if unfit, ok := errors.AsType[*StreamConfigError](err); ok {
			v.unfit = unfit
			m.verdict.Store(v)
		} // else what the last look has found counts
		return nil, err
	}
	issues := ValidateStream(stream.CachedInfo(), needs)
	if i := firstFatal(issues); i >= 0 {
		v.unfit = configError(issues[i], needs.Config.Name, p.cfg.Policy)
	}
	if i := slices.IndexFunc(issues, func(issue Issue) bool { return issue.Severity == SeverityRefuse }); i >= 0 {
		v.refused = configError(issues[i], needs.Config.Name, p.cfg.Policy)
	}
	m.verdict.Store(v)
	p.warn(needs.Config.Name, issues)
	if v.unfit != nil {
		return stream, v.unfit
	}
	return stream, nil
}

// warn tells the log what about a stream weakens the relay's promises, once as long as
// it stays so.
func (p *Publisher) warn(stream string, issues []Issue) {
	before, now := p.warned[stream], make(map[string]bool)
	for _, issue := range issues {
		if issue.Severity != SeverityWarn {
			continue
		}
		now[issue.key] = true
		if !before[issue.key] {
			p.log.Warn("the stream "+stream+" "+issue.Problem, "do", issue.Hint)
		}
	}
	p.warned[stream] = now
}
