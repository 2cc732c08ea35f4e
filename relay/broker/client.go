package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
)

// The client's defaults are made for programs that may wait. Here somebody
// waits for an answer for 30 seconds and then never calls again, so that a dead
// connection has to be noticed within a few seconds.
const (
	connectTimeout  = 3 * time.Second
	reconnectWait   = 500 * time.Millisecond
	reconnectJitter = 500 * time.Millisecond
	pingInterval    = 5 * time.Second
	maxPingsOut     = 2
	// flusherTimeout bounds how long a stalled broker can hold the connection's
	// lock; the default of a minute is longer than the sender waits.
	flusherTimeout = 3 * time.Second
	// inboxPrefix is the prefix of the broker's replies, instead of _INBOX: a user that
	// may subscribe to _INBOX.>, as consumers must, would hear the replies to others, the
	// quarantine for instance. It cannot lie below _INBOX: the server checks a delivery of
	// a stream against a user's denied subjects by the subject under which the message is
	// stored, not by the inbox (nats-server 2.15.2, client.go, deliverMsg).
	inboxPrefix = "_INBOX_RELAY"
)

// clientOptions is how the relay talks to any broker.
//
// It returns a config.Error if a file of credentials cannot be used.
func clientOptions(cfg config.NATS) ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name("apixo-relay"),
		nats.CustomInboxPrefix(inboxPrefix),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1), // the default gives up after 60 tries
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		// While disconnected, publishing fails at once. The default keeps 8 MiB and
		// sends them later, when nobody waits for the acknowledgement any more.
		nats.ReconnectBufSize(-1),
		// Credentials that a broker refuses may be accepted after its next reload.
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPingsOut),
		nats.FlusherTimeout(flusherTimeout),
		nats.ReconnectOnFlusherError(),
	}
	if cfg.User != "" {
		options = append(options, nats.UserInfo(cfg.User, cfg.Password))
	}
	if cfg.Token != "" {
		options = append(options, nats.Token(cfg.Token))
	}
	if cfg.Creds != "" {
		options = append(options, nats.UserCredentials(cfg.Creds))
	}
	if cfg.CA != "" {
		option := nats.RootCAs(cfg.CA)
		if err := option(new(nats.Options)); err != nil {
			return nil, config.Error{Variable: "NATS_CA", Value: cfg.CA, Problem: fmt.Sprintf("cannot be used: %v", err)}
		}
		options = append(options, option)
	}
	if cfg.Cert != "" {
		option := nats.ClientCert(cfg.Cert, cfg.Key)
		if err := option(new(nats.Options)); err != nil {
			return nil, config.Error{Variable: "NATS_CERT", Value: cfg.Cert, Problem: fmt.Sprintf("cannot be used with NATS_KEY=%q: %v", cfg.Key, err)}
		}
		options = append(options, option)
	}
	if cfg.TLSFirst {
		options = append(options, nats.TLSHandshakeFirst())
	}
	if cfg.NKey != "" {
		option, err := nats.NkeyOptionFromSeed(cfg.NKey)
		if err != nil {
			return nil, config.Error{Variable: "NATS_NKEY", Value: cfg.NKey, Problem: fmt.Sprintf("holds no NKey seed: %v", err)}
		}
		options = append(options, option)
	}
	return options, nil
}

// dial connects to an external broker, or starts to wait for it.
func (b *Broker) dial() error {
	conn, err := nats.Connect(b.url, b.options...)
	if err == nil {
		b.setConn(conn)
		return nil
	}
	if refused(err) {
		return fmt.Errorf("the broker at %s cannot be used: %w", config.RedactURLs(b.url), connectCause(b.nats, err))
	}
	b.noteDisconnected(err)
	conn, err = nats.Connect(b.url, append(b.options, nats.RetryOnFailedConnect(true))...)
	if err != nil {
		return fmt.Errorf("NATS_URL=%q cannot be used: %w", config.RedactURLs(b.url), err)
	}
	b.setConn(conn)
	return nil
}

// setConn makes a connection the broker's. Its handlers may be running already.
func (b *Broker) setConn(conn *nats.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conn = conn
}

// refused tells errors that waiting would not mend from a broker that is away.
func refused(err error) bool {
	if isUntrusted(err) {
		return true
	}
	for _, target := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked,
		nats.ErrAccountAuthExpired, nats.ErrNkeysNotSupported, nats.ErrSecureConnRequired,
		nats.ErrSecureConnWanted, nats.ErrInvalidConnection, nats.ErrNkeyButNoSigCB,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func isUntrusted(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// Connect connects a command to the external broker, or to the embedded broker of a running
// relay. Its error says what to do if there is none. The caller closes the connection.
func Connect(cfg config.Config, name string) (*nats.Conn, error) {
	options, err := commandOptions(cfg)
	if err != nil {
		return nil, err
	}
	url := clientURL(cfg)
	conn, err := nats.Connect(url, append(options, nats.Name(name), nats.ErrorHandler(logAsyncError))...)
	if err != nil {
		return nil, connectError(cfg, url, err)
	}
	return conn, nil
}

// logAsyncError is the client's own way of telling what nobody waits for, but for messages that
// it has dropped: whoever reads a stream notices, and reads them again.
func logAsyncError(_ *nats.Conn, _ *nats.Subscription, err error) {
	if !errors.Is(err, nats.ErrSlowConsumer) {
		fmt.Fprintln(os.Stderr, "nats:", err)
	}
}

// OpenClient is [Connect] for commands that publish: it returns a Broker, whose connection
// can be observed. It never starts an embedded server, whatever the configuration says.
func OpenClient(cfg config.Config, name string, log *slog.Logger) (*Broker, error) {
	options, err := commandOptions(cfg)
	if err != nil {
		return nil, err
	}
	b := &Broker{url: clientURL(cfg), nats: clientSettings(cfg), log: log, ended: make(chan struct{})}
	b.options = append(append(options, b.handlers()...), nats.Name(name))
	b.conn, err = nats.Connect(b.url, b.options...)
	if err != nil {
		return nil, connectError(cfg, b.url, err)
	}
	return b, nil
}

// commandOptions are those of a command: as the relay talks to an external broker, and
// to a running embedded one with TLS by the certificate that it has.
func commandOptions(cfg config.Config) ([]nats.Option, error) {
	options, err := clientOptions(cfg.NATS)
	if file := cfg.Embedded.TLSCertFile; cfg.UsesEmbedded() && file != "" && cfg.NATS.CA == "" {
		options = append(options, nats.Secure(tlsfiles.PinnedConfig(embeddedTLSVariables+"_CERT_FILE", file)))
	}
	return options, err
}

// clientURL is where a command finds the broker.
func clientURL(cfg config.Config) string {
	if cfg.UsesEmbedded() {
		return cfg.EmbeddedURL()
	}
	return cfg.NATS.URL
}

// clientSettings are those of the broker that a command finds.
func clientSettings(cfg config.Config) config.NATS {
	settings := cfg.NATS
	settings.URL = clientURL(cfg)
	return settings
}

// ConnectError says why a command has no connection to the broker.
type ConnectError struct {
	// Problem says what happened, without secrets, Hint what to do.
	Problem, Hint string
	// Err is the cause.
	Err error
}

// Error returns the problem and the hint.
func (e *ConnectError) Error() string { return e.Problem + "; " + e.Hint }

// Unwrap returns the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// isAboutTLS reports whether the two sides are not agreed on TLS, or on a certificate.
func isAboutTLS(err error) bool {
	return isUntrusted(err) || errors.Is(err, nats.ErrSecureConnWanted) || errors.Is(err, nats.ErrSecureConnRequired)
}

// connectError words why a command has no connection.
func connectError(cfg config.Config, url string, err error) error {
	cause := connectCause(clientSettings(cfg), err)
	away := &ConnectError{Problem: fmt.Sprintf("no broker at %s: %s", config.RedactURLs(url), cause.Problem), Hint: cause.Hint, Err: err}
	switch {
	case cause.Hint == credentialsHint:
		away.Problem = fmt.Sprintf("the broker at %s does not let this command in: %v", config.RedactURLs(url), err)
	case cfg.UsesEmbedded() && isAboutTLS(err):
		away.Hint = "give this command the RELAY_EMBEDDED_TLS_CERT_FILE that the relay has, or, with NATS_CA, the authority and the name of its certificate"
	case cfg.UsesEmbedded() && cause.Hint == addressHint:
		away.Hint = "start the relay ('apixo-relay') with the same RELAY_EMBEDDED_ADDR, or name an external broker with NATS_URL"
	}
	return away
}
