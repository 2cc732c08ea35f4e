package publisher

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/schema"
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
	err error // nil: they are there and take what the relay sends
}

// Start brings the streams in order by the policy, and looks after them until
// Stop. A broker that is away is waited for; an *UnfitError is returned.
func (p *Publisher) Start(ctx context.Context) error {
	err := p.checkStreams(ctx)
	var unfit *UnfitError
	if errors.As(err, &unfit) {
		return err
	}
	if err != nil {
		p.log.Warn("the streams cannot be used yet; webhooks get 503 until they can", "error", err)
	}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	connected := p.conn.StatusChanged(nats.CONNECTED)
	p.done.Go(func() { p.lookAfterStreams(ctx, connected) })
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
	if !p.conn.IsConnected() {
		return errors.New("there is no connection to the broker")
	}
	if state := p.streams.Load(); state == nil {
		return errors.New("the streams have not been looked at yet")
	} else if state.err != nil {
		return state.err
	}
	return nil
}

func (p *Publisher) lookAfterStreams(ctx context.Context, connected chan nats.Status) {
	defer p.conn.RemoveStatusListener(connected)
	for {
		wait := recheckGood
		if p.streams.Load().err != nil {
			wait = recheckBad
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-connected:
		case <-p.recheck:
			// At once, but never more often than that, however many webhooks fail.
			select {
			case <-ctx.Done():
			case <-time.After(recheckBad / 4):
			}
		}
		timer.Stop()
		if !p.conn.IsConnected() {
			continue
		}
		before := p.streams.Load().err
		err := p.checkStreams(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil && (before == nil || before.Error() != err.Error()):
			p.log.Error("the streams cannot be used; webhooks get 503 until they can", "error", err)
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
	settle := before == nil || before.err != nil
	err := func() error {
		if !p.conn.IsConnected() {
			return errors.New("there is no connection to the broker yet")
		}
		events, err := p.checkStream(ctx, p.wanted(p.cfg.Name, schema.TaskSubjects(p.cfg.Prefix), "Results of APIXO tasks, as CloudEvents."), settle)
		if err != nil {
			return err
		}
		p.metrics.DedupeWindow(events.Duplicates)
		quarantine, err := p.checkStream(ctx, p.wanted(p.cfg.Quarantine, schema.QuarantineSubjects(p.cfg.Prefix), "Webhooks that could not become events, byte for byte."), settle)
		if err != nil {
			return err
		}
		if settle {
			p.warn(*events)
			p.warn(*quarantine)
		}
		return nil
	}()
	p.streams.Store(&streamsState{err: err})
	return err
}
