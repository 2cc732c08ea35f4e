package broker

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/url"
	"strings"
	"time"
)

const (
	// probeTimeout bounds one look at what a server does with a connection. One that
	// is well answers at once.
	probeTimeout = time.Second
	// maxGreeting is more than a server says of itself, in bytes.
	maxGreeting = 8 << 10
)

// firstAddress is the host and port of the first of some servers; empty where it is
// not reached by plain TCP.
func firstAddress(urls string) string {
	first, _, _ := strings.Cut(urls, ",")
	if first = strings.TrimSpace(first); !strings.Contains(first, "://") {
		first = "nats://" + first
	}
	u, err := url.Parse(first)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls":
		return ""
	case u.Port() == "":
		return net.JoinHostPort(u.Hostname(), "4222")
	}
	return u.Host
}

// greeting is what a server says by itself. The client reads the first line of that,
// and loses what comes with it.
func greeting(address string) string {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetReadDeadline(deadline) // which a TCP connection has
	said, _ := io.ReadAll(io.LimitReader(conn, maxGreeting))
	return string(said)
}

// answersTLS reports whether a server answers to TLS before it has said anything itself.
// Nothing but a handshake is sent.
func answersTLS(address string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	host, _, _ := net.SplitHostPort(address) // which firstAddress has made
	// Whether the certificate can be trusted is another question.
	return tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true}).HandshakeContext(ctx) == nil
}
