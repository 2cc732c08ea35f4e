package httpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// Why a request was not answered, in a few words. They are what is counted,
// so they are a closed list without addresses or the like in them.
const (
	CauseInterrupted = "interrupted"
	CauseTimeout     = "timeout"
	CauseRefused     = "connection refused"
	CauseReset       = "connection reset"
	CauseNoAnswer    = "connection closed without an answer"
	CauseBrokenOff   = "answer broken off"
	CauseNoHost      = "host not found"
	CauseLookup      = "name lookup failed"
	CauseUnreachable = "host unreachable"
	CauseNoPort      = "no local port left"
	CauseNoFile      = "too many open files"
	CauseUntrusted   = "certificate not trusted"
	CauseNoTLS       = "no TLS at that address"
	CauseTLS         = "TLS refused"
	CauseOther       = "other transport error"
)

// ErrBrokenOff is returned when an answer began and did not end.
var ErrBrokenOff = errors.New("the connection was closed in the middle of the body")

// causes is looked through in order for an error that is not otherwise known
// by its type.
var causes = []struct {
	err   error
	cause string
}{
	{context.Canceled, CauseInterrupted},
	{context.DeadlineExceeded, CauseTimeout},
	{os.ErrDeadlineExceeded, CauseTimeout},
	{syscall.ETIMEDOUT, CauseTimeout},
	{syscall.ECONNREFUSED, CauseRefused},
	{syscall.ECONNRESET, CauseReset},
	{syscall.EPIPE, CauseReset},
	{syscall.EHOSTUNREACH, CauseUnreachable},
	{syscall.ENETUNREACH, CauseUnreachable},
	{syscall.EADDRNOTAVAIL, CauseNoPort},
	{syscall.EMFILE, CauseNoFile},
	{syscall.ENFILE, CauseNoFile},
	{http.ErrSchemeMismatch, CauseNoTLS},
	{ErrBrokenOff, CauseBrokenOff},
	{io.EOF, CauseNoAnswer},
	{io.ErrUnexpectedEOF, CauseNoAnswer},
}

// CauseOf returns the cause of a transport's error, one of the constants.
func CauseOf(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case dns.IsTimeout:
			return CauseTimeout
		case dns.IsNotFound:
			return CauseNoHost
		}
		return CauseLookup
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return CauseUntrusted
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return CauseNoTLS
	}
	// What the other side says of TLS has no type of its own (crypto/tls, alert).
	if remote, ok := errors.AsType[*net.OpError](err); ok && remote.Op == "remote error" {
		return CauseTLS
	}
	for _, known := range causes {
		if errors.Is(err, known.err) {
			return known.cause
		}
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return CauseTimeout
	}
	return CauseOther
}

// Explain says what went wrong and, where there is something, what to do.
func Explain(cause string, err error) string {
	// Around what net/http returns there is the URL, which may hold a secret.
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	switch cause {
	case CauseInterrupted:
		return "stopped while waiting for the answer; it may have arrived all the same"
	case CauseTimeout:
		return "no whole answer in time"
	case CauseNoAnswer:
		return "the receiver closed the connection before it answered"
	case CauseRefused:
		return fmt.Sprintf("%v; is the receiver running, and is this its address?", err)
	case CauseUntrusted:
		return fmt.Sprintf("%v; trust the CA that signed it (--cacert), or skip verification (--insecure)", err)
	case CauseTLS:
		return fmt.Sprintf("%v; the receiver may want a client certificate (--cert and --key)", err)
	case CauseNoTLS:
		return "the receiver speaks plain HTTP; try http:// in the URL"
	case CauseNoPort, CauseNoFile:
		return fmt.Sprintf("%v; try a lower concurrency", err)
	}
	return strings.TrimPrefix(err.Error(), "net/http: ")
}
