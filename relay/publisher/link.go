package publisher

import (
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/jsapi"
)

// lostPatience is how long webhooks wait for a connection that was lost: other
// servers of a cluster, or one that restarts, are often there within that. After
// it they are refused at once until there is one.
const lostPatience = 3 * time.Second

// link is a connection, and JetStream over it.
type link struct {
	conn *nats.Conn
	js   jetstream.JetStream
}

// connection is the one to the broker, if there is one now. The client is not
// asked: while it connects, it answers no question for some seconds.
func (p *Publisher) connection() (*link, bool) {
	l := p.link.Load()
	return l, l != nil && p.lost.Load() == nil
}

// IsConnected reports whether there is a connection to the broker.
func (p *Publisher) IsConnected() bool {
	_, ok := p.connection()
	return ok
}

// isBackSoon reports whether the connection may soon be there again.
func (p *Publisher) isBackSoon() bool {
	lost := p.lost.Load()
	return p.link.Load() != nil && (lost == nil || time.Since(*lost) < lostPatience)
}

// Connected implements broker.Follower.
func (p *Publisher) Connected(conn *nats.Conn) {
	l := p.link.Load()
	if l != nil && l.conn == conn && p.lost.Load() == nil {
		return // it is told twice of one that was made just now
	}
	if l == nil || l.conn != conn {
		js, err := jsapi.New(conn, p.cfg.Domain, jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(ackTimeout))
		if err != nil {
			p.log.Error("JetStream cannot be used", "error", err) // only for options that it does not take
			return
		}
		p.link.Store(&link{conn, js})
	}
	for _, m := range []*monitor{p.events, p.quarantine} {
		m.changed() // while nobody was told, or by another server
		m.denied.Store(false)
	}
	p.since.Store(new(time.Now())) // first, so that nobody takes the new one for the old
	p.lost.Store(nil)
	p.denials.forget() // permissions belong to a connection
	select {
	case p.arrived <- struct{}{}:
	default: // it is known that there is one
	}
}

// Disconnected implements broker.Follower.
func (p *Publisher) Disconnected() {
	p.lost.CompareAndSwap(nil, new(time.Now()))
	// What a look has asked is not answered any more, and the next one is waited for.
	if interrupt := p.interrupt.Load(); interrupt != nil {
		(*interrupt)(errNotConnected)
	}
}

// Denied implements broker.Follower.
func (p *Publisher) Denied(subject string) { p.denials.add(subject) }
