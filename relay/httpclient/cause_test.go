package httpclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
)

func TestCauseOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want string
	}{
		{&net.DNSError{IsNotFound: true}, CauseNoHost},
		{&net.DNSError{IsTimeout: true}, CauseTimeout},
		{&net.DNSError{}, CauseLookup},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, CauseReset},
		{&net.OpError{Op: "write", Err: syscall.EPIPE}, CauseReset},
		{&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, CauseUnreachable},
		{&net.OpError{Op: "dial", Err: syscall.EADDRNOTAVAIL}, CauseNoPort},
		{&net.OpError{Op: "dial", Err: syscall.EMFILE}, CauseNoFile},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, CauseTLS},
		{tls.RecordHeaderError{}, CauseNoTLS},
		{errors.New("anything else"), CauseOther},
	} {
		if got := CauseOf(fmt.Errorf("wrapped: %w", test.err)); got != test.want {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}
