package config

import "fmt"

// forExternal is what is wrong with a setting that an embedded broker has no use for.
const forExternal = "is for an external broker, and NATS_URL does not name one"

// secretHint says how to make a secret of the embedded broker.
const secretHint = "make one with 'openssl rand -hex 16'"

// checkEmbedded holds the settings of the embedded broker against each other, and warns
// of what is seldom meant.
func (c *Config) checkEmbedded(k *checker) {
	// Whoever is let in may read every event, write into the stream and delete it, so
	// that no setting about webhooks opens this door as well.
	hasCredentials := c.NATS.Token != "" || c.NATS.User != ""
	goodAddr := k.addr("RELAY_EMBEDDED_ADDR", c.Embedded.Addr)
	isOpen := goodAddr && !isLoopback(c.Embedded.Addr)
	if isOpen && k.parsed("NATS_TOKEN", "NATS_USER") {
		k.require(hasCredentials, "RELAY_EMBEDDED_ADDR",
			"other machines can reach it, and the embedded broker would let anybody read and write",
			"set NATS_TOKEN ("+secretHint+"), or NATS_USER and NATS_PASSWORD")
	}
	k.pair("NATS_USER", c.NATS.User, "NATS_PASSWORD", c.NATS.Password)
	k.require(c.NATS.Token == "" || c.NATS.User == "", "NATS_TOKEN", "is set beside NATS_USER, and the embedded broker asks for one of the two", "unset one of them")
	k.secret("NATS_TOKEN", c.NATS.Token)
	k.secret("NATS_PASSWORD", c.NATS.Password)
	k.keyPair("RELAY_EMBEDDED_TLS_CERT_FILE", c.Embedded.TLSCertFile, "RELAY_EMBEDDED_TLS_KEY_FILE", c.Embedded.TLSKeyFile)
	hasTLS := c.Embedded.TLSCertFile != ""
	k.require(c.NATS.CA == "" || hasTLS, "NATS_CA", forExternal+", nor has the embedded one TLS", "set NATS_URL or RELAY_EMBEDDED_TLS_CERT_FILE, or unset it")
	if hasTLS {
		k.pem("NATS_CA", c.NATS.CA)
	}
	for _, v := range []struct{ name, value string }{
		{"NATS_CREDS", c.NATS.Creds}, {"NATS_NKEY", c.NATS.NKey}, {"NATS_CERT", c.NATS.Cert}, {"NATS_KEY", c.NATS.Key},
		{"NATS_JS_DOMAIN", c.Stream.Domain},
	} {
		k.require(v.value == "", v.name, forExternal, "set NATS_URL, or unset it")
	}
	k.require(!c.NATS.TLSFirst, "NATS_TLS_FIRST", forExternal, "set NATS_URL, or unset it")
	k.require(c.Stream.Replicas == 1, "RELAY_STREAM_REPLICAS", "the embedded broker is a single server", "set NATS_URL to a cluster, or leave it at 1")
	if isOpen && hasCredentials && !hasTLS {
		c.Warnings = append(c.Warnings, Warning{
			Variable: "RELAY_EMBEDDED_ADDR", Value: c.Embedded.Addr,
			Problem: "other machines can reach it, and what they send, NATS_TOKEN or NATS_PASSWORD first, travels without TLS",
			Instead: "it is used as it is; set RELAY_EMBEDDED_TLS_CERT_FILE and RELAY_EMBEDDED_TLS_KEY_FILE, unless the network encrypts",
		})
	}
}

// secret expects that a secret that the embedded broker asks for is none that can be
// guessed, also by a process on this machine.
func (k *checker) secret(variable, value string) {
	k.require(value == "" || len(value) >= MinTokenLength, variable,
		fmt.Sprintf("has %d characters, and the embedded broker asks for %d or more", len(value), MinTokenLength), secretHint)
}
