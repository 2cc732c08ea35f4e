package broker

import (
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
)

// embeddedTLSVariables is how the names of the variables with the embedded broker's
// files for TLS begin.
const embeddedTLSVariables = "RELAY_EMBEDDED_TLS"

// embeddedTLS reads the certificate of the embedded broker; nil without one. Whoever
// connects then has to use TLS, but for this process itself, whose connection nobody
// can listen to: the server does not ask it to (nats-server 2.15.2, server.go,
// createClientEx).
func embeddedTLS(cfg config.Embedded) (*tlsfiles.Files, error) {
	files, err := tlsfiles.Load(tlsfiles.Settings{Variables: embeddedTLSVariables, Cert: cfg.TLSCertFile, Key: cfg.TLSKeyFile})
	if err != nil {
		return nil, config.Error{Problem: err.Error()}
	}
	return files, nil
}
