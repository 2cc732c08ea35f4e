// Package tlsfiles keeps what a listener needs for TLS in step with the files that it
// comes from: certificates are renewed while the relay runs.
//
// It must not know what is listened for.
package tlsfiles

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
)

// Settings name the files.
type Settings struct {
	// Variables is the beginning of the names of the variables that name the files, for
	// errors: RELAY_TLS for RELAY_TLS_CERT_FILE.
	Variables string
	// Cert and Key are PEM files with a certificate chain and its private key.
	Cert, Key string
	// ClientCA is a PEM file with the authorities whose client certificates are asked
	// for; empty where none are.
	ClientCA string
	// Protocols are those that ALPN offers, if any.
	Protocols []string
}

// Files are the certificate of a listener and the authorities of its clients. They can
// be loaded anew while connections are being made.
type Files struct {
	settings Settings
	current  atomic.Pointer[tls.Config]
}

// Load reads the files. It returns nil, and no error, if no certificate is named.
func Load(settings Settings) (*Files, error) {
	if settings.Cert == "" {
		return nil, nil
	}
	f := &Files{settings: settings}
	return f, f.Reload()
}

// Names are the names of the files that Reload reads.
func (f *Files) Names() []string {
	names := []string{f.settings.Cert, f.settings.Key}
	if f.settings.ClientCA != "" {
		names = append(names, f.settings.ClientCA)
	}
	return names
}

// Reload reads the files anew, for the connections to come. After an error what was
// read last stays in force.
func (f *Files) Reload() error {
	s := f.settings
	certificate, err := tls.LoadX509KeyPair(s.Cert, s.Key)
	if err != nil {
		return fmt.Errorf("%[1]s_CERT_FILE=%[2]q and %[1]s_KEY_FILE=%[3]q cannot be used: %[4]w", s.Variables, s.Cert, s.Key, err)
	}
	next := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
		NextProtos:   s.Protocols,
	}
	if s.ClientCA != "" {
		next.ClientCAs = x509.NewCertPool()
		if err := AddCertificates(next.ClientCAs, s.ClientCA); err != nil {
			return fmt.Errorf("%s_CLIENT_CA_FILE: %w", s.Variables, err)
		}
		next.ClientAuth = tls.RequireAndVerifyClientCert
	}
	f.current.Store(next)
	return nil
}

// AddCertificates adds the certificates in a PEM file to a pool. It is an error if there
// are none.
func AddCertificates(pool *x509.CertPool, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(content) {
		return fmt.Errorf("%s holds no certificate in PEM form", file)
	}
	return nil
}

// Config is for a server. It follows Reload. Nil Files have a nil Config.
func (f *Files) Config() *tls.Config {
	if f == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return f.current.Load(), nil
		},
	}
}

// PinnedConfig is for a client on the machine of the server, which can read the server's
// certificate: it connects to whoever holds the key of the first certificate in the
// file, and to nobody else. The file is read for each connection, since it may have
// been renewed; variable is the name of what names it, for errors.
//
// The certificate may sign itself, be for any name and have expired: a name and an
// authority say of a certificate that was not known before whose it is, and this one is
// known. That the server has its key the handshake proves, as it always does.
func PinnedConfig(variable, file string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// It leaves out the look at name and authority, in whose place VerifyConnection
		// is, which runs in each handshake, resumed ones included.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf, err := leafOf(file)
			if err != nil {
				return fmt.Errorf("%s=%q cannot be used: %w", variable, file, err)
			}
			if len(state.PeerCertificates) == 0 || !bytes.Equal(state.PeerCertificates[0].Raw, leaf) {
				return &tls.CertificateVerificationError{
					UnverifiedCertificates: state.PeerCertificates,
					Err:                    fmt.Errorf("it is not the one in %s=%q", variable, file),
				}
			}
			return nil
		},
	}
}

// leafOf is the first certificate in a PEM file, in DER.
func leafOf(file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return block.Bytes, nil
		}
	}
	return nil, errors.New("it holds no certificate in PEM form")
}
