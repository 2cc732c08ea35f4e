package receiver_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/receiver"
	"github.com/apixo-relay/apixo-relay/relay/tlsfiles"
)

// secure serves a receiver over TLS and returns what can be loaded anew.
func secure(t *testing.T, env ...string) (*tlsfiles.Files, string, *relay) {
	t.Helper()
	r := startWith(t, storeFunc(always), env...)
	loaded, err := receiver.LoadTLS(r.cfg.Webhooks)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := r.receiver.Server(loaded.Config())
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), ignoreClosed(<-ended)); err != nil {
			t.Error(err)
		}
	})
	return loaded, "https://" + listener.Addr().String() + webhookPath, r
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// dial makes a client with connections of its own.
func dial(t *testing.T, trusted *authority, certificates []tls.Certificate, maxVersion uint16) *http.Client {
	t.Helper()
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: trusted.pool(), Certificates: certificates, MaxVersion: maxVersion, MinVersion: tls.VersionTLS10},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// serial posts a webhook and returns the number of the server's certificate.
func serial(t *testing.T, client *http.Client, url string) (int64, error) {
	t.Helper()
	res, err := client.Post(url, "application/json", strings.NewReader(success("task_1")))
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("answered %s", res.Status)
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		t.Error(err)
	}
	return res.TLS.PeerCertificates[0].SerialNumber.Int64(), nil
}

func wantSerial(t *testing.T, client *http.Client, url string, want int64) {
	t.Helper()
	if got, err := serial(t, client, url); err != nil || got != want {
		t.Errorf("the server's certificate is number %d, %v; want %d", got, err, want)
	}
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	ca, f := newAuthority(t), newFiles(t)
	f.issue(t, ca, 7)
	_, url, r := secure(t, "RELAY_TLS_CERT_FILE="+f.cert, "RELAY_TLS_KEY_FILE="+f.key)
	client := dial(t, ca, nil, 0)
	wantSerial(t, client, url, 7)
	wantSerial(t, dial(t, ca, nil, tls.VersionTLS12), url, 7)
	if _, err := serial(t, dial(t, ca, nil, tls.VersionTLS11), url); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	if _, err := serial(t, dial(t, newAuthority(t), nil, 0), url); err == nil {
		t.Error("a client that does not know the authority is content")
	}
	res, err := client.Post(url, "application/json", strings.NewReader(success("task_1")))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.ProtoMajor != 2 {
		t.Errorf("spoke %s", res.Proto)
	}
	// Handshakes that fail are no webhooks, and anybody can make them.
	for line := range strings.Lines(r.log.text()) {
		if strings.Contains(line, "handshake") && !strings.Contains(line, `"level":"DEBUG"`) {
			t.Errorf("logged %s", line)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca, clients, others, f := newAuthority(t), newAuthority(t), newAuthority(t), newFiles(t)
	f.issue(t, ca, 7)
	write(t, f.clientCA, clients.pem())
	loaded, url, r := secure(t, "RELAY_TLS_CERT_FILE="+f.cert, "RELAY_TLS_KEY_FILE="+f.key, "RELAY_TLS_CLIENT_CA_FILE="+f.clientCA)

	wantSerial(t, dial(t, ca, clients.client(t), 0), url, 7)
	returning := dial(t, ca, clients.client(t), 0)
	returning.Transport.(*http.Transport).TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	wantSerial(t, returning, url, 7)
	for name, certificates := range map[string][]tls.Certificate{
		"none": nil, "another authority's": others.client(t), "the server's authority's": ca.client(t),
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			if _, err := serial(t, dial(t, ca, certificates, version), url); err == nil {
				t.Errorf("%s: let in with %s", name, tls.VersionName(version))
			}
		}
	}
	r.log.webhook(t, 2)
	if n := r.log.count(); n != 2 {
		t.Errorf("%d requests came through", n)
	}

	write(t, f.clientCA, others.pem())
	if err := loaded.Reload(); err != nil {
		t.Fatal(err)
	}
	wantSerial(t, dial(t, ca, others.client(t), 0), url, 7)
	if _, err := serial(t, dial(t, ca, clients.client(t), 0), url); err == nil {
		t.Error("an authority that was taken out is still trusted")
	}
	returning.CloseIdleConnections()
	if _, err := serial(t, returning, url); err == nil {
		t.Error("an authority that was taken out is still trusted in sessions that are resumed")
	}
}

func TestReloadOfCertificates(t *testing.T) {
	t.Parallel()
	ca, f := newAuthority(t), newFiles(t)
	f.issue(t, ca, 1)
	write(t, f.clientCA, ca.pem())
	loaded, url, _ := secure(t, "RELAY_TLS_CERT_FILE="+f.cert, "RELAY_TLS_KEY_FILE="+f.key, "RELAY_TLS_CLIENT_CA_FILE="+f.clientCA)
	if got := strings.Join(loaded.Names(), " "); got != f.cert+" "+f.key+" "+f.clientCA {
		t.Errorf("the files to look at are %s", got)
	}
	mine := ca.client(t)
	kept := dial(t, ca, mine, 0)
	wantSerial(t, kept, url, 1)

	f.issue(t, ca, 2)
	if err := loaded.Reload(); err != nil {
		t.Fatal(err)
	}
	wantSerial(t, dial(t, ca, mine, 0), url, 2)
	wantSerial(t, kept, url, 1) // connections that are there stay

	good := map[string][]byte{}
	for _, name := range loaded.Names() {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		good[name] = content
	}
	otherCert, otherKey := ca.issue(t, 3)
	for _, test := range []struct {
		name, file string
		content    []byte // nil takes the file away
	}{
		{"certificate missing", f.cert, nil},
		{"certificate empty", f.cert, []byte{}},
		{"certificate cut off", f.cert, good[f.cert][:len(good[f.cert])/2]},
		{"certificate without its key", f.cert, otherCert},
		{"key missing", f.key, nil},
		{"key without its certificate", f.key, otherKey},
		{"key is a certificate", f.key, good[f.cert]},
		{"authorities missing", f.clientCA, nil},
		{"authorities empty", f.clientCA, []byte{}},
		{"authorities are no PEM", f.clientCA, []byte("garbage")},
	} {
		if test.content == nil {
			if err := os.Remove(test.file); err != nil {
				t.Fatal(err)
			}
		} else {
			write(t, test.file, test.content)
		}
		err := loaded.Reload()
		if err == nil || !strings.Contains(err.Error(), "RELAY_TLS_") {
			t.Errorf("%s: the error is %v", test.name, err)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE KEY") {
			t.Errorf("%s: the error tells of the key: %v", test.name, err)
		}
		wantSerial(t, dial(t, ca, mine, 0), url, 2)
		if _, err := serial(t, dial(t, ca, nil, 0), url); err == nil {
			t.Errorf("%s: clients without a certificate are let in", test.name)
		}
		write(t, test.file, good[test.file])
	}
	if err := loaded.Reload(); err != nil {
		t.Errorf("with all files in order again: %v", err)
	}
}

func TestLoadTLS(t *testing.T) {
	t.Parallel()
	loaded, err := receiver.LoadTLS(config.Webhooks{})
	if err != nil || loaded != nil || loaded.Config() != nil {
		t.Errorf("without a certificate: %v, %v", loaded, err)
	}
	f := newFiles(t)
	write(t, f.cert, []byte("garbage"))
	write(t, f.key, []byte("garbage"))
	if _, err := receiver.LoadTLS(config.Webhooks{TLSCertFile: f.cert, TLSKeyFile: f.key}); err == nil {
		t.Error("garbage is loaded")
	}
}
