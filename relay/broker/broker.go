// Package broker gets a connection to NATS: to the server that it runs inside
// this process, or to an external one. It knows options, credentials, TLS and
// the broker's health.
//
// It must not know what is published.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// MaxEventOverhead is how much larger than twice its webhook's body a message
// can be: the CloudEvents attributes, and the callback attributes among them.
// Twice, because resultUrls stand in an event besides resultJson, from which
// they are decoded; a quarantined body in base64 is smaller than that.
const MaxEventOverhead = 16 << 10

// MaxMessageBytes is the size of the largest message that comes of a body.
func MaxMessageBytes(maxBody int64) int64 { return 2*maxBody + MaxEventOverhead }

// Broker is a connection, and the server behind it if that is this process's own.
type Broker struct {
	conn     *nats.Conn
	embedded *embedded // nil with an external broker
	denied   atomic.Pointer[func(subject string)]
}

// Open connects to the broker that the configuration names, or starts the
// embedded one.
//
// An external broker that is away is no error: the connection is made once it
// comes. One that refuses the credentials or whose certificate is not trusted
// is, since waiting would not mend it.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger) (*Broker, error) {
	b := &Broker{}
	options, err := clientOptions(cfg.NATS)
	if err != nil {
		return nil, err
	}
	options = append(options, b.handlers(log)...)
	if !cfg.UsesEmbedded() {
		b.conn, err = dial(cfg.NATS, options)
		return b, err
	}
	serverOptions, err := embeddedOptions(cfg)
	if err != nil {
		return nil, err
	}
	return started(b, b.start(ctx, cfg.Embedded.DataDir, serverOptions, options, log))
}

// OpenOutbox starts the server that keeps webhooks while the external broker is
// away, in a folder below RELAY_DATA_DIR. Only this process reaches it.
func OpenOutbox(ctx context.Context, cfg config.Config, log *slog.Logger) (*Broker, error) {
	b := &Broker{}
	serverOptions, err := outboxOptions(cfg)
	if err != nil {
		return nil, err
	}
	options, err := clientOptions(config.NATS{}) // without the external broker's credentials
	if err != nil {
		return nil, err
	}
	options = append(options, b.handlers(log.With("from", "outbox"))...)
	return started(b, b.start(ctx, cfg.Embedded.DataDir, serverOptions, options, log))
}

// started is a broker, or the error with which its start has ended.
func started(b *Broker, err error) (*Broker, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}

// start runs a server in this process and connects to it.
func (b *Broker) start(ctx context.Context, folder string, serverOptions *server.Options, options []nats.Option, log *slog.Logger) (err error) {
	b.embedded, err = startEmbedded(ctx, folder, serverOptions, log)
	if err != nil {
		return err
	}
	b.conn, err = nats.Connect("", append(options, nats.InProcessServer(b.embedded.server))...)
	if err != nil {
		return errors.Join(fmt.Errorf("the embedded broker does not let the relay in: %w", err), b.embedded.stop())
	}
	return nil
}

// OutboxLeftBehind reports whether there is an outbox of an earlier run in the
// data folder.
func OutboxLeftBehind(cfg config.Config) bool {
	_, err := os.Stat(filepath.Join(cfg.Embedded.DataDir, outboxFolder))
	return err == nil
}

// Conn is the connection. It reconnects for ever, and publishing fails at once
// while it is not connected.
func (b *Broker) Conn() *nats.Conn { return b.conn }

// URL is where consumers find the broker, without credentials.
func (b *Broker) URL() string {
	if b.embedded != nil {
		return b.embedded.url
	}
	return connectedTo(b.conn)
}

// connectedTo is the server's address. The client's own redaction leaves a user
// in it, which may be a token.
func connectedTo(nc *nats.Conn) string { return config.RedactURLs(nc.ConnectedUrl()) }

// MaxPayload is the largest message that the broker takes, in bytes, headers
// included; 0 while it has never been connected to.
func (b *Broker) MaxPayload() int64 { return b.conn.MaxPayload() }

// Health is nil while the broker can recover by itself. An error means that
// only a restart of this process helps: the embedded store stays frozen after a
// write error. An external broker's health is not this process's.
func (b *Broker) Health() error {
	if b.embedded == nil {
		return nil
	}
	return b.embedded.health()
}

// minFreeBytes is what is left on the disk of an embedded store: a write that
// fails for want of space freezes the store until the process ends.
const minFreeBytes = 4 << 20

// Room is nil while the disk of an embedded store has room for more.
func (b *Broker) Room() error {
	if b.embedded == nil {
		return nil
	}
	folder := b.embedded.server.StoreDir()
	free, err := freeBytes(folder)
	if err != nil || free >= minFreeBytes {
		return nil // where it cannot be told, a write tells
	}
	return fmt.Errorf("the disk is full: %d bytes are free at %s, and the last %d are not used; make room there", free, folder, minFreeBytes)
}

// Close ends the connection, after what was sent has left, and then the
// embedded server. It is bounded by ctx, and by 5 s.
func (b *Broker) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if b.conn.IsConnected() {
		// A flush that fails loses nothing: whoever waits for an acknowledgement
		// has not got one.
		_ = b.conn.FlushWithContext(ctx)
	}
	b.conn.Close()
	if b.embedded != nil {
		return b.embedded.stop()
	}
	return nil
}

// handlers tell the log what happens to the connection. They may run before
// the function that connects has returned.
func (b *Broker) handlers(log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.ConnectHandler(func(nc *nats.Conn) {
			log.Debug("connected to the broker", "url", connectedTo(nc), "server", nc.ConnectedServerName(), "version", nc.ConnectedServerVersion())
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected to the broker again", "url", connectedTo(nc), "server", nc.ConnectedServerName())
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("lost the connection to the broker", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if match := deniedPublish.FindStringSubmatch(err.Error()); match != nil && errors.Is(err, nats.ErrPermissionViolation) {
				if denied := b.denied.Load(); denied != nil {
					(*denied)(match[1])
					return
				}
			}
			log.Warn("the broker reports an error", "error", err)
		}),
	}
}

// deniedPublish is how nats-server words that a user may not publish; the word
// comes apart from the message, which is not replied to.
var deniedPublish = regexp.MustCompile(`(?i)permissions violation for publish to "([^"]+)"`)

// OnDenied sets what is called when the broker says that this user may not
// publish to a subject.
func (b *Broker) OnDenied(denied func(subject string)) { b.denied.Store(&denied) }
