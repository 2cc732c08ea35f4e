package broker

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/relay/test/testcert"
)

// certificate is one that is good now.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	return testcert.Files(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
}

// NATS_CA, NATS_CERT and NATS_KEY against a server that asks for a certificate;
// one that is not trusted fails the start.
func TestExternalBrokerTLS(t *testing.T) {
	t.Parallel()
	serverCert, serverKey := certificate(t)
	clientCert, clientKey := certificate(t)
	pair, err := tls.LoadX509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	clientPEM, err := os.ReadFile(clientCert)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(clientPEM)
	options := natstest.Options(t)
	options.TLS, options.TLSVerify = true, true
	options.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	s := natstest.Start(t, options)

	b := mustOpen(t, load(t, "NATS_URL="+s.ClientURL(), "NATS_CA="+serverCert, "NATS_CERT="+clientCert, "NATS_KEY="+clientKey))
	if !b.Conn().IsConnected() {
		t.Error("not connected")
	}
	_, err = Open(t.Context(), load(t, "NATS_URL="+s.ClientURL()), "test", slog.New(slog.DiscardHandler))
	if err == nil {
		t.Error("a certificate that nobody vouches for was trusted")
	}
}
