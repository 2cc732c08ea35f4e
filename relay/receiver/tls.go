package receiver

import (
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
)

// LoadTLS reads the certificate of the webhook endpoint, and the authorities of its
// clients. It returns nil if the configuration names no files: plain HTTP. Its error is
// a config.Error.
func LoadTLS(cfg config.Webhooks) (*tlsfiles.Files, error) {
	files, err := tlsfiles.Load(tlsfiles.Settings{
		Variables: "RELAY_TLS", Cert: cfg.TLSCertFile, Key: cfg.TLSKeyFile, ClientCA: cfg.TLSClientCAFile,
		Protocols: []string{"h2", "http/1.1"},
	})
	if err != nil {
		return nil, config.Error{Problem: err.Error()}
	}
	return files, nil
}
