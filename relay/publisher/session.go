package publisher

import (
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/jsapi"
)

// reconnectGrace is how long webhooks wait for a connection that was lost: other
// servers of a cluster, or one that restarts, are often there within that. After
// it they are refused at once until there is one.
const reconnectGrace = 3 * time.Second

// session is a connection, and JetStream over it.
type session struct {
	conn *nats.Conn
	js   jetstream.JetStream
}

// connection is the one to the broker, if there is one now. The client is not
// asked: while it connects, it answers no question for some seconds.
func (p *Publisher) connection() (*session, bool) {
	l := p.session.Load()
	return l, l != nil && p.disconnectedAt.Load() == nil
}

// IsConnected reports whether there is a connection to the broker.
func (p *Publisher) IsConnected() bool {
	_, ok := p.connection()
	return ok
}

// withinReconnectGrace reports whether the connection may soon be there again.
func (p *Publisher) withinReconnectGrace() bool {
	lost := p.disconnectedAt.Load()
	return p.session.Load() != nil && (lost == nil || time.Since(*lost) < reconnectGrace)
}

// Connected implements broker.ConnObserver.
func (p *Publisher) Connected(conn *nats.Conn) {
	l := p.session.Load()
	if l != nil && l.conn == conn && p.disconnectedAt.Load() == nil {
		return // it is told twice of one that was made just now
	}
	if l == nil || l.conn != conn {
		js, err := jsapi.New(conn, p.cfg.Domain, jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(ackTimeout))
		if err != nil {
			p.log.Error("JetStream cannot be used", "error", err) // only for options that it does not take
			return
		}
		p.session.Store(&session{conn, js})
	}
	for _, m := range []*streamWatcher{p.events, p.quarantine} {
		m.changed() // while nobody was told, or by another server
		m.denied.Store(false)
	}
	p.connectedAt.Store(new(time.Now())) // first, so that nobody takes the new one for the old
	p.disconnectedAt.Store(nil)
	p.permissions.reset() // permissions belong to a connection
	select {
	case p.arrived <- struct{}{}:
	default: // it is known that there is one
	}
}

// Disconnected implements broker.ConnObserver.
func (p *Publisher) Disconnected() {
	p.disconnectedAt.CompareAndSwap(nil, new(time.Now()))
	// What a look has asked is not answered any more, and the next one is waited for.
	if interrupt := p.interrupt.Load(); interrupt != nil {
		(*interrupt)(errNotConnected)
	}
}

// PublishDenied implements broker.ConnObserver.
func (p *Publisher) PublishDenied(subject string) { p.permissions.record(subject) }
