package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// SenderTimeout is how long APIXO waits for an answer (its webhook documentation).
	SenderTimeout = 30 * time.Second
	// SenderRetrySpan is the longest time from the start of the first delivery of
	// one webhook to the end of the last: retries after 30 s, 2 min and 10 min,
	// with each of the four deliveries running into SenderTimeout.
	SenderRetrySpan = 30*time.Second + 2*time.Minute + 10*time.Minute + 4*SenderTimeout

	// maxBodyBytes keeps an event, which can be twice as large as its body, within
	// the 64 MiB that a NATS server can be configured to take.
	maxBodyBytes = 31 << 20

	// minOutboxBytes is less than anybody wants, and enough to try it with.
	minOutboxBytes = 64 << 10

	// maxSourceBytes bounds what the source adds to the size of every event.
	maxSourceBytes = 1024
)

var (
	nameToken   = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	urlScheme   = regexp.MustCompile(`^[A-Za-z]+://`)
	webhookPath = regexp.MustCompile(`^/[A-Za-z0-9._~/-]*$`)
)

// isName reports whether s is 1 to so many letters, digits, - and _. The length
// is no part of the expression: compiled, {1,255} is 255 copies of what it
// repeats, which every start would pay for in time and memory.
func isName(s string, most int) bool { return len(s) <= most && nameToken.MatchString(s) }

// isSubjectPrefix reports whether s is 1 to 8 names with dots between them.
func isSubjectPrefix(s string) bool {
	tokens := strings.Split(s, ".")
	return len(tokens) <= 8 && !slices.ContainsFunc(tokens, func(token string) bool { return !isName(token, 64) })
}

// checker collects what is wrong with values that could be read.
type checker struct {
	vars   map[string]string
	unread map[string]bool // what could not be read has been reported already
	errs   Errors
}

func newChecker(vars map[string]string, reported Errors) *checker {
	k := &checker{vars: vars, unread: make(map[string]bool)}
	for _, err := range reported {
		k.unread[err.Variable], k.unread[strings.TrimSuffix(err.Variable, "_FILE")] = true, true
	}
	return k
}

// parsed reports whether all of the variables could be read. What depends on one
// that could not is not told: it may be no mistake of its own.
func (k *checker) parsed(variables ...string) bool {
	return !slices.ContainsFunc(variables, func(variable string) bool { return k.unread[variable] })
}

func (k *checker) require(ok bool, variable, problem, hint string) {
	if ok || k.unread[variable] {
		return
	}
	e := Error{Variable: variable, Problem: problem, Hint: hint}
	for _, v := range Variables() {
		e.Secret = e.Secret || v.Name == variable && v.Secret
	}
	if !e.Secret {
		e.Value = k.value(variable)
	}
	k.errs = append(k.errs, e)
}

// value is what the variable is set to or defaults to, without a password in it.
func (k *checker) value(variable string) string {
	value := k.vars[variable]
	if value == "" {
		for _, v := range Variables() {
			if v.Name == variable {
				return v.Default
			}
		}
	}
	if variable == "NATS_URL" && len(list(value)) > 0 {
		return RedactURLs(value)
	}
	return value
}

// check holds the values against their limits and against each other, but for
// those whose error has been reported. It settles the few that have two spellings.
func (c *Config) check(vars map[string]string, reported Errors) Errors {
	k := newChecker(vars, reported)
	c.checkWebhooks(k)
	c.checkTLS(k)
	if c.UsesEmbedded() {
		c.checkEmbedded(k)
	} else {
		c.checkNATS(k)
	}
	if k.parsed("RELAY_OUTBOX", "NATS_URL") {
		k.require(!c.Outbox.Enabled || !c.UsesEmbedded(), "RELAY_OUTBOX", "needs an external broker, and NATS_URL names none",
			"set NATS_URL, or leave RELAY_OUTBOX unset: the embedded broker is never away")
	}
	k.require(c.Outbox.CapacityBytes >= minOutboxBytes, "RELAY_OUTBOX_MAX_BYTES", "is out of range", fmt.Sprintf("choose %d bytes or more", minOutboxBytes))
	c.checkStream(k)
	c.checkAPI(k)
	c.checkExpect(k)
	c.checkVerify(k)
	c.checkUI(k)
	c.checkArchive(k)
	c.Tracing = readTracing(k.vars)

	source, err := url.Parse(c.Event.Source)
	k.require(err == nil && source.String() == c.Event.Source, "RELAY_CE_SOURCE", "is not a URI reference", "write it like https://api.apixo.ai")
	k.require(len(c.Event.Source) <= maxSourceBytes, "RELAY_CE_SOURCE", "is too long", fmt.Sprintf("each event carries it with it: choose at most %d characters", maxSourceBytes))
	return k.errs
}

func (c *Config) checkWebhooks(k *checker) {
	w := &c.Webhooks
	goodAddr := k.addr("RELAY_LISTEN_ADDR", w.ListenAddr)
	if c.Admin.Addr != "" {
		k.addr("RELAY_ADMIN_ADDR", string(c.Admin.Addr))
	}
	if goodAddr && !isLoopback(w.ListenAddr) && !w.AllowUnauthenticated && k.parsed("RELAY_WEBHOOK_TOKENS", "RELAY_ALLOW_UNAUTHENTICATED") {
		k.require(w.HasSenderPolicy(), "RELAY_LISTEN_ADDR",
			"other machines can reach it, and nothing tells APIXO's calls from anybody's",
			"set RELAY_WEBHOOK_TOKENS (make one with 'openssl rand -hex 16') or RELAY_TLS_CLIENT_CA_FILE, or accept it with RELAY_ALLOW_UNAUTHENTICATED=true")
	}
	if w.Path != "/" {
		w.Path = strings.TrimSuffix(w.Path, "/")
	}
	k.require(webhookPath.MatchString(w.Path) && path.Clean(w.Path) == w.Path, "RELAY_WEBHOOK_PATH",
		"is not a plain absolute path", "write it like /webhook/apixo: letters, digits and . _ ~ - between single slashes")
	everybody := func(p netip.Prefix) bool { return p.Bits() == 0 }
	k.require(len(w.AllowedCIDRs) == 0 || !slices.ContainsFunc(w.TrustedProxies, everybody), "RELAY_TRUSTED_PROXIES",
		"trusts everybody, so that any sender can claim an address that RELAY_ALLOWED_CIDRS lets in", "name the networks of your proxies, and of nobody else")
	if k.parsed("RELAY_TRUSTED_PROXIES") {
		k.require(!w.ProxyProtocol || len(w.TrustedProxies) > 0, "RELAY_PROXY_PROTOCOL", "is taken from RELAY_TRUSTED_PROXIES, which names nobody",
			"set RELAY_TRUSTED_PROXIES to the balancer's network, or leave RELAY_PROXY_PROTOCOL unset")
	}
	k.require(w.IdleTimeout >= time.Second, "RELAY_IDLE_TIMEOUT", "is out of range", "choose 1s or more; longer than the balancer in front keeps a connection")
	k.require(w.MaxBodyBytes >= 1024 && w.MaxBodyBytes <= maxBodyBytes, "RELAY_MAX_BODY_BYTES",
		"is out of range", fmt.Sprintf("choose from 1024 to %d bytes", maxBodyBytes))
	k.require(w.MaxInFlight >= 1, "RELAY_MAX_IN_FLIGHT", "lets no webhook in", "choose 1 or more")
	k.require(w.PublishTimeout >= 100*time.Millisecond && w.PublishTimeout < SenderTimeout, "RELAY_PUBLISH_TIMEOUT",
		"is out of range", fmt.Sprintf("choose from 100ms to less than %s, after which APIXO gives up on an answer", SenderTimeout))
	k.require(w.ShutdownTimeout > 0, "RELAY_SHUTDOWN_TIMEOUT", "leaves no time", "choose more than 0s")
}

func (c *Config) checkTLS(k *checker) {
	w := c.Webhooks
	k.keyPair("RELAY_TLS_CERT_FILE", w.TLSCertFile, "RELAY_TLS_KEY_FILE", w.TLSKeyFile)
	k.require(w.TLSClientCAFile == "" || w.TLSCertFile != "", "RELAY_TLS_CLIENT_CA_FILE",
		"client certificates need HTTPS", "set RELAY_TLS_CERT_FILE and RELAY_TLS_KEY_FILE too")
	k.pem("RELAY_TLS_CLIENT_CA_FILE", w.TLSClientCAFile)
}

func (c *Config) checkNATS(k *checker) {
	const urlHint = "write it like nats://host:4222, with commas between several"
	urls := list(c.NATS.URL)
	k.require(len(urls) > 0, "NATS_URL", "names no broker", urlHint)
	for _, s := range urls {
		u, err := url.Parse(s)
		if err == nil && u.Host == "" && !strings.Contains(s, "://") {
			u, err = url.Parse("nats://" + s) // the client takes a bare host:port too
		}
		good := err == nil && u.Host != ""
		if good {
			switch u.Scheme {
			case "nats", "tls", "ws", "wss":
			default:
				good = false
			}
		}
		k.require(good, "NATS_URL", "is not a list of broker addresses", urlHint)
		if !good {
			break
		}
	}
	k.require(c.NATS.Password == "" || c.NATS.User != "", "NATS_USER", "is missing beside NATS_PASSWORD", "set it, or unset the other")
	k.keyPair("NATS_CERT", c.NATS.Cert, "NATS_KEY", c.NATS.Key)
	k.require(c.NATS.Creds == "" || c.NATS.NKey == "", "NATS_NKEY", "NATS_CREDS is set too", "unset one of them")
	k.require(!c.NATS.TLSFirst || !slices.ContainsFunc(urls, isWebSocket), "NATS_TLS_FIRST", "is not for WebSocket, and NATS_URL names one", "write wss:// in NATS_URL for TLS, and unset NATS_TLS_FIRST")
	k.require(!strings.ContainsAny(c.Stream.Domain, ".*> \t"), "NATS_JS_DOMAIN", "is not the name of a domain", "write it as 'domain' in the broker's jetstream block has it: without dots, * and >")
	k.requireReadable("NATS_CREDS", c.NATS.Creds)
	k.pem("NATS_NKEY", c.NATS.NKey)
	k.pem("NATS_CA", c.NATS.CA)
	if c.Embedded.TLSCertFile != "" {
		c.Warnings = append(c.Warnings, Warning{
			Variable: "RELAY_EMBEDDED_TLS_CERT_FILE", Value: c.Embedded.TLSCertFile,
			Problem: "is for the embedded broker, and NATS_URL names another",
			Instead: "it is not used; unset it and RELAY_EMBEDDED_TLS_KEY_FILE, or NATS_URL",
		})
	}
}

func isWebSocket(s string) bool {
	return strings.HasPrefix(s, "ws://") || strings.HasPrefix(s, "wss://")
}

func (c *Config) checkStream(k *checker) {
	s := c.Stream
	const nameHint = "1 to 255 letters, digits, - and _"
	k.require(isName(s.Name, 255), "RELAY_STREAM", "is not a stream name", nameHint)
	k.require(isName(s.Quarantine, 255), "RELAY_QUARANTINE_STREAM", "is not a stream name", nameHint)
	k.require(s.Name != s.Quarantine, "RELAY_QUARANTINE_STREAM", "is RELAY_STREAM too", "choose another name: what could not become an event must stay apart")
	k.require(isSubjectPrefix(s.Prefix), "RELAY_SUBJECT_PREFIX", "is not a subject prefix", "up to 8 tokens of letters, digits, - and _, with dots between them")
	k.require(s.Replicas == 1 || s.Replicas == 3 || s.Replicas == 5, "RELAY_STREAM_REPLICAS", "is not a number of replicas", "choose 1, 3 or 5: an even number survives no more failures than the odd one below it")
	k.require(s.MaxAge == 0 || s.MaxAge >= time.Second, "RELAY_STREAM_MAX_AGE", "is too short", "choose 1s or more, or 0s to keep events for ever")
	k.require(s.MaxBytes == -1 || s.MaxBytes > 0, "RELAY_STREAM_MAX_BYTES", "is out of range", "choose a size in bytes, or -1 for no bound")
	k.require(s.Dedupe >= 100*time.Millisecond, "RELAY_DEDUPE_WINDOW", "is too short", "choose 15m or more: APIXO's last retry comes up to "+SenderRetrySpan.String()+" after the first try")
	k.require(s.MaxAge == 0 || s.Dedupe <= s.MaxAge, "RELAY_DEDUPE_WINDOW", "is longer than RELAY_STREAM_MAX_AGE ("+s.MaxAge.String()+")", "JetStream remembers ids only of events that it still has: shorten the one or lengthen the other")
}

func (c *Config) checkAPI(k *checker) {
	u, err := url.Parse(c.API.BaseURL)
	good := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && !strings.HasSuffix(u.Host, ":") && u.User == nil && u.RawQuery == "" && u.Fragment == ""
	k.require(good, "APIXO_BASE_URL", "is not the address of an API", "write it like https://api.apixo.ai")
	c.API.BaseURL = strings.TrimRight(c.API.BaseURL, "/")
	k.require(c.API.Rate > 0 && c.API.Rate <= MaxAPIRate, "RELAY_API_RATE", "is out of range", "choose more than 0 and at most 10000/m, which APIXO allows an account")
	// Behind a line break, a header would begin that nobody asked for.
	k.require(!isQuoted(c.API.Key), "APIXO_API_KEY", "has quotes around it", quotesHint)
	k.require(!shellVariable.MatchString(c.API.Key), "APIXO_API_KEY", "is a name in whose place only a shell puts a value", unexpandedHint)
	k.require(!strings.ContainsFunc(c.API.Key, func(r rune) bool { return r <= ' ' || r > '~' }), "APIXO_API_KEY", "holds white space or a character outside ASCII, which no header can carry", "copy it again from APIXO's console")
}

// MaxAPIRate is APIXO's documented limit for an account, in requests a second.
const MaxAPIRate = 10000.0 / 60

// minExpectAfter bounds how often the status API is asked for one task.
const minExpectAfter = time.Second

// needsKey expects a key where a feature asks the status API.
func (c *Config) needsKey(k *checker, on bool, variable string) {
	if k.parsed("APIXO_API_KEY") {
		k.require(!on || c.API.Key != "", variable, "needs the account's key, and APIXO_API_KEY is not set", "copy the key from APIXO's console into APIXO_API_KEY or a file that APIXO_API_KEY_FILE names, or leave "+variable+" unset")
	}
}

func (c *Config) checkExpect(k *checker) {
	e, w := &c.Expect, c.Webhooks
	c.needsKey(k, e.Enabled, "RELAY_EXPECT")
	k.require(isName(e.Bucket, 250), "RELAY_EXPECT_BUCKET", "is not the name of a bucket", "1 to 250 letters, digits, - and _")
	for _, stream := range []string{c.Stream.Name, c.Stream.Quarantine} {
		k.require(stream != "KV_"+e.Bucket, "RELAY_EXPECT_BUCKET", "is kept in the stream KV_"+e.Bucket+", which is that of events or of the quarantine", "choose another name")
	}
	e.Path = strings.TrimSuffix(e.Path, "/")
	k.require(e.Path != "" && webhookPath.MatchString(e.Path) && path.Clean(e.Path) == e.Path, "RELAY_EXPECT_PATH",
		"is not a plain absolute path", "write it like /expect: letters, digits and . _ ~ - between single slashes")
	if e.Enabled && k.parsed("RELAY_WEBHOOK_PATH") {
		below := func(a, b string) bool { return a == b || strings.HasPrefix(a, b+"/") }
		k.require(!below(w.Path, e.Path) && (w.Path == "/" || !below(e.Path, w.Path)), "RELAY_EXPECT_PATH",
			"and RELAY_WEBHOOK_PATH ("+w.Path+") are one path, or one is below the other, where its token stands", "choose another path for one of them")
	}
	k.require(e.After >= minExpectAfter, "RELAY_EXPECT_AFTER", "is too short", "choose "+minExpectAfter.String()+" or more: a webhook mostly comes in the second in which its task ends")
	k.require(e.GiveUp >= e.After, "RELAY_EXPECT_GIVE_UP", "is shorter than RELAY_EXPECT_AFTER ("+e.After.String()+")", "a task has to be asked for before it is given up: lengthen the one or shorten the other")
}

func (c *Config) checkVerify(k *checker) {
	v := c.Verify
	on := v.Mode != VerifyOff && k.parsed("RELAY_VERIFY")
	c.needsKey(k, on, "RELAY_VERIFY")
	if k.parsed("RELAY_CALLBACK_ATTRIBUTES") {
		k.require(!on || slices.Contains(c.Event.Attributes, "model"), "RELAY_VERIFY", "needs the model of a task, which RELAY_CALLBACK_ATTRIBUTES does not take from the callback URL", "add model to RELAY_CALLBACK_ATTRIBUTES")
	}
	k.require(v.Timeout >= 10*time.Millisecond, "RELAY_VERIFY_TIMEOUT", "is too short", "choose 10ms or more")
	if k.parsed("RELAY_PUBLISH_TIMEOUT") {
		k.require(!on || v.Timeout < c.Webhooks.PublishTimeout, "RELAY_VERIFY_TIMEOUT", "leaves no time for storing within RELAY_PUBLISH_TIMEOUT ("+c.Webhooks.PublishTimeout.String()+")", "choose less, such as 5s")
	}
}

// pair expects that both of two variables are set, or neither.
func (k *checker) pair(one, value, other, otherValue string) {
	k.require(value == "" || otherValue != "", other, "is missing beside "+one, "set both or neither")
	k.require(otherValue == "" || value != "", one, "is missing beside "+other, "set both or neither")
}

// addr expects a host and a port; it reports whether it is one.
func (k *checker) addr(variable, addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	k.require(err == nil, variable, "is not an address", "write it like 127.0.0.1:8720, :8720 or [::1]:8720")
	return err == nil
}

// isLoopback reports whether only this machine can reach the address.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && IsLoopback(host)
}

// IsLoopback reports whether a host, without a port, is this machine. A name other than
// localhost is taken to be reachable by others: what it resolves to can change.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// RedactURLs replaces possible secrets in comma-separated broker addresses: a user, which may
// be a token, and a password.
func RedactURLs(urls string) string {
	items := list(urls)
	rest := false // without a scheme, what follows may be the rest of a password with commas in it
	for i, s := range slices.Backward(items) {
		scheme := urlScheme.FindString(s)
		switch at := strings.LastIndexByte(s, '@'); {
		case rest:
			items[i] = scheme + "***"
		case at >= 0:
			items[i] = scheme + "***" + s[at:]
		default:
			continue
		}
		rest = scheme == ""
	}
	return strings.Join(items, ",")
}
