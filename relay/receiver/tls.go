package receiver

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// TLS is the certificate of the webhook endpoint and the authorities of its
// clients. It can be loaded anew while connections are being made.
type TLS struct {
	cfg     config.Webhooks
	current atomic.Pointer[tls.Config]
}

// LoadTLS reads the files that the configuration names. It returns nil if that
// is none: plain HTTP.
func LoadTLS(cfg config.Webhooks) (*TLS, error) {
	if cfg.TLSCertFile == "" {
		return nil, nil
	}
	t := &TLS{cfg: cfg}
	return t, t.Reload()
}

// Files are the names of the files that Reload reads.
func (t *TLS) Files() []string {
	files := []string{t.cfg.TLSCertFile, t.cfg.TLSKeyFile}
	if t.cfg.TLSClientCAFile != "" {
		files = append(files, t.cfg.TLSClientCAFile)
	}
	return files
}

// Reload reads the files anew, for the connections to come. After an error what
// was read last stays in force.
func (t *TLS) Reload() error {
	certificate, err := tls.LoadX509KeyPair(t.cfg.TLSCertFile, t.cfg.TLSKeyFile)
	if err != nil {
		return fmt.Errorf("RELAY_TLS_CERT_FILE=%q and RELAY_TLS_KEY_FILE=%q cannot be used: %w", t.cfg.TLSCertFile, t.cfg.TLSKeyFile, err)
	}
	next := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if file := t.cfg.TLSClientCAFile; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("RELAY_TLS_CLIENT_CA_FILE cannot be read: %w", err)
		}
		next.ClientCAs = x509.NewCertPool()
		if !next.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("RELAY_TLS_CLIENT_CA_FILE=%q holds no certificate in PEM form", file)
		}
		next.ClientAuth = tls.RequireAndVerifyClientCert
	}
	t.current.Store(next)
	return nil
}

// Config is for an http.Server. It follows Reload. A nil TLS has a nil Config.
func (t *TLS) Config() *tls.Config {
	if t == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return t.current.Load(), nil
		},
	}
}
