package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// ConnectCause says why there is no connection to a broker.
type ConnectCause struct {
	// Problem says what happened, without addresses or secrets, Hint what to look at.
	// Both are the same each time for the same cause.
	Problem, Hint string
}

// Error returns the problem and the hint.
func (c *ConnectCause) Error() string { return c.Problem + "; " + c.Hint }

const (
	credentialsHint = "compare NATS_USER and NATS_PASSWORD, NATS_TOKEN, NATS_CREDS or NATS_NKEY, whichever is set, with the broker's users"
	addressHint     = "look at NATS_URL, and whether the broker runs"
	notNATSHint     = "look at NATS_URL: the port for clients is 4222 unless the broker says otherwise"
)

// connectCause finds out why a connection to the servers of a configuration was not made. It
// may look at what the first of them does with a connection, for two seconds at most.
func connectCause(cfg config.NATS, err error) *ConnectCause {
	text := strings.ToLower(err.Error())
	said := func(what string) bool { return strings.Contains(text, what) }
	untrusted, _ := errors.AsType[*tls.CertificateVerificationError](err)
	_, isRecord := errors.AsType[tls.RecordHeaderError](err)
	dns, _ := errors.AsType[*net.DNSError](err)
	operation, _ := errors.AsType[*net.OpError](err)
	timeout, _ := errors.AsType[net.Error](err)
	isTimeout := errors.Is(err, nats.ErrTimeout) || timeout != nil && timeout.Timeout()
	switch {
	case untrusted != nil:
		return &ConnectCause{"its certificate is not trusted: " + untrusted.Err.Error(),
			"name a file with the authority that signed it in NATS_CA, and look whether NATS_URL has the name that the certificate is for"}
	case isRecord:
		hint := "look whether it takes TLS at all"
		if cfg.TLSFirst {
			hint = "unset NATS_TLS_FIRST, or set handshake_first in the broker's tls block"
		}
		return &ConnectCause{"it does not expect TLS first", hint}
	case operation != nil && operation.Op == "remote error": // an alert of TLS
		return &ConnectCause{"it ends the TLS handshake: " + operation.Err.Error(), "look at NATS_CERT and NATS_KEY, for which it may ask, and at the broker's log"}
	case errors.Is(err, nats.ErrSecureConnWanted):
		return &ConnectCause{"it does not offer TLS", "write nats:// in NATS_URL and unset NATS_CA and NATS_CERT, or give the broker a tls block"}
	case said(nats.MAX_CONNECTIONS_ERR), said(nats.MAX_ACCOUNT_CONNECTIONS_ERR):
		return full
	case said("attempted to connect to"): // a port of clusters, leaf nodes or gateways
		return &ConnectCause{"this is not its port for clients: " + err.Error(), notNATSHint}
	case refused(err), said("authorization violation"), said("authentication"):
		return &ConnectCause{"it does not let this user in: " + err.Error(), credentialsHint}
	case dns != nil && dns.IsNotFound:
		return &ConnectCause{"there is no such host as " + dns.Name + " (no such host)", "look at the name in NATS_URL, and at the name servers"}
	case dns != nil:
		return &ConnectCause{"the name " + dns.Name + " cannot be looked up: " + dns.Err, "look at the name servers of this machine"}
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, nats.ErrNoServers):
		// The NATS client's error for refused connections.
		return &ConnectCause{"nothing listens there: connection refused", addressHint}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return &ConnectCause{"there is no way to it: " + errorText(err), "look at the address in NATS_URL, and at the network"}
	case errors.Is(err, nats.ErrNoInfoReceived), said("expected 'pong'"):
		return &ConnectCause{"what answers there is no NATS server", notNATSHint}
	case isTimeout && operation != nil && operation.Op == "dial":
		return &ConnectCause{"nothing answers there (time-out)", "look at the address in NATS_URL, and at firewalls and network policies on the way"}
	case isTimeout || isEnd(err):
		return diagnose(cfg, isTimeout)
	}
	return &ConnectCause{errorText(err), addressHint}
}

// diagnose finds out more of a server that ends connections, or says nothing.
func diagnose(cfg config.NATS, isTimeout bool) *ConnectCause {
	address := firstAddress(cfg.URL)
	word := greeting(address)
	switch {
	case strings.Contains(strings.ToLower(word), nats.MAX_CONNECTIONS_ERR):
		return full
	case strings.Contains(word, "-ERR"):
		return &ConnectCause{fmt.Sprintf("it ends the connection with %.200q", word[strings.Index(word, "-ERR"):]), "look at its log"}
	case word == "" && !cfg.TLSFirst && answersTLS(address):
		return &ConnectCause{"it says nothing before TLS: it expects TLS first, or is no NATS server", "set NATS_TLS_FIRST=true, or correct the port in NATS_URL"}
	case isTimeout:
		return &ConnectCause{"it accepts connections, and says nothing in time", "see whether that is a NATS server, and whether it is stalled"}
	}
	return &ConnectCause{"it ends the connection without a word (EOF)", "look at its log, and whether NATS_URL has its port for clients and TLS is as it wants it"}
}

// full is the cause of a server that takes no more connections.
var full = &ConnectCause{
	"it has as many connections as it takes (maximum connections exceeded)",
	"raise max_connections, of the server or of the account, or end connections that nobody needs ('nats server report connections')",
}

func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// errorText is an error without the addresses of a connection, which are others each time.
func errorText(err error) string {
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		return operation.Op + ": " + operation.Err.Error()
	}
	return err.Error()
}
