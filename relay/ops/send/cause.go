package send

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

// Why an attempt was not answered, in a few words. They are what is counted,
// so they are a closed list without addresses or the like in them.
const (
	causeInterrupted = "interrupted"
	causeTimeout     = "timeout"
	causeRefused     = "connection refused"
	causeReset       = "connection reset"
	causeNoAnswer    = "connection closed without an answer"
	causeBrokenOff   = "answer broken off"
	causeNoHost      = "host not found"
	causeLookup      = "name lookup failed"
	causeUnreachable = "host unreachable"
	causeNoPort      = "no local port left"
	causeNoFile      = "too many open files"
	causeUntrusted   = "certificate not trusted"
	causeNoTLS       = "no TLS at that address"
	causeTLS         = "TLS refused"
	causeOther       = "other transport error"
)

// errBrokenOff says that an answer began and did not end.
var errBrokenOff = errors.New("the connection was closed in the middle of the body")

// causes is looked through in order for an error that is not otherwise known
// by its type.
var causes = []struct {
	err   error
	cause string
}{
	{context.Canceled, causeInterrupted},
	{context.DeadlineExceeded, causeTimeout},
	{os.ErrDeadlineExceeded, causeTimeout},
	{syscall.ETIMEDOUT, causeTimeout},
	{syscall.ECONNREFUSED, causeRefused},
	{syscall.ECONNRESET, causeReset},
	{syscall.EPIPE, causeReset},
	{syscall.EHOSTUNREACH, causeUnreachable},
	{syscall.ENETUNREACH, causeUnreachable},
	{syscall.EADDRNOTAVAIL, causeNoPort},
	{syscall.EMFILE, causeNoFile},
	{syscall.ENFILE, causeNoFile},
	{http.ErrSchemeMismatch, causeNoTLS},
	{errBrokenOff, causeBrokenOff},
	{io.EOF, causeNoAnswer},
	{io.ErrUnexpectedEOF, causeNoAnswer},
}

// causeOf tells which of the causes an error of the transport is.
func causeOf(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case dns.IsTimeout:
			return causeTimeout
		case dns.IsNotFound:
			return causeNoHost
		}
		return causeLookup
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return causeUntrusted
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return causeNoTLS
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return causeTLS
	}
	for _, known := range causes {
		if errors.Is(err, known.err) {
			return known.cause
		}
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return causeTimeout
	}
	return causeOther
}

// explain says what went wrong and, where there is something, what to do.
func explain(cause string, err error) string {
	// Around what net/http returns there is the URL, which may hold a secret.
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	switch cause {
	case causeInterrupted:
		return "stopped while waiting for the answer; it may have arrived all the same"
	case causeTimeout:
		return "no whole answer in time"
	case causeNoAnswer:
		return "the receiver closed the connection before it answered"
	case causeRefused:
		return fmt.Sprintf("%v; is the relay running, and is this its address?", err)
	case causeUntrusted:
		return fmt.Sprintf("%v; trust the CA that signed it, or skip verification", err)
	case causeNoTLS:
		return "the receiver speaks plain HTTP; try http:// in the URL"
	case causeNoPort, causeNoFile:
		return fmt.Sprintf("%v; try a lower concurrency", err)
	}
	return strings.TrimPrefix(err.Error(), "net/http: ")
}
