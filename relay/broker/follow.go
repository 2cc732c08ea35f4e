package broker

import (
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// handlers tell the log and the follower what happens to the connection. They
// may run before the function that connects has returned.
func (b *Broker) handlers() []nats.Option {
	return []nats.Option{
		nats.ConnectHandler(func(nc *nats.Conn) {
			b.tell(func(f Follower) { f.Connected(nc) })
			b.log.Debug("connected to the broker", "url", connectedTo(nc), "server", nc.ConnectedServerName(), "version", nc.ConnectedServerVersion())
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			b.tell(func(f Follower) { f.Connected(nc) }) // first, so that what the log says is so
			b.log.Info("connected to the broker again", "url", connectedTo(nc), "server", nc.ConnectedServerName())
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("lost the connection to the broker", "error", err)
			}
			b.tell(Follower.Disconnected)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			denial, ok := denialOf(err)
			if !ok || denial.Subscribing {
				b.log.Warn("the broker reports an error", "error", err)
				return
			}
			b.tell(func(f Follower) { f.Denied(denial.Subject) })
		}),
		nats.ClosedHandler(b.closed),
	}
}

// Denial is what the broker's permissions keep from this user.
type Denial struct {
	Subject string
	// Subscribing: it may not be subscribed to. Otherwise it may not be published to.
	Subscribing bool
}

// denied is how nats-server words that a user may not do something.
var denied = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]+)"`)

// denialOf reads an error that the client reports, if it is about permissions.
func denialOf(err error) (Denial, bool) {
	match := denied.FindStringSubmatch(err.Error())
	if match == nil || !errors.Is(err, nats.ErrPermissionViolation) {
		return Denial{}, false
	}
	return Denial{Subject: match[2], Subscribing: strings.EqualFold(match[1], "subscription")}, true
}

func (b *Broker) tell(what func(Follower)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.follower != nil {
		what(b.follower)
	}
}

// closed makes a new connection if the client has given up on the old one. It
// does so for ever on some words of the broker, among them that a message was
// larger than a limit that had been lowered meanwhile.
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
		b.log.Error("the broker cannot be connected to", "error", err)
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
	if b.follower != nil && conn.IsConnected() {
		b.follower.Connected(conn)
	}
}
