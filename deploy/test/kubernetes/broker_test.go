package kubernetes_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/deploy/test/engine"
	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// startBroker starts the cluster of deploy/nats/cluster, and returns the authority of its
// certificate.
func startBroker(t *testing.T, network *engine.Network) (ca []byte) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(relaytest.Deploy("compose"))); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "secrets")); err != nil { // of whoever uses it in this clone
		t.Fatal(err)
	}
	setup := exec.CommandContext(t.Context(), filepath.Join(dir, "setup.sh"))
	if out, err := setup.CombinedOutput(); err != nil {
		t.Fatalf("setup.sh: %v\n%s", err, out)
	}
	certificates := filepath.Join(dir, "secrets", "tls")
	ca, err := os.ReadFile(filepath.Join(certificates, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	program := relaytest.Build(t, "github.com/nats-io/nats-server/v2")
	names := []string{"nats-1", "nats-2", "nats-3"}
	network.Join(t, names...)
	for _, name := range names {
		root := t.TempDir()
		if out, err := exec.Command("cp", program, filepath.Join(root, "nats-server")).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		engine.Container{
			Name: name, Network: network, Root: root, Powerless: true, Args: []string{"/nats-server", "--config", "/etc/nats/nats-server.conf"},
			Env: []string{
				"SERVER_NAME=" + name, "SYS_PASSWORD=the-password-of-sys",
				"RELAY_PASSWORD=" + relayPassword, "CONSUMER_PASSWORD=" + consumerPassword, "OPERATOR_PASSWORD=" + operatorPassword, "UI_PASSWORD=" + uiPassword, "ARCHIVE_PASSWORD=" + archivePassword,
			},
			Mounts: []engine.Mount{
				{Source: relaytest.Deploy("nats", "cluster", "nats-server.conf"), Target: "/etc/nats/nats-server.conf"},
				{Source: relaytest.Deploy("nats", "cluster", "accounts.conf"), Target: "/etc/nats/accounts.conf"},
				{Source: certificates, Target: "/etc/nats/tls"},
				{Source: t.TempDir(), Target: "/data", Writable: true},
			},
		}.Start(t)
	}
	return ca
}

// connect connects as a program in a pod does; without an authority, without TLS.
func connect(t *testing.T, ctx context.Context, network *engine.Network, pod, url, user, password string, ca []byte) jetstream.JetStream {
	t.Helper()
	options := []nats.Option{nats.SetCustomDialer(inside{network, pod}), nats.SkipHostLookup(), nats.UserInfo(user, password)}
	if ca != nil {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		options = append(options, nats.Secure(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))
	}
	for {
		conn, err := nats.Connect(url, options...)
		if err != nil {
			pause(t, ctx, user+" cannot connect: "+err.Error())
			continue
		}
		t.Cleanup(conn.Close)
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
}

// inside dials in a pod; elsewhere, where it has no name, from outside.
type inside struct {
	network *engine.Network
	pod     string
}

func (i inside) Dial(network, address string) (net.Conn, error) {
	if host, _, _ := net.SplitHostPort(address); i.pod != "" && net.ParseIP(host) != nil {
		return i.network.DialInside(context.Background(), i.pod, network, address)
	}
	return i.network.Dial(context.Background(), network, address)
}
func (inside) SkipTLSHandshake() bool { return false }
