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
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
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
	embedded *embedded // nil with an external broker
	url      string    // of an external broker
	nats     config.NATS
	options  []nats.Option
	log      *slog.Logger
	// certificate is that of an embedded broker with TLS; nil without.
	certificate *tlsfiles.Files

	mu       sync.Mutex
	conn     *nats.Conn
	observer ConnObserver
	closing  bool
	ended    chan struct{} // closed with closing

	disconnected atomic.Pointer[disconnectReason]
}

// ConnObserver learns what becomes of the connection. Its methods must not call the
// broker's.
type ConnObserver interface {
	// Connected: there is a connection, or it is back. It may be another one.
	Connected(conn *nats.Conn)
	// Disconnected: the connection is lost.
	Disconnected()
	// PublishDenied: the broker does not let this user publish to a subject. It says so
	// apart from the message, to which nobody replies.
	PublishDenied(subject string)
	// SubscribeDenied: the broker does not let this user subscribe to a subject.
	SubscribeDenied(subject string)
}

// Open connects to the broker that the configuration names, or starts the
// embedded one.
//
// An external broker that is away is no error: the connection is made once it
// comes. One that refuses the credentials or whose certificate is not trusted
// is, since waiting would not mend it.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger) (*Broker, error) {
	settings := cfg.NATS
	if cfg.UsesEmbedded() {
		settings.CA = "" // for commands: there is no TLS within this process
	}
	options, err := clientOptions(settings)
	if err != nil {
		return nil, err
	}
	b := &Broker{url: cfg.NATS.URL, nats: cfg.NATS, log: log, ended: make(chan struct{})}
	b.options = append(options, b.handlers()...)
	if !cfg.UsesEmbedded() {
		return opened(b, b.dial())
	}
	serverOptions, err := embeddedOptions(cfg)
	if err != nil {
		return nil, err
	}
	if b.certificate, err = embeddedTLS(cfg.Embedded); err != nil {
		return nil, err
	}
	serverOptions.TLSConfig = b.certificate.Config()
	return opened(b, b.start(ctx, cfg.Embedded.DataDir, serverOptions))
}

// OpenOutbox starts the server that keeps webhooks while the external broker is
// away, in a folder below RELAY_DATA_DIR. Only this process reaches it.
func OpenOutbox(ctx context.Context, cfg config.Config, log *slog.Logger) (*Broker, error) {
	serverOptions, err := outboxOptions(cfg)
	if err != nil {
		return nil, err
	}
	options, err := clientOptions(config.NATS{}) // without the external broker's credentials
	if err != nil {
		return nil, err
	}
	b := &Broker{log: log.With("from", "outbox"), ended: make(chan struct{})}
	b.options = append(options, b.handlers()...)
	return opened(b, b.start(ctx, cfg.Embedded.DataDir, serverOptions))
}

// opened is a broker, or the error with which its start has ended.
func opened(b *Broker, err error) (*Broker, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}

// start runs a server in this process and connects to it.
func (b *Broker) start(ctx context.Context, folder string, serverOptions *server.Options) error {
	e, err := startEmbedded(ctx, folder, serverOptions, b.log)
	if err != nil {
		return err
	}
	b.options = append(b.options, nats.InProcessServer(e.door))
	conn, err := nats.Connect("", b.options...)
	if err != nil {
		return errors.Join(fmt.Errorf("the embedded broker does not let the relay in: %w", err), e.stop())
	}
	b.embedded, b.conn = e, conn
	return nil
}

// OutboxLeftBehind reports whether there is an outbox of an earlier run in the
// data folder.
func OutboxLeftBehind(cfg config.Config) bool {
	_, err := os.Stat(filepath.Join(cfg.Embedded.DataDir, OutboxFolder))
	return err == nil
}

// Conn is the connection as it is now. It reconnects for ever, and publishing
// fails at once while it is not connected.
func (b *Broker) Conn() *nats.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conn
}

// Observe tells a follower what becomes of the connection from now on, and
// whether there is one. It is called once at the most.
func (b *Broker) Observe(f ConnObserver) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.observer = f
	if b.conn.IsConnected() {
		f.Connected(b.conn)
	}
}

// URL is where consumers find the broker, without credentials.
func (b *Broker) URL() string {
	if b.embedded != nil {
		return b.embedded.url
	}
	return connectedTo(b.Conn())
}

// connectedTo is the server's address. The client's own redaction leaves a user
// in it, which may be a token.
func connectedTo(nc *nats.Conn) string { return config.RedactURLs(nc.ConnectedUrl()) }

// Guard bounds the memory that clients of an embedded broker have it take, until the
// broker is closed. The bodies of webhooks in flight, in bytes, are asked for meanwhile:
// they are not the clients'. With an external broker it does nothing. It is called once at
// the most.
func (b *Broker) Guard(cfg config.Config, inFlight func() int64) {
	if b.embedded != nil && cfg.UsesEmbedded() {
		b.embedded.guard(newMemoryGuard(b.embedded.door, cfg.EmbeddedMemory()/guardShare, inFlight, b.log))
	}
}

// Certificate are the files of an embedded broker's TLS, to be loaded anew when they
// change; nil if there are none.
func (b *Broker) Certificate() *tlsfiles.Files { return b.certificate }

// Health is nil while the broker can recover by itself. An error means that
// only a restart of this process helps: the embedded store stays frozen after a
// write error, and goes on with files that were removed. An external broker's health
// is not this process's.
func (b *Broker) Health() error {
	if b.embedded == nil {
		return nil
	}
	return b.embedded.health()
}

// Commit completes what an acknowledgement of an embedded broker promises: it returns
// when the files of a stream are where the next start looks for them and, with
// RELAY_EMBEDDED_SYNC=always, everything is durable that was stored in it before the call.
// An error, which also comes at the deadline of ctx, means that it may not be; where only a
// restart mends that, [Broker.Health] has one, too.
func (b *Broker) Commit(ctx context.Context, stream string) error {
	if b.embedded == nil {
		return nil
	}
	return b.embedded.commit(ctx, stream)
}

// ObserveCommits tells observed of each group commit from now on how many webhooks shared
// it and how long it took. It must not block.
func (b *Broker) ObserveCommits(observed func(webhooks int, took time.Duration)) {
	if b.embedded != nil && b.embedded.durable != nil {
		b.embedded.durable.Observe(observed)
	}
}

// MinFreeBytes is what is left on the disk of an embedded store: a write that
// fails for want of space freezes the store until the process ends.
const MinFreeBytes = 4 << 20

// CheckDiskSpace is nil while the disk of an embedded store has room for more.
func (b *Broker) CheckDiskSpace() error {
	if b.embedded == nil {
		return nil
	}
	return CheckDiskSpaceAt(b.embedded.server.StoreDir())
}

// CheckDiskSpaceAt is nil while there is room for more in a folder, or where that cannot be told.
func CheckDiskSpaceAt(folder string) error {
	free, _, err := DiskUsage(folder)
	if err != nil || free >= MinFreeBytes {
		return nil // where it cannot be told, a write tells
	}
	return fmt.Errorf("the disk is full: %d bytes are free at %s, and the last %d are not used; make room there", free, folder, MinFreeBytes)
}

// Close ends the connection, after what was sent has left, and then the
// embedded server. It is bounded by ctx, and by 5 s.
func (b *Broker) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	b.mu.Lock()
	if !b.closing {
		b.closing = true
		close(b.ended)
	}
	conn := b.conn
	b.mu.Unlock()
	if conn.IsConnected() {
		// A flush that fails loses nothing: whoever waits for an acknowledgement
		// has not got one.
		_ = conn.FlushWithContext(ctx)
	}
	conn.Close()
	if b.embedded != nil {
		return b.embedded.stop()
	}
	return nil
}
