package tlsfiles_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/testcert"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
)

// certificate is one that is good now.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	return testcert.Files(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
}

func TestLoadOfNothing(t *testing.T) {
	t.Parallel()
	files, err := tlsfiles.Load(tlsfiles.Settings{Variables: "SOME_TLS"})
	if files != nil || err != nil || files.Config() != nil {
		t.Errorf("without a certificate: %v, %v", files, err)
	}
}

func TestErrorsNameVariables(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	other, _ := certificate(t)
	for want, settings := range map[string]tlsfiles.Settings{
		"SOME_TLS_CERT_FILE=":     {Cert: other, Key: key},
		"SOME_TLS_KEY_FILE=":      {Cert: cert, Key: cert},
		"SOME_TLS_CLIENT_CA_FILE": {Cert: cert, Key: key, ClientCA: key},
	} {
		settings.Variables = "SOME_TLS"
		if _, err := tlsfiles.Load(settings); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "PRIVATE KEY-") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// A client that is pinned to a file connects to who has the key of what is in it, now.
func TestPinned(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	other, _ := certificate(t)
	files, err := tlsfiles.Load(tlsfiles.Settings{Variables: "SOME_TLS", Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	otherContent, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	pinned := filepath.Join(t.TempDir(), "cert.pem")
	client := tlsfiles.PinnedConfig("SOME_TLS_CERT_FILE", pinned)
	client.ServerName = "of.no.certificate"
	for _, test := range []struct{ name, content, want string }{
		{"the certificate", string(content), ""},
		{"a chain that begins with it", string(content) + string(otherContent), ""},
		{"another", string(otherContent), "it is not the one in SOME_TLS_CERT_FILE="},
		{"it as an authority of another", string(otherContent) + string(content), "it is not the one in SOME_TLS_CERT_FILE="},
		{"nothing", "", "no certificate in PEM form"},
	} {
		if err := os.WriteFile(pinned, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := handshake(t, client, files.Config())
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// handshake is what a client says of a handshake with a server.
func handshake(t *testing.T, client, server *tls.Config) error {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.(*tls.Conn).HandshakeContext(t.Context()) // the client tells
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err == nil {
		conn.Close()
	}
	listener.Close()
	<-served
	return err
}
