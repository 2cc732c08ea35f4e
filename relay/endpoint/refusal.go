package endpoint

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

const (
	// preface is how each HTTP/2 connection begins (RFC 9113, section 3.4).
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	// unknownStatus is a status that is encrypted.
	unknownStatus = -1
	// alertBytes is more than what TLS writes by itself after its handshake (alerts,
	// new keys), and less than any refusal.
	alertBytes = 64
	// headerSlack is what the library takes of headers beyond http.Server.MaxHeaderBytes.
	headerSlack = 4 << 10
)

// What a connection can begin with.
const (
	proxyV1 = "the PROXY protocol, version 1"
	proxyV2 = "the PROXY protocol, version 2"
	isTLS   = "TLS"
	isHTTP2 = "HTTP/2 without TLS"
	isHTTP1 = "HTTP without TLS"
)

// refusal describes a connection or request that the HTTP library refused, with a hint.
type refusal struct{ what, hint, cause string }

// noteRefusal records the status that the library writes before the handler was called.
// Under TLS the status is encrypted, and only a write after the handshake can be seen.
func (c *conn) noteRefusal(b []byte) {
	switch {
	case c.tls == nil && bytes.HasPrefix(b, []byte("HTTP/1.")) && len(b) > len("HTTP/1.1 400"):
		if status, err := strconv.Atoi(string(b[9:12])); err == nil {
			c.refused = status
		}
	case c.tls != nil && c.known.Load() && !c.h2.Load() && len(b) > alertBytes:
		c.refused = unknownStatus
	}
}

// refusal returns the library's refusal on a connection that has ended, or nil. A peer that
// only connects, or hangs up in the middle, is not refused.
func (c *conn) refusal(r *refusalLog) *refusal {
	begin := looksLike(c.first[:c.seen])
	switch {
	case c.badHeader:
		return &refusal{what: "a malformed PROXY protocol header", hint: "see what the balancer sends; versions 1 and 2 are taken, for TCP over IPv4 and IPv6"}
	case c.h2.Load():
		return nil // whose library tells by itself
	case c.tls != nil && !c.known.Load():
		return c.badHandshake(begin, r)
	case c.tls != nil:
		if c.refused != 0 && c.sentGoAway() {
			return nil
		}
		return refusedRequest(c.refused, r.maxHeaderBytes)
	case c.answered.Load(), begin == isHTTP1, begin == isHTTP2:
		return refusedRequest(c.refused, r.maxHeaderBytes)
	case begin == proxyV1, begin == proxyV2:
		return &refusal{what: begin, hint: r.proxyHint()}
	case begin == isTLS:
		return &refusal{what: begin, hint: "this port speaks plain HTTP: send to http://, end TLS at a proxy in front, or set RELAY_TLS_CERT_FILE and RELAY_TLS_KEY_FILE"}
	case c.refused != 0, isBinary(c.first[:c.seen]):
		return &refusal{what: "no HTTP", hint: "see what runs at the peer's address"}
	}
	return nil
}

// badHandshake returns why a TLS handshake failed, or nil if the peer only went away.
func (c *conn) badHandshake(begin string, r *refusalLog) *refusal {
	err := c.tls.Handshake() // it has ended: this returns its error again
	switch {
	case begin == proxyV1, begin == proxyV2:
		return &refusal{what: begin, hint: r.proxyHint()}
	case err == nil, hungUp(err):
		return nil
	case begin == isTLS:
		return &refusal{what: "a failed TLS handshake", hint: "see the cause; 'apixo-relay check' looks at the certificate", cause: printable(err)}
	case begin == isHTTP1, begin == isHTTP2:
		return &refusal{what: begin, hint: "this port speaks TLS: send to https://, or unset RELAY_TLS_CERT_FILE where a proxy in front ends TLS"}
	default:
		return &refusal{what: "no TLS", hint: "this port speaks TLS: see what runs at the peer's address"}
	}
}

// sentGoAway reports whether the peer ended TLS in order before the library refused its
// incomplete request. The connection must have been closed.
func (c *conn) sentGoAway() bool {
	_, err := c.tls.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

// refusedRequest returns why an HTTP/1 request was refused, by its status, or nil if none was
// refused.
func refusedRequest(status, maxHeaderBytes int) *refusal {
	switch status {
	case 0:
		return nil
	case unknownStatus:
		return &refusal{what: fmt.Sprintf("a malformed HTTP request, or headers over %d bytes", maxHeaderBytes), hint: "see what proxies on the way make of the request"}
	case http.StatusRequestHeaderFieldsTooLarge:
		return &refusal{what: fmt.Sprintf("headers over %d bytes", maxHeaderBytes), hint: "see what cookies and headers proxies on the way add"}
	case http.StatusNotImplemented:
		return &refusal{what: "an HTTP request in an unknown transfer coding", hint: "only chunked is known"}
	case http.StatusHTTPVersionNotSupported:
		return &refusal{what: "an unknown version of HTTP", hint: "1.0, 1.1 and 2 are spoken"}
	case http.StatusExpectationFailed:
		return &refusal{what: "an HTTP request with an unknown Expect header", hint: "only 100-continue is known"}
	default:
		return &refusal{what: "a malformed HTTP request", hint: "see what proxies on the way make of the request"}
	}
}

// looksLike names the protocol whose first bytes are b. It returns "" if it knows none.
func looksLike(b []byte) string {
	method, _, spaced := bytes.Cut(b, []byte(" "))
	switch {
	case bytes.HasPrefix(b, []byte("\r\n\r\n\x00\r\nQUIT\n")):
		return proxyV2
	case bytes.HasPrefix(b, []byte("PROXY ")):
		return proxyV1
	case bytes.HasPrefix(b, []byte{0x16, 3}): // a handshake, of any version since SSL 3
		return isTLS
	case bytes.HasPrefix(b, []byte("PRI * HTTP/2")):
		return isHTTP2
	case spaced && len(method) >= len("GET") && !bytes.ContainsFunc(method, func(c rune) bool { return (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' }):
		return isHTTP1
	}
	return ""
}

// isBinary reports whether b has bytes that no request's head has.
func isBinary(b []byte) bool {
	return bytes.ContainsFunc(b, func(c rune) bool { return c < ' ' && c != '\r' && c != '\n' && c != '\t' || c > '~' })
}

// hungUp reports whether an error only means that the peer has gone, or its time is over.
func hungUp(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "read" || op.Op == "write" || op.Timeout()) {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// maxCause is the largest length of an error's text in the log, in bytes.
const maxCause = 200

// printable returns the text of an error without bytes that the peer may have written. The
// libraries put these in quotes: printable cuts the text at the first quote.
func printable(err error) string {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "what came is no TLS record"
	}
	text, _, repeats := strings.Cut(err.Error(), `"`)
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, text[:min(len(text), maxCause)])
	if repeats {
		text += "(not shown)"
	}
	return text
}
