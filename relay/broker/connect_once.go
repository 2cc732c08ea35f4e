package broker

import (
	"context"
	"errors"
	"net"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// ConnectOnce is [Connect] for a command that finds out what works. What it does ends with
// ctx, whatever the broker does; and so does the connection, which is not made again
// once it is lost. told learns what the broker does not let this user do; it may
// be called by another goroutine, and must not use the connection.
func ConnectOnce(ctx context.Context, cfg config.Config, name string, told func(PermissionViolation)) (*nats.Conn, error) {
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
			if denial, ok := parsePermissionViolation(err); ok {
				told(denial)
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
	// What has been waiting for the broker hears that the connection is closed.
	context.AfterFunc(d.ctx, func() { _ = conn.Close() })
	return conn, nil
}
