package receiver

import (
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
)

// LoadTLS reads the certificate of the webhook endpoint, and the authorities of its
// clients. It returns nil if the configuration names no files: plain HTTP.
func LoadTLS(cfg config.Webhooks) (*tlsfiles.Files, error) {
	return tlsfiles.Load(tlsfiles.Settings{
		Variables: "RELAY_TLS", Cert: cfg.TLSCertFile, Key: cfg.TLSKeyFile, ClientCA: cfg.TLSClientCAFile,
		Protocols: []string{"h2", "http/1.1"},
	})
}
