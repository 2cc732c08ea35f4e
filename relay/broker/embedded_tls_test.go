package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/test/testcert"
)

// withTLS are the settings of an embedded broker with a certificate.
func withTLS(cert, key string, environ ...string) []string {
	return append([]string{"RELAY_EMBEDDED_TLS_CERT_FILE=" + cert, "RELAY_EMBEDDED_TLS_KEY_FILE=" + key}, environ...)
}

// at is the configuration of a command for the broker of a running relay, by the name
// localhost, which no certificate of these tests is for.
func at(t *testing.T, b *Broker, environ ...string) config.Config {
	t.Helper()
	u, err := url.Parse(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	return load(t, append(environ, "RELAY_EMBEDDED_ADDR=localhost:"+u.Port())...)
}

// everyWay are the ways in which commands connect.
var everyWay = map[string]func(context.Context, config.Config) error{
	"Connect": func(_ context.Context, cfg config.Config) error {
		conn, err := Connect(cfg, "test")
		if err == nil {
			conn.Close()
		}
		return err
	},
	"Attach": func(ctx context.Context, cfg config.Config) error {
		b, err := OpenClient(cfg, "test", slog.New(slog.DiscardHandler))
		if err == nil {
			err = b.Close(ctx)
		}
		return err
	},
	"Look": func(ctx context.Context, cfg config.Config) error {
		conn, err := ConnectOnce(ctx, cfg, "test", func(*PermissionError) {})
		if err == nil {
			conn.Close()
		}
		return err
	},
}

// Consumers verify the certificate as they always do, and nobody gets in without TLS.
func TestEmbeddedBrokerWithTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	ca, _ := certificate(t) // for commands, and no concern of the connection within this process
	b := mustOpen(t, load(t, withTLS(cert, key, "NATS_TOKEN=a-token-of-some-length", "NATS_CA="+ca)...))
	if !b.Conn().IsConnected() || !strings.HasPrefix(b.URL(), "tls://127.0.0.1:") {
		t.Errorf("at %q, %v", b.URL(), b.Conn().Status())
	}
	token := nats.Token("a-token-of-some-length")
	conn, err := nats.Connect(b.URL(), token, nats.RootCAs(cert))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if state, err := conn.TLSConnectionState(); err != nil || state.Version < tls.VersionTLS12 {
		t.Errorf("TLS %x, %v", state.Version, err)
	}
	if conn, err := nats.Connect(b.URL(), nats.RootCAs(cert)); err == nil {
		conn.Close()
		t.Error("let in without the token")
	}
	if conn, err := nats.Connect(b.URL(), token, nats.Secure(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})); err == nil {
		conn.Close()
		t.Error("let in with TLS 1.1")
	}
	// The client library would use TLS unasked; this one does not.
	plain, err := net.Dial("tcp", strings.TrimPrefix(b.URL(), "tls://"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := io.WriteString(plain, "CONNECT {\"verbose\":true,\"auth_token\":\"a-token-of-some-length\"}\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := plain.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(plain)
	if errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(said), "PONG") || strings.Contains(string(said), "+OK") {
		t.Errorf("without TLS it was told %q, %v", said, err)
	}
}

// The same environment is all that commands need, whatever the certificate is like.
func TestCommandsTrustTheCertificateOfTheEmbeddedBroker(t *testing.T) {
	t.Parallel()
	cert, key := testcert.Files(t, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)) // expired
	environ := withTLS(cert, key, "NATS_TOKEN=a-token-of-some-length")
	b := mustOpen(t, load(t, environ...))
	otherCert, otherKey := certificate(t)
	for way, connect := range everyWay {
		if err := connect(t.Context(), at(t, b, environ...)); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		for name, environ := range map[string][]string{
			"another certificate":       withTLS(otherCert, otherKey, "NATS_TOKEN=a-token-of-some-length"),
			"none":                      {"NATS_TOKEN=a-token-of-some-length"},
			"an authority in its place": append(environ, "NATS_CA="+cert), // which vouches for 127.0.0.1
		} {
			err := connect(t.Context(), at(t, b, environ...))
			why, ok := errors.AsType[*ConnectError](err)
			if !ok || !strings.Contains(why.Problem, "certificate is not trusted") || !strings.Contains(why.Hint, "RELAY_EMBEDDED_TLS_CERT_FILE") {
				t.Errorf("%s, %s: %v", way, name, err)
			}
		}
	}
}

// NATS_CA is for a certificate that an authority vouches for, and takes the place of
// the one in the file.
func TestCommandsTrustAnAuthority(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	otherCert, otherKey := certificate(t)
	b := mustOpen(t, load(t, withTLS(cert, key, "NATS_CA="+cert)...))
	cfg := load(t, withTLS(otherCert, otherKey, "NATS_CA="+cert, "RELAY_EMBEDDED_ADDR="+strings.TrimPrefix(b.URL(), "tls://"))...)
	for way, connect := range everyWay {
		if err := connect(t.Context(), cfg); err != nil {
			t.Errorf("%s: %v", way, err)
		}
	}
}

// A command that asks for TLS does not send its secrets to a server without.
func TestCommandsAskForTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	b := mustOpen(t, load(t))
	for way, connect := range everyWay {
		err := connect(t.Context(), at(t, b, withTLS(cert, key)...))
		if err == nil || !strings.Contains(err.Error(), "does not offer TLS") {
			t.Errorf("%s: %v", way, err)
		}
	}
}

// A renewed certificate is for those who connect from then on.
func TestEmbeddedBrokersCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	environ := withTLS(cert, key)
	b := mustOpen(t, load(t, environ...))
	cfg := at(t, b, environ...)
	early, err := Connect(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	newCert, newKey := certificate(t)
	for to, from := range map[string]string{cert: newCert, key: newKey} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := everyWay["Connect"](t.Context(), cfg); err == nil {
		t.Error("the old certificate is in use and was taken for the new one")
	}
	if err := b.Certificate().Reload(); err != nil {
		t.Fatal(err)
	}
	for way, connect := range everyWay {
		if err := connect(t.Context(), cfg); err != nil {
			t.Errorf("%s: %v", way, err)
		}
	}
	if err := early.FlushTimeout(time.Minute); err != nil {
		t.Errorf("who was connected before: %v", err)
	}
}

func TestEmbeddedBrokersCertificateHasToBeOne(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	otherCert, _ := certificate(t)
	for _, files := range [][]string{{key, cert}, {otherCert, key}} {
		_, err := Open(t.Context(), load(t, withTLS(files[0], files[1])...), "test", slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "RELAY_EMBEDDED_TLS_CERT_FILE=") || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%v: %v", files, err)
		}
	}
}
