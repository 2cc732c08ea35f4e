package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// startConsumer is the script command 'consumer [STATUS...]': it starts an HTTP
// server that answers with each status in turn and with the last one from then on,
// by default 200, and sets CONSUMER to its URL. The file consumer.log has two lines
// for each request: what was asked for, with the headers that tell what is in the
// body, and the body.
func startConsumer(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("consumer cannot be negated")
	}
	statuses := []int{http.StatusOK}
	for i, arg := range args {
		status, err := strconv.Atoi(arg)
		ts.Check(err)
		statuses = append(statuses[:i], status)
	}
	log, err := os.OpenFile(ts.MkAbs("consumer.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	ts.Check(err)
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(log, "%s %s %q %q %q\n%s (%v)\n", r.Method, r.URL, r.Header.Get("Content-Type"), r.Header.Get("Ce-Id"), r.Header.Get("Authorization"), body, err)
		w.WriteHeader(statuses[0])
		statuses = statuses[min(1, len(statuses)-1):]
	}))
	ts.Defer(func() {
		server.Close()
		log.Close()
	})
	ts.Setenv("CONSUMER", server.URL)
}

// awaits is the script command 'awaits FILE TEXT': it waits until the text is in
// the file, which need not be there yet.
func awaits(ts *testscript.TestScript, _ bool, args []string) {
	for late := time.Now().Add(2 * time.Minute); time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		if !errors.Is(err, fs.ErrNotExist) {
			ts.Check(err)
		}
		if bytes.Contains(content, []byte(args[1])) {
			return
		}
	}
	ts.Fatalf("%s never has %q in it", args[0], args[1])
}

// makeCertificate is the script command 'certificate CERT KEY': it writes a certificate
// for 127.0.0.1, which signs itself, and its key into two PEM files.
func makeCertificate(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
}
