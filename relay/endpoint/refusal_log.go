package endpoint

import (
	"log"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// A burst of refusals is logged, and then one every interval, because any peer can cause
// them.
const (
	logBurst    = 3
	logInterval = 20 * time.Second
)

// refusalLog counts the HTTP library's refusals, and logs some of them.
type refusalLog struct {
	count          func()
	log            *slog.Logger
	limit          *rate.Limiter
	omitted        atomic.Int64 // since the last line
	maxHeaderBytes int
	proxies        bool // whether anybody may send a PROXY protocol header
}

func newRefusalLog(s Settings) *refusalLog {
	return &refusalLog{
		count: s.OnRefused, log: s.Log, limit: rate.NewLimiter(rate.Every(logInterval), logBurst),
		maxHeaderBytes: s.HTTP.MaxHeaderBytes + headerSlack, proxies: s.IsProxy != nil,
	}
}

// report counts a refusal, and logs it unless too many came lately. The peer is empty if it is
// not known.
func (r *refusalLog) report(what refusal, peer string) {
	if r.count != nil {
		r.count()
	}
	if r.log == nil {
		return
	}
	if !r.limit.Allow() {
		r.omitted.Add(1)
		return
	}
	attrs := []any{"what", what.what, "hint", what.hint}
	if what.cause != "" {
		attrs = append(attrs, "cause", what.cause)
	}
	if peer != "" {
		attrs = append(attrs, "peer", peer)
	}
	if n := r.omitted.Swap(0); n > 0 {
		attrs = append(attrs, "omitted", n)
	}
	r.log.Warn("refused before it was a request", attrs...)
}

const http2Hint = "see what proxies on the way make of the request"

// http2 reports errors of HTTP/2 streams. The kind is a constant of the HTTP/2 library, which
// does not name the peer.
func (r *refusalLog) http2(kind string) {
	late := strings.HasSuffix(kind, "_closed") || strings.HasSuffix(kind, "_race") // the peer had not heard yet
	if strings.HasPrefix(kind, "stream_") && !late {
		r.report(refusal{what: "malformed HTTP/2", hint: http2Hint, cause: kind}, "")
	}
}

// connectionErrors are the prefixes of the HTTP/2 library's log lines on connection errors.
var connectionErrors = []string{"http2: server connection error from ", "http2: server: error reading preface from client "}

// libraryLog takes the HTTP library's log lines and passes them on. It reports the errors of
// HTTP/2 connections, which the library only logs.
type libraryLog struct {
	*refusalLog
	next *log.Logger
}

func (r *refusalLog) listen(next *log.Logger) *log.Logger {
	if next == nil {
		next = log.Default()
	}
	return log.New(libraryLog{r, next}, "", 0)
}

// Write implements [io.Writer].
func (l libraryLog) Write(line []byte) (int, error) {
	text := string(line)
	for _, begin := range connectionErrors {
		rest, ok := strings.CutPrefix(text, begin)
		if !ok {
			continue
		}
		peer, _, _ := strings.Cut(rest, ": ")
		if _, err := netip.ParseAddrPort(peer); err != nil {
			peer = ""
		}
		l.report(refusal{what: "malformed HTTP/2", hint: http2Hint}, peer)
	}
	l.next.Print(text)
	return len(line), nil
}

func (r *refusalLog) proxyHint() string {
	if r.proxies {
		return "it is only taken from RELAY_TRUSTED_PROXIES: name the balancer's network there"
	}
	return "set RELAY_PROXY_PROTOCOL=true, and RELAY_TRUSTED_PROXIES to the balancer's network"
}
