package rig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Authority signs certificates for servers at 127.0.0.1 and for their clients.
type Authority struct {
	// PEM is its own certificate.
	PEM []byte

	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes an authority whose certificates are valid for a day.
func NewAuthority(name string) (*Authority, error) {
	template := certificate(1, name)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a := &Authority{certificate: template}
	der, key, err := a.sign(template)
	if err != nil {
		return nil, err
	}
	a.certificate, err = x509.ParseCertificate(der)
	a.key, a.PEM = key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a, err
}

// Issue makes a certificate with that number, and its key, both as PEM.
func (a *Authority) Issue(serial int64) (chain, key []byte, err error) {
	template := certificate(serial, "rig")
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, private, err := a.sign(template)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), err
}

// Client is how a client connects that trusts this authority and has a
// certificate from another one.
func (a *Authority) Client(from *Authority, serial int64) (*tls.Config, error) {
	chain, key, err := from.Issue(serial)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(chain, key)
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{pair}}, err
}

func certificate(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// sign makes a key and a certificate for it, which the first one signs itself.
func (a *Authority) sign(template *x509.Certificate) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, signErr := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, signer)
	if err := errors.Join(err, signErr); err != nil {
		return nil, nil, fmt.Errorf("no certificate: %w", err)
	}
	return der, key, nil
}
