// Package jsapi reaches JetStream in the domain that the settings name: that of the
// server which is connected to, or the hub's behind a leaf node.
package jsapi

import (
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// New returns JetStream of a domain over a connection; empty means that of the
// connection's server. Its error is about options.
func New(conn *nats.Conn, domain string, options ...jetstream.JetStreamOpt) (jetstream.JetStream, error) {
	if domain == "" {
		return jetstream.New(conn, options...)
	}
	return jetstream.NewWithDomain(conn, domain, options...)
}

// Prefix is how the subjects begin on which JetStream of a domain is asked, as
// [jetstream.DefaultAPIPrefix] is for an empty one.
func Prefix(domain string) string {
	if domain == "" {
		return jetstream.DefaultAPIPrefix
	}
	return "$JS." + domain + ".API."
}

// Absent says that nobody answers for JetStream of a domain, and what to do.
func Absent(domain string) (problem, hint string) {
	if domain == "" {
		return "the broker has no JetStream for this account",
			"start the broker with JetStream ('nats-server -js'), enable it for this user's account, or name the domain that has it in NATS_JS_DOMAIN"
	}
	return "nobody answers for JetStream in the domain " + domain,
		"compare NATS_JS_DOMAIN with the 'domain' of the server that has the streams, and see whether the leaf node is connected to that and JetStream is enabled for the account"
}
