// Package config reads the environment once and validates it: a Config from Load needs no
// further checks.
//
// It knows the names, defaults and limits of the settings. It must not know their use: no
// HTTP, no NATS, no other package of the relay but small helpers.
package config

import (
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// Config is every setting of the relay and its commands. The fields' env tags
// name the variables, the doc tags explain them; the settings tables of the
// README and of 'apixo-relay serve -h' are made from both.
type Config struct {
	// Webhooks is where webhooks arrive and who may send them.
	Webhooks Webhooks
	// Admin is the endpoint for health, readiness and metrics.
	Admin Admin
	// Log is what is logged, and how.
	Log Log
	// NATS is the way to an external broker.
	NATS NATS
	// Embedded is the broker inside the relay, used when NATS.URL is empty.
	Embedded Embedded
	// Outbox keeps webhooks while an external broker is away.
	Outbox Outbox
	// Stream is where events are stored.
	Stream Stream
	// Event is how a webhook becomes a CloudEvent.
	Event Event
	// API is APIXO's status API.
	API API
	// Expect is the register of announced tasks.
	Expect Expect
	// Verify holds webhooks against the status API.
	Verify Verify
	// UI is the operator's page.
	UI UI
	// Archive is what the command archive downloads.
	Archive Archive
	// Tracing is the export of spans.
	Tracing Tracing `env:"-"`

	// Unknown are the names of variables that start with RELAY_ and mean
	// nothing here: mistyped, or of another version. They are worth a warning
	// and no more. Names that Kubernetes makes from those of services are not in it.
	Unknown []string `env:"-"`
	// Warnings are about values that can be right, and seldom are. Those of tracing
	// are in Tracing.
	Warnings []Warning `env:"-"`
}

// Webhooks is where webhooks arrive and who may send them.
type Webhooks struct {
	// ListenAddr is a host and port; port 0 takes a free one.
	ListenAddr string `env:"RELAY_LISTEN_ADDR" envDefault:"127.0.0.1:8720" doc:"where webhooks arrive, as host:port. The default is reachable from this machine only, which is right for a sidecar behind a TLS-terminating proxy"`
	// Path starts with a slash and, but for the path / itself, ends without one.
	Path string `env:"RELAY_WEBHOOK_PATH" envDefault:"/webhook/apixo" doc:"path of the callback URL, without the token"`
	// Tokens are the secrets that are valid now. TokensFile, where given, is
	// the file that they came from.
	Tokens     Tokens `env:"RELAY_WEBHOOK_TOKENS" doc:"comma-separated secrets of 16 characters or more, one of which each callback URL must bring: APIXO signs nothing, so the URL is all there is to tell its calls from others. Several are valid at once: add the new one, change the callback URLs, remove the old one. Read from a file, a change of the file is taken up without a restart"`
	TokensFile string `env:"-"`
	// AllowUnauthenticated lifts the refusal to be reachable without a secret.
	AllowUnauthenticated bool `env:"RELAY_ALLOW_UNAUTHENTICATED" envDefault:"false" doc:"without tokens and without a TLS client CA the relay refuses to listen on an address that other machines can reach, unless this is true. On a loopback address it takes webhooks for localhost and loopback addresses only, which keeps web pages out, unless this is true: for a proxy in front that passes on its public name. It speaks of webhooks only"`
	// AllowedCIDRs are the addresses that may send; none means any.
	AllowedCIDRs Prefixes `env:"RELAY_ALLOWED_CIDRS" doc:"comma-separated networks (or single addresses) that may send webhooks; none means any"`
	// TrustedProxies are the peers that are believed about whom they send for.
	TrustedProxies Prefixes `env:"RELAY_TRUSTED_PROXIES" doc:"comma-separated networks of the proxies whose X-Forwarded-For and Forwarded headers, and PROXY protocol with RELAY_PROXY_PROTOCOL, are believed; from anyone else those headers are ignored. Senders must not be in them, or they could claim any address"`
	// ProxyProtocol has connections of TrustedProxies begin with a PROXY protocol header.
	ProxyProtocol bool `env:"RELAY_PROXY_PROTOCOL" envDefault:"false" doc:"take the PROXY protocol (versions 1 and 2) from RELAY_TRUSTED_PROXIES: the address in its header is the sender's. The balancer must send it on every connection that it passes on, or senders could write one themselves"`
	// IdleTimeout is how long a connection without a request is kept.
	IdleTimeout time.Duration `env:"RELAY_IDLE_TIMEOUT" envDefault:"620s" doc:"how long a connection without a request is kept, in HTTP/1.1 and HTTP/2: longer than the balancer in front keeps it, or that sends into a closed one. deploy/BALANCERS.md lists what they do"`
	// TLSCertFile, TLSKeyFile and TLSClientCAFile are PEM files.
	TLSCertFile     string `env:"RELAY_TLS_CERT_FILE" doc:"PEM certificate chain; with it the relay speaks HTTPS itself. A changed file is taken up without a restart"`
	TLSKeyFile      string `env:"RELAY_TLS_KEY_FILE" doc:"PEM private key of the certificate"`
	TLSClientCAFile string `env:"RELAY_TLS_CLIENT_CA_FILE" doc:"PEM certificates of the authorities whose client certificates are asked for (mTLS)"`
	// MaxBodyBytes bounds a request body.
	MaxBodyBytes int64 `env:"RELAY_MAX_BODY_BYTES" envDefault:"262144" doc:"larger bodies get 413. An event can be twice as large as its webhook, so this is checked at start against the broker's max_payload"`
	// MaxInFlight bounds the webhooks that are worked on at once.
	MaxInFlight int `env:"RELAY_MAX_IN_FLIGHT" envDefault:"1024" doc:"more webhooks at once get 503 with Retry-After. With RELAY_MAX_BODY_BYTES it bounds the memory that webhooks take"`
	// PublishTimeout is the whole budget for one webhook.
	PublishTimeout time.Duration `env:"RELAY_PUBLISH_TIMEOUT" envDefault:"20s" doc:"the whole budget for one webhook, from its headers to the answer; must stay under the 30s after which APIXO gives up on an answer"`
	// ShutdownTimeout bounds the orderly end.
	ShutdownTimeout time.Duration `env:"RELAY_SHUTDOWN_TIMEOUT" envDefault:"25s" doc:"how long webhooks in flight may take to finish after SIGTERM or SIGINT; Kubernetes kills after 30s unless told otherwise"`
}

// Admin is the endpoint for health, readiness and metrics.
type Admin struct {
	// Addr is a host and port, or empty where the endpoint is off.
	Addr AdminAddr `env:"RELAY_ADMIN_ADDR" envDefault:"127.0.0.1:8721" doc:"where /healthz, /readyz and /metrics answer; off disables them"`
}

// Log is what is logged, and how.
type Log struct {
	// Level is the least level that is logged.
	Level slog.Level `env:"RELAY_LOG_LEVEL" envDefault:"info" doc:"debug, info, warn or error"`
	// Format is the form of a log line.
	Format LogFormat `env:"RELAY_LOG_FORMAT" envDefault:"auto" doc:"text, json, or auto: text on a terminal and JSON otherwise. Logs go to standard error"`
}

// NATS is the way to an external broker. The variables have the names that the
// nats command line tool uses.
type NATS struct {
	// URL is one server or several, comma-separated; empty means the embedded broker.
	URL      string `env:"NATS_URL" doc:"the broker, or several of one cluster, comma-separated; unset means the embedded one"`
	Creds    string `env:"NATS_CREDS" doc:"file with user credentials (JWT and seed)"`
	NKey     string `env:"NATS_NKEY" doc:"file with an NKey seed"`
	User     string `env:"NATS_USER" doc:"user name. With the embedded broker: the one that it asks its clients for"`
	Password string `env:"NATS_PASSWORD" secret:"true" doc:"password of that user; with the embedded broker of 16 characters or more"`
	Token    string `env:"NATS_TOKEN" secret:"true" doc:"token. With the embedded broker: the one that it asks its clients for, of 16 characters or more"`
	CA       string `env:"NATS_CA" doc:"PEM file with the authorities that the broker's certificate is checked against, instead of the system's. For commands with the embedded broker: instead of RELAY_EMBEDDED_TLS_CERT_FILE"`
	Cert     string `env:"NATS_CERT" doc:"PEM file with the client certificate"`
	Key      string `env:"NATS_KEY" doc:"PEM file with the client certificate's key"`
	// TLSFirst: TLS begins before the broker has said anything.
	TLSFirst bool `env:"NATS_TLS_FIRST" envDefault:"false" doc:"begin with TLS before the broker has said anything, for one that is configured with handshake_first (the nats tool's --tlsfirst)"`
}

// Embedded is the broker inside the relay.
type Embedded struct {
	// DataDir is the folder of the broker's store, and of the outbox.
	DataDir string `env:"RELAY_DATA_DIR" envDefault:"apixo-relay-data" doc:"folder of the embedded broker's store and of the outbox; one relay at a time"`
	// Addr is where consumers reach the embedded broker; port 0 takes a free one.
	Addr string `env:"RELAY_EMBEDDED_ADDR" envDefault:"127.0.0.1:4222" doc:"where consumers reach the embedded broker. An address that other machines can reach needs NATS_TOKEN or NATS_USER and NATS_PASSWORD, and should have TLS"`
	// TLSCertFile and TLSKeyFile are PEM files.
	TLSCertFile string `env:"RELAY_EMBEDDED_TLS_CERT_FILE" doc:"PEM certificate chain of the embedded broker; with it whoever connects to RELAY_EMBEDDED_ADDR has to use TLS. It may be the file in RELAY_TLS_CERT_FILE. The relay's commands trust the first certificate in it, whatever name it is for and whoever signed it. A changed file is taken up without a restart"`
	TLSKeyFile  string `env:"RELAY_EMBEDDED_TLS_KEY_FILE" doc:"PEM private key of that certificate"`
	// Sync says what a 200 promises.
	Sync Sync `env:"RELAY_EMBEDDED_SYNC" envDefault:"always" doc:"always: a 200 means fsynced, once for all webhooks that wait, so it survives a power loss; interval: a 200 means written, and fsynced within two minutes, so it survives a crash of the relay but not of the machine"`
	// AllowDowngrade: a store may lose what this program does not know.
	AllowDowngrade bool `env:"RELAY_ALLOW_DOWNGRADE" envDefault:"false" doc:"open a store in RELAY_DATA_DIR, once, from which this older version loses something that a newer one has written there. The error with which the relay refuses to start otherwise says what"`
}

// Outbox keeps webhooks while an external broker is away.
type Outbox struct {
	// Enabled: without it webhooks get 503 meanwhile.
	Enabled bool `env:"RELAY_OUTBOX" envDefault:"false" doc:"while an external broker is away, keep webhooks in RELAY_DATA_DIR, fsynced, answer 200, and forward them in order when it is back; without it they get 503, and APIXO's retries have to bridge the gap"`
	// CapacityBytes bounds what is kept.
	CapacityBytes int64 `env:"RELAY_OUTBOX_MAX_BYTES" envDefault:"1073741824" doc:"how much the outbox keeps; a full one refuses (503) and drops nothing"`
}

// Stream is where events are stored.
type Stream struct {
	// Domain is the JetStream domain; empty means that of the server that is connected to.
	Domain string `env:"NATS_JS_DOMAIN" doc:"the JetStream domain that has the streams, where it is another one than that of the server in NATS_URL: the hub's, seen from a leaf node (the nats tool's --js-domain)"`
	// Name is the stream of the events.
	Name string `env:"RELAY_STREAM" envDefault:"APIXO" doc:"name of the stream that holds the events"`
	// Quarantine is the stream of what could not become an event.
	Quarantine string `env:"RELAY_QUARANTINE_STREAM" envDefault:"APIXO_QUARANTINE" doc:"name of the stream that keeps what could not become an event"`
	// Prefix is the first token, or tokens, of every subject.
	Prefix string `env:"RELAY_SUBJECT_PREFIX" envDefault:"apixo" doc:"first token or tokens of every subject"`
	// Policy says whose the streams are.
	Policy StreamPolicy `env:"RELAY_STREAM_POLICY" envDefault:"create" doc:"create: make missing streams, never change existing ones; update: bring existing ones to this configuration too, taking nothing away: other subjects stay, replicas, age, size and window shrink only where their variable is set, and nothing is changed that would delete messages; require: they must exist, because something else manages them"`
	// Replicas is the number of servers that store each event.
	Replicas int `env:"RELAY_STREAM_REPLICAS" envDefault:"1" doc:"servers of a cluster that store each event: 1, 3 or 5"`
	// MaxAge is how long events are kept; 0 means for ever.
	MaxAge time.Duration `env:"RELAY_STREAM_MAX_AGE" envDefault:"168h" doc:"how long events are kept; 0s means for ever"`
	// MaxBytes bounds a stream; -1 means no bound.
	MaxBytes int64 `env:"RELAY_STREAM_MAX_BYTES" envDefault:"-1" doc:"size of a stream in bytes, -1 for no bound. A full stream refuses new events (503) and never evicts old ones silently"`
	// Dedupe is the duplicate window.
	Dedupe time.Duration `env:"RELAY_DEDUPE_WINDOW" envDefault:"1h" doc:"how long a task id is remembered: within it, a repeated webhook stores nothing. APIXO's last retry comes up to 14m30s after the first try"`
	// Given says which of the settings above were set. An existing stream is compared
	// with these only.
	Given GivenStream `env:"-"`
}

// GivenStream says which settings of a stream were set. The others have their defaults, which
// a stream that somebody else made need not have.
type GivenStream struct {
	Replicas, MaxAge, MaxBytes, Dedupe bool
}

// Event is how a webhook becomes a CloudEvent.
type Event struct {
	// Source is the CloudEvents source attribute.
	Source string `env:"RELAY_CE_SOURCE" envDefault:"https://api.apixo.ai" doc:"the CloudEvents attribute source, a URI reference"`
	// Mode is the content mode of the NATS protocol binding.
	Mode CEMode `env:"RELAY_CE_MODE" envDefault:"structured" doc:"structured: the message is the whole CloudEvent as JSON; binary: the message is the data, the attributes are headers"`
	// Attributes are query parameters of the callback URL that are kept.
	Attributes Attributes `env:"RELAY_CALLBACK_ATTRIBUTES" envDefault:"model" doc:"comma-separated query parameters of the callback URL that become CloudEvents extension attributes: a webhook does not say which model it is about, the URL can. At most 10"`
}

// UsesEmbedded reports whether the broker is the one inside the relay.
func (c Config) UsesEmbedded() bool { return c.NATS.URL == "" }

const (
	// ProgramMemory is what the program and the queues of an embedded broker take at
	// the most, in bytes, apart from the ids that such a broker remembers. In it is what
	// senders can hold without a token however many connections they have: refusals that
	// they do not read, and headers that do not end (see packages receiver and endpoint).
	ProgramMemory = 300 << 20
	// BodyCopies is how many times its body a webhook takes at the most: the body
	// and its message, which can be twice as large.
	BodyCopies = 3
	// perWebhook is what a webhook takes besides, in bytes: its headers and what is
	// made of them, its answer, and the buffers on the way.
	perWebhook = 32 << 10
	// perConnection is what a connection takes, in bytes, whether there is a webhook on
	// it or not: in HTTP/2 over TLS, where it is the most, the buffers of both and the
	// stacks of their goroutines.
	perConnection = 64 << 10
	// leastConnections is how many connections are taken in any case, however few
	// webhooks may be in flight: a balancer keeps some hundred idle ones.
	leastConnections = 512

	// EmbeddedConnections is how many clients an embedded broker lets in at once, the
	// relay itself apart. More than a sidecar's consumers and commands need, and few
	// enough for all of them to leave unread what they may.
	EmbeddedConnections = 64
	// embeddedPending is how much may wait for a client of an embedded broker, in bytes,
	// before its connection is closed: 500 events of 16 KiB, as many as a pull asks for
	// by default. It is for whoever reads slower than events come.
	embeddedPending = 8 << 20
	// embeddedMessages is how many messages besides a client can make the embedded
	// broker hold: the one that it is sending, and one in each queue of requests to
	// JetStream.
	embeddedMessages = 3
	// embeddedQueued is what pulls can bring into the queues of the embedded broker, in
	// bytes, before those who pulled are disconnected.
	embeddedQueued = 512 << 20
	// natsMaxPayload is what messages a NATS server takes at least, in bytes.
	natsMaxPayload = 1 << 20
)

// MaxConnections returns how many connections to the webhook endpoint may be open at once: one
// for each webhook in flight, and as many idle ones. The process's limit of open
// files may allow less.
func (w Webhooks) MaxConnections() int { return max(2*w.MaxInFlight, leastConnections) }

// MemoryBound returns the most memory, in bytes, that the relay can need at these limits.
func (c Config) MemoryBound() int64 {
	w := c.Webhooks
	return ProgramMemory +
		int64(w.MaxInFlight)*(BodyCopies*w.MaxBodyBytes+perWebhook) +
		int64(w.MaxConnections())*perConnection +
		c.EmbeddedMemory()
}

// EmbeddedPending returns how many bytes may wait for a client of the embedded broker: four
// messages at least.
func (c Config) EmbeddedPending() int64 {
	return max(embeddedPending, 4*BodyCopies*c.Webhooks.MaxBodyBytes)
}

// EmbeddedMemory returns the most memory, in bytes, that the clients of an embedded broker can
// make it take, whatever they send and however little they read.
func (c Config) EmbeddedMemory() int64 {
	if !c.UsesEmbedded() {
		return 0
	}
	return embeddedQueued + EmbeddedConnections*(c.EmbeddedPending()+embeddedMessages*max(natsMaxPayload, BodyCopies*c.Webhooks.MaxBodyBytes))
}

// HasSenderPolicy reports whether anything but the address tells senders apart.
func (w Webhooks) HasSenderPolicy() bool { return len(w.Tokens) > 0 || w.TLSClientCAFile != "" }

// OthersCanSend reports whether other machines can reach the webhook endpoint.
func (c Config) OthersCanSend() bool { return !isLoopback(c.Webhooks.ListenAddr) }

// AdminURL returns the admin endpoint's URL on this machine. It is empty if the endpoint is off.
func (c Config) AdminURL() string {
	if c.Admin.Addr == "" {
		return ""
	}
	return "http://" + Reachable(string(c.Admin.Addr))
}

// CallbackURL returns the URL that reaches the webhook endpoint from this machine,
// with the first of the tokens where there are any: a secret, not to be printed.
func (c Config) CallbackURL() string { return c.WebhookURL(c.Webhooks.ListenAddr, c.firstToken()) }

// WebhookURL returns the URL of the webhook endpoint at the address on which it listens, with a
// token, or a placeholder for one, as its last segment.
func (c Config) WebhookURL(addr, token string) string {
	return c.urlAt(addr, c.Webhooks.Path, token)
}

// AnnounceURL is [Config.WebhookURL] for announcements of tasks.
func (c Config) AnnounceURL(addr, token string) string { return c.urlAt(addr, c.Expect.Path, token) }

func (c Config) urlAt(addr, path, token string) string {
	u := url.URL{Scheme: "http", Host: Reachable(addr), Path: path}
	if c.Webhooks.TLSCertFile != "" {
		u.Scheme = "https"
	}
	if token == "" {
		return u.String()
	}
	if u.Path == "/" {
		u.Path = ""
	}
	return u.String() + "/" + url.PathEscape(token)
}

func (c Config) firstToken() string {
	if len(c.Webhooks.Tokens) == 0 {
		return ""
	}
	return c.Webhooks.Tokens[0]
}

// EmbeddedURL returns the embedded broker's address for clients on this machine.
func (c Config) EmbeddedURL() string {
	scheme := "nats://"
	if c.Embedded.TLSCertFile != "" {
		scheme = "tls://"
	}
	return scheme + Reachable(c.Embedded.Addr)
}

// Reachable replaces the address that means every interface by one that can be dialled.
func Reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
