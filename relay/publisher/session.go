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

// IsConnected reports whether there is a connection to the broker.
func (p *Publisher) IsConnected() bool {
	_, ok := p.broker.connection()
	return ok
}

// Connected implements broker.ConnObserver.
func (p *Publisher) Connected(conn *nats.Conn) {
	l, connected := p.broker.connection()
	if connected && l.conn == conn {
		return // it is told twice of one that was made just now
	}
	if l == nil || l.conn != conn {
		js, err := jsapi.New(conn, p.cfg.Domain, jetstream.WithPublishAsyncMaxPending(maxPending), jetstream.WithPublishAsyncTimeout(ackTimeout))
		if err != nil {
			p.log.Error("JetStream cannot be used", "error", err) // only for options that it does not take
			return
		}
		l = &session{conn, js}
	}
	for _, m := range []*streamWatcher{p.events, p.quarantine} {
		m.changed() // while nobody was told, or by another server
		m.denied.Store(false)
	}
	p.broker.connected(l)
	select {
	case p.arrived <- struct{}{}:
	default: // it is known that there is one
	}
}

// Disconnected implements broker.ConnObserver.
func (p *Publisher) Disconnected() {
	p.broker.disconnected()
	// What a look has asked is not answered any more, and the next one is waited for.
	if interrupt := p.interrupt.Load(); interrupt != nil {
		(*interrupt)(errNotConnected)
	}
}

// PublishDenied implements broker.ConnObserver.
func (p *Publisher) PublishDenied(subject string) { p.broker.publishDenied(subject) }
