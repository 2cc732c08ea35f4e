package broker

import (
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// handlers tell the log and the follower what happens to the connection. They
// may run before the function that connects has returned.
func (b *Broker) handlers() []nats.Option {
	return []nats.Option{
		nats.ConnectHandler(func(nc *nats.Conn) {
			b.disconnected.Store(nil)
			b.notify(func(f ConnObserver) { f.Connected(nc) })
			b.log.Debug("connected to the broker", "url", connectedTo(nc), "server", nc.ConnectedServerName(), "version", nc.ConnectedServerVersion())
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			b.disconnected.Store(nil)
			b.notify(func(f ConnObserver) { f.Connected(nc) }) // first, so that what the log says is so
			b.log.Info("connected to the broker again", "url", connectedTo(nc), "server", nc.ConnectedServerName())
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("lost the connection to the broker", "error", err)
			}
			b.notify(ConnObserver.Disconnected)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			switch denied, ok := parsePermissionError(err); {
			case !ok && refused(err):
				b.noteDisconnected(err) // again with each try to connect
			case !ok:
				b.log.Warn("the broker reports an error", "error", err)
			case denied.Subscribing:
				b.notify(func(f ConnObserver) { f.SubscribeDenied(denied.Subject) })
			default:
				b.notify(func(f ConnObserver) { f.PublishDenied(denied.Subject) })
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { b.noteDisconnected(err) }),
		// The handler above is called for connections that cannot be made, but not for
		// connections that end before the broker has admitted this user.
		nats.CustomReconnectDelay(func(int) time.Duration {
			if conn := b.Conn(); conn != nil && conn.IsReconnecting() {
				if err := conn.LastError(); err != nil {
					b.noteDisconnected(err)
				}
			}
			return reconnectWait + rand.N(reconnectJitter)
		}),
		nats.ClosedHandler(b.closed),
	}
}

// disconnectReason is why there is no connection, with the text of the error that says so.
type disconnectReason struct {
	text  string
	cause *ConnectCause
}

// noteDisconnected logs why there is no connection, once until the reason changes.
func (b *Broker) noteDisconnected(err error) {
	before := b.disconnected.Load()
	if before != nil && before.text == errorText(err) {
		return
	}
	now := &disconnectReason{errorText(err), connectCause(b.nats, err)}
	b.disconnected.Store(now)
	if before == nil || *before.cause != *now.cause {
		b.log.Warn("there is no connection to the broker; it is tried again and again", "url", config.RedactURLs(b.url), "cause", now.cause.Problem, "do", now.cause.Hint)
	}
}

// Cause returns why there is no connection, as far as that is known. It returns nil while there
// is one.
func (b *Broker) Cause() error {
	if t := b.disconnected.Load(); t != nil {
		return t.cause
	}
	return nil
}

func (b *Broker) notify(what func(ConnObserver)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.observers {
		what(o)
	}
}

// closed makes a new connection if the client has closed the old one for good. nats.go
// closes permanently on some protocol errors, for example when a message is larger than a
// limit that was lowered meanwhile.
func (b *Broker) closed(nc *nats.Conn) {
	for {
		b.mu.Lock()
		closing := b.closing || b.conn != nc // what never became the connection is its maker's
		b.mu.Unlock()
		if closing {
			return
		}
		b.log.Warn("the broker has ended the connection; a new one is made", "error", nc.LastError())
		conn, err := nats.Connect(b.url, append(b.options, nats.RetryOnFailedConnect(true))...)
		if err == nil {
			b.renew(conn)
			return
		}
		b.noteDisconnected(err)
		select {
		case <-b.ended:
		case <-time.After(reconnectWait):
		}
	}
}

// renew makes a connection the broker's.
func (b *Broker) renew(conn *nats.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		conn.Close()
		return
	}
	b.conn = conn
	for _, o := range b.observers {
		if conn.IsConnected() {
			o.Connected(conn)
		}
	}
}
