package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
)

// advisories is where the broker tells that a stream was made, changed or deleted.
const (
	advisories = "$JS.EVENT.ADVISORY.STREAM.*."
	deletions  = "$JS.EVENT.ADVISORY.STREAM.DELETED."
)

// AdvisorySubject is where the broker tells of changes of a stream.
func AdvisorySubject(stream string) string { return advisories + stream }

// streamWatcher knows whether a stream may be used: what the last look at it said, and
// whether it may have changed since.
//
// A stream says that it was changed before it acknowledges what it has stored since,
// and over the same connection. So an acknowledgement after which nothing is told is
// one of the stream that was looked at.
type streamWatcher struct {
	needs   Requirements
	verdict atomic.Pointer[verdict]
	// changes is how many changes were told, connections among them, and seen how many
	// of those the last look has taken into account.
	changes, checkedChanges atomic.Uint64
	updates                 atomic.Pointer[nats.Subscription]
	conn                    *nats.Conn  // that of updates; only a look uses it
	denied                  atomic.Bool // changes are not told to this user

	mu     sync.Mutex
	looked chan struct{} // closed with the end of the next look
}

// verdict is what a look at a stream has found.
type verdict struct {
	at    time.Time          // when it began
	unfit *StreamConfigError // nil: the stream is there, and as the relay needs it
	// refused is why its acknowledgement would not be true. Other unfit streams give
	// none, or not for all messages.
	refused *StreamConfigError
}

func newStreamWatcher(needs Requirements) *streamWatcher {
	m := &streamWatcher{needs: needs, looked: make(chan struct{})}
	m.verdict.Store(&verdict{})
	return m
}

// refuses is why nothing may be sent to the stream, or nil.
func (m *streamWatcher) refuses() *StreamConfigError { return m.verdict.Load().refused }

// isCurrent reports whether no change is known that the last look has not seen.
func (m *streamWatcher) isCurrent() bool {
	if m.checkedChanges.Load() < m.changes.Load() {
		return false
	}
	// What has arrived counts until its callback has returned.
	n, _, err := m.updates.Load().Pending()
	return err != nil || n == 0
}

// changed notes that the stream may not be what it was.
func (m *streamWatcher) changed() { m.changes.Add(1) }

// nextCheck is closed when the next look has ended.
func (m *streamWatcher) nextCheck() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.looked
}

// checked notes the end of a look that began when so many changes had been told.
func (m *streamWatcher) checked(told uint64) {
	m.checkedChanges.Store(told)
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.looked)
	m.looked = make(chan struct{})
}

// subscribe subscribes to what is told of the stream over a connection.
func (m *streamWatcher) subscribe(conn *nats.Conn, told func(subject string)) error {
	if m.conn == conn {
		return nil
	}
	m.denied.Store(false)
	sub, err := conn.Subscribe(AdvisorySubject(m.needs.Config.Name), func(msg *nats.Msg) {
		m.changed()
		told(msg.Subject)
	})
	if err != nil {
		return err
	}
	m.conn = conn
	m.updates.Store(sub)
	return nil
}

// streamChanged asks for a look, since something was told of a stream. That it was deleted
// the next webhook finds out, which misses it.
func (p *Publisher) streamChanged(subject string) {
	if p.cfg.Policy != config.PolicyRequire && strings.HasPrefix(subject, deletions) {
		return
	}
	select {
	case p.changes <- struct{}{}:
	default: // one is coming already
	}
}

// watcherOf returns the watcher of the stream in which a kind of messages is stored.
func (p *Publisher) watcherOf(kind event.Kind) *streamWatcher {
	if kind == event.TaskEvent {
		return p.events
	}
	return p.quarantine
}

// confirmStream returns when a look at the stream has seen all changes of it that are known, and
// an error if its acknowledgement of a message does not mean that this is stored for good.
// told is how many changes had been told when the message was sent, under that id. Where
// the look gets no answer, the one before it counts.
func (p *Publisher) confirmStream(ctx context.Context, m *streamWatcher, told uint64, id string, ack jetstream.PubAck) error {
	for !m.isCurrent() {
		next := m.nextCheck()
		if m.isCurrent() {
			break
		}
		p.requestCheck()
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if unfit := m.refuses(); unfit != nil {
		return unfit
	}
	if m.changes.Load() == told || ack.Duplicate { // what a repeat refers to is looked at anyway
		return nil
	}
	return p.confirm(ctx, m, ack.Sequence, id)
}

// confirm looks for what was acknowledged by a stream that was changed meanwhile: it may
// have been another one in between. What this user may not read is not looked for, and
// only the stream's leader is believed that it is not there.
func (p *Publisher) confirm(ctx context.Context, m *streamWatcher, sequence uint64, id string) error {
	state := p.streams.Load()
	if m != p.events || state.events == nil || state.unreadable != nil {
		return nil
	}
	if state.events.CachedInfo().Config.Retention != jetstream.LimitsPolicy {
		return nil // it may have been consumed by now
	}
	msg, err := p.getCopy(ctx, sequence, id)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && !takes(m.needs.Config, msg.Subject) {
		return fmt.Errorf("%w %s: it has no event at sequence %d", errChanged, m.needs.Config.Name, sequence)
	}
	return err
}

var errChanged = errors.New("the message was stored while somebody changed the stream")

// isWatched reports whether changes of both streams are told. Those of another JetStream
// domain need not pass its leaf nodes.
func (p *Publisher) isWatched() bool {
	return p.cfg.Domain == "" && !p.events.denied.Load() && !p.quarantine.denied.Load()
}

// SubscribeDenied implements broker.ConnObserver.
func (p *Publisher) SubscribeDenied(subject string) {
	for _, m := range []*streamWatcher{p.events, p.quarantine} {
		if subject != AdvisorySubject(m.needs.Config.Name) {
			continue
		}
		if !m.denied.Swap(true) {
			p.log.Info("the broker does not tell this user when a stream is changed, so it is looked at more often; to be told at once, allow it to subscribe to that", "subject", subject, "every", recheckUnwatched)
		}
		return
	}
	p.log.Warn("the broker does not let this user subscribe; allow it in the user's permissions", "subject", subject)
}
