// Package broker connects to NATS: to the server that it runs inside this process, or to an
// external one. It knows options, credentials, TLS and the broker's health.
//
// It must not know the messages that are published.
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

// MaxEventOverhead is the largest difference, in bytes, between a message and twice the body
// of its webhook: the CloudEvents attributes, including the callback attributes. A message
// can have twice the body because an event has resultUrls and the resultJson from which they
// are decoded. A quarantined body in base64 is smaller.
const MaxEventOverhead = 16 << 10

// MaxMessageBytes returns the size in bytes of the largest message from a body of maxBody bytes.
func MaxMessageBytes(maxBody int64) int64 { return 2*maxBody + MaxEventOverhead }

// Broker is a connection to NATS, with the server if this process embeds it.
type Broker struct {
	embedded *embedded // nil with an external broker
	url      string    // of an external broker
	nats     config.NATS
	options  []nats.Option
	log      *slog.Logger
	// certificate is an embedded broker's certificate; nil without TLS.
	certificate *tlsfiles.Files

	mu        sync.Mutex
	conn      *nats.Conn
	observers []ConnObserver
	closing   bool
	ended     chan struct{} // closed with closing

	disconnected atomic.Pointer[disconnectReason]
}

// ConnObserver is notified of changes of the connection. Its methods must not call the
// Broker's methods.
type ConnObserver interface {
	// Connected is called when there is a connection, or there is one again. It may be
	// another one.
	Connected(conn *nats.Conn)
	// Disconnected is called when the connection is lost.
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
// An unreachable external broker is not an error: Open returns, and the connection is made
// when the broker comes. Refused credentials and an untrusted certificate are errors, because
// waiting would not help, and so is a store that a newer version has written. Version is that of
// the relay.
func Open(ctx context.Context, cfg config.Config, version string, log *slog.Logger) (*Broker, error) {
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
	return opened(b, b.start(ctx, cfg.Embedded, version, serverOptions))
}

// OpenOutbox starts the outbox's server, which stores webhooks while the external broker is
// away, in a folder below RELAY_DATA_DIR. Only this process can reach it.
func OpenOutbox(ctx context.Context, cfg config.Config, version string, log *slog.Logger) (*Broker, error) {
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
	return opened(b, b.start(ctx, cfg.Embedded, version, serverOptions))
}

// opened is a broker, or the error with which its start has ended.
func opened(b *Broker, err error) (*Broker, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}

// start runs a server in this process and connects to it.
func (b *Broker) start(ctx context.Context, settings config.Embedded, version string, serverOptions *server.Options) error {
	e, err := startEmbedded(ctx, settings, version, serverOptions, b.log)
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

// Conn returns the current connection. It reconnects without end. While it is not connected,
// publishing fails at once.
func (b *Broker) Conn() *nats.Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conn
}

// Observe notifies f of the current state of the connection and of its later changes.
func (b *Broker) Observe(f ConnObserver) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.observers = append(b.observers, f)
	if b.conn.IsConnected() {
		f.Connected(b.conn)
	}
}

// URL returns the broker's address for consumers, without credentials.
func (b *Broker) URL() string {
	if b.embedded != nil {
		return b.embedded.url
	}
	return connectedTo(b.Conn())
}

// connectedTo is the server's address. The client's own redaction leaves a user
// in it, which may be a token.
func connectedTo(nc *nats.Conn) string { return config.RedactURLs(nc.ConnectedUrl()) }

// Guard bounds the memory that the clients of an embedded broker can take, until the broker
// is closed. inFlight returns the bytes of the webhooks in flight, which do not count against
// the clients. With an external broker Guard does nothing. It must be called once at the most.
func (b *Broker) Guard(cfg config.Config, inFlight func() int64) {
	if b.embedded != nil && cfg.UsesEmbedded() {
		b.embedded.guard(newMemoryGuard(b.embedded.door, cfg.EmbeddedMemory()/guardShare, inFlight, b.log))
	}
}

// Certificate returns the TLS files of an embedded broker, which the caller reloads when they
// change. It is nil without TLS.
func (b *Broker) Certificate() *tlsfiles.Files { return b.certificate }

// Health returns nil while the broker can recover by itself. An error means that only a
// restart of this process helps: the embedded store stays frozen after a write error, and
// goes on writing to removed files. For an external broker it returns nil.
func (b *Broker) Health() error {
	if b.embedded == nil {
		return nil
	}
	return b.embedded.health()
}

// Commit makes the acknowledged messages of an embedded broker's stream durable. It returns
// when the files of the stream are in their place and, with RELAY_EMBEDDED_SYNC=always, every
// message that was stored before the call is fsynced. An error, which also comes at the
// deadline of ctx, means that messages may not be durable. If only a restart helps,
// [Broker.Health] returns an error, too.
func (b *Broker) Commit(ctx context.Context, stream string) error {
	if b.embedded == nil {
		return nil
	}
	return b.embedded.commit(ctx, stream)
}

// ObserveCommits has observed called after each later group commit, with the number of
// webhooks that shared it and its duration. The function must not block.
func (b *Broker) ObserveCommits(observed func(webhooks int, took time.Duration)) {
	if b.embedded != nil && b.embedded.durable != nil {
		b.embedded.durable.Observe(observed)
	}
}

// MinFreeBytes is the free disk space, in bytes, below which an embedded store takes nothing
// more: a write that fails for lack of space freezes the store until the process ends.
const MinFreeBytes = 4 << 20

// CheckDiskSpace returns an error if the disk of an embedded store has less than
// [MinFreeBytes] left.
func (b *Broker) CheckDiskSpace() error {
	if b.embedded == nil {
		return nil
	}
	return CheckDiskSpaceAt(b.embedded.server.StoreDir())
}

// CheckDiskSpaceAt returns an error if the file system of a folder has less than
// [MinFreeBytes] left. It returns nil if the free space is unknown.
func CheckDiskSpaceAt(folder string) error {
	free, _, err := DiskUsage(folder)
	if err != nil || free >= MinFreeBytes {
		return nil // where it cannot be told, a write tells
	}
	return fmt.Errorf("the disk is full: %d bytes are free at %s, and the last %d are not used; make room there", free, folder, MinFreeBytes)
}

// Close flushes and ends the connection, and then the embedded server. It takes until the end
// of ctx, or 5 s, at the most.
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
		// A failed flush loses nothing: a caller that waits for an acknowledgement
		// has not got one.
		_ = conn.FlushWithContext(ctx)
	}
	conn.Close()
	if b.embedded != nil {
		return b.embedded.stop()
	}
	return nil
}
