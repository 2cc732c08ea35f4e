package check_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/test/testcert"
)

// The page is asked for one of its files, by HTTPS if it has a certificate, whoever signed it.
func TestProbePage(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/static/icon.svg" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "<svg xmlns=\"http://www.w3.org/2000/svg\"/>")
	})
	plain := httptest.NewServer(page)
	defer plain.Close()
	address := strings.TrimPrefix(plain.URL, "http://")
	line, err := check.Probe(t.Context(), []string{"RELAY_UI_ADDR=" + address, "RELAY_ADMIN_ADDR=off", "RELAY_UI_TOKENS=short"}, check.PageProbe, 10*time.Second)
	if err != nil || line != "the operator's page at "+plain.URL+" answers" {
		t.Errorf("%q, %v", line, err)
	}
	_, port, _ := strings.Cut(address, ":")
	if line, err := check.Probe(t.Context(), []string{"RELAY_UI_ADDR=:" + port}, check.PageProbe, 10*time.Second); err != nil {
		t.Errorf("at every interface: %q, %v", line, err)
	}

	now := time.Now()
	certificate, key := testcert.Files(t, now.Add(-time.Hour), now.Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewUnstartedServer(page)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	by := func(certificate, key string) error {
		_, err := check.Probe(t.Context(), []string{"RELAY_UI_ADDR=" + strings.TrimPrefix(secure.URL, "https://"), "RELAY_UI_TLS_CERT_FILE=" + certificate, "RELAY_UI_TLS_KEY_FILE=" + key}, check.PageProbe, 10*time.Second)
		return err
	}
	if err := by(certificate, key); err != nil {
		t.Error(err)
	}
	if err := by(testcert.Files(t, now.Add(-time.Hour), now.Add(time.Hour))); err == nil || errors.Is(err, check.ErrNoProbe) {
		t.Errorf("with another certificate: %v", err)
	}
}
