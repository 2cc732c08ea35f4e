package broker

import (
	"context"
	"errors"
	"net"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// ConnectOnce is [Connect] for a command that probes the broker. The attempt and the
// connection end with ctx, whatever the broker does. The connection does not reconnect.
// denied is called for each permission error, perhaps by another goroutine, and must not use
// the connection.
func ConnectOnce(ctx context.Context, cfg config.Config, name string, denied func(*PermissionError)) (*nats.Conn, error) {
	options, err := commandOptions(cfg)
	if err != nil {
		return nil, err
	}
	url := clientURL(cfg)
	d := &singleDialer{ctx: ctx}
	conn, err := nats.Connect(url, append(options,
		nats.Name(name),
		nats.NoReconnect(),
		nats.PermissionErrOnSubscribe(true), // told to who waits for a message, too
		nats.SetCustomDialer(d),
		nats.SkipHostLookup(), // by the client; the dialer's own ends with ctx
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if e, ok := parsePermissionError(err); ok {
				denied(e)
			}
		}))...)
	if errors.Is(err, nats.ErrNoServers) && d.err != nil {
		err = d.err // which says why
	}
	if err != nil && ctx.Err() != nil && d.err == nil {
		err = nats.ErrTimeout // and not that the connection is closed, as the dialer did
	}
	if err != nil {
		return nil, connectError(cfg, url, err)
	}
	return conn, nil
}

// singleDialer makes connections that end with a context, while they are being made and
// afterwards.
type singleDialer struct {
	ctx context.Context
	err error // the last one
}

// Dial implements nats.CustomDialer.
func (d *singleDialer) Dial(network, address string) (net.Conn, error) {
	if err := d.ctx.Err(); err != nil {
		return nil, err // of which the time is the cause, and not this server
	}
	conn, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(d.ctx, network, address)
	if d.err = err; err != nil {
		return nil, err
	}
	// Closing the connection ends calls that wait for the broker.
	context.AfterFunc(d.ctx, func() { _ = conn.Close() })
	return conn, nil
}
