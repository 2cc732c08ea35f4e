package config

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apixo-relay/apixo-relay/relay/utf8text"
)

// requireReadable expects a file that can be read, if one is named, and is not in UTF-16.
func (k *checker) requireReadable(variable, name string) {
	if name == "" {
		return
	}
	start, err := startOf(name)
	k.require(err == nil, variable, fmt.Sprintf("cannot be opened: %v", err), "name a file that this user may read")
	_, err = utf8text.Trim(start)
	k.require(err == nil, variable, fmt.Sprint(err), "")
}

// pem expects a file as file does, in which nothing stands before the first line: with
// a byte order mark there, that is not found.
func (k *checker) pem(variable, name string) {
	k.requireReadable(variable, name)
	if name == "" {
		return
	}
	start, _ := startOf(name) // of whose error there is a word already
	k.require(!utf8text.HasBOM(start), variable, "begins with a byte order mark, before which its first line is not found", "save it as UTF-8 without one")
}

// keyPair expects the PEM files of a certificate and of its private key, or none.
// Whether they belong together shows when they are used.
func (k *checker) keyPair(certVariable, cert, keyVariable, key string) {
	k.pair(certVariable, cert, keyVariable, key)
	k.pem(certVariable, cert)
	k.pem(keyVariable, key)
}

// startOf reads the first bytes of a file.
func startOf(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a folder", name)
	case !info.Mode().IsRegular():
		return nil, nil // what is read of a pipe is gone
	}
	start := make([]byte, 8)
	n, err := io.ReadFull(f, start)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return start[:n], err
}
