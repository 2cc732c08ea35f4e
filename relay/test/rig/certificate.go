package rig

import (
	"os"
	"path/filepath"
)

// NewCertificate writes a certificate for this machine, and its key, which
// nobody else trusts.
func (r *Rig) NewCertificate() (certFile, keyFile string, err error) {
	dir, err := r.folder("certificate")
	if err != nil {
		return "", "", err
	}
	authority, err := NewAuthority("rig")
	if err != nil {
		return "", "", err
	}
	cert, key, err := authority.Issue(1)
	if err != nil {
		return "", "", err
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(certFile, cert, 0o600); err != nil {
		return "", "", err
	}
	return certFile, keyFile, os.WriteFile(keyFile, key, 0o600)
}
