package check_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/descriptors"
	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/test/testcert"
)

// here is a look at this machine alone: there is no broker.
func here(t *testing.T, environ ...string) check.Report {
	t.Helper()
	r := look(t, append([]string{"RELAY_EMBEDDED_ADDR=127.0.0.1:1"}, environ...)...)
	wellFormed(t, r)
	return r
}

func TestClockOfThisMachine(t *testing.T) {
	t.Parallel()
	s, _ := withStreams(t, nil)
	built := time.Now().Add(time.Hour)
	for _, environ := range []string{"NATS_URL=" + s.ClientURL(), "NATS_URL=nats://127.0.0.1:1"} { // whether there is a broker or not
		r := lookWith(t, check.Options{Built: built}, environ)
		wellFormed(t, r)
		expect(t, r, check.Clock, check.Fail, "before this program was built")
	}
	only(t, lookWith(t, check.Options{Built: built.Add(-2 * time.Hour)}, "NATS_URL="+s.ClientURL()))
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Now()
	_, otherKey := testcert.Files(t, now, now.Add(day))
	for _, tt := range []struct {
		from, until time.Duration
		want        check.Status
		fact        string
	}{
		{-day, 90 * day, check.OK, "for 89 days more"},
		{-80 * day, 10 * day, check.Warn, "renew it"},
		{-90 * day, -day, check.Fail, "has not been valid since"},
		{day, 90 * day, check.Fail, "is not valid before"},
	} {
		cert, key := testcert.Files(t, now.Add(tt.from), now.Add(tt.until))
		expect(t, here(t, "RELAY_TLS_CERT_FILE="+cert, "RELAY_TLS_KEY_FILE="+key), check.Certificate, tt.want, tt.fact)
		expect(t, here(t, "RELAY_TLS_CERT_FILE="+cert, "RELAY_TLS_KEY_FILE="+otherKey), check.Certificate, check.Fail, "the key that belongs to it")
		expect(t, here(t, "RELAY_TLS_CERT_FILE="+cert, "RELAY_TLS_KEY_FILE="+key, "RELAY_TLS_CLIENT_CA_FILE="+key), check.Certificate, check.Fail, "RELAY_TLS_CLIENT_CA_FILE")
	}
}

func TestSenders(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef"
	r := here(t, "RELAY_WEBHOOK_TOKENS="+token, "RELAY_LISTEN_ADDR=:8720")
	expect(t, r, check.Senders, check.OK, "has to bring the token")
	if text := printed(r); strings.Contains(text, token) {
		t.Errorf("the token is told:\n%s", text)
	}
	expect(t, here(t), check.Senders, check.OK, "from this machine only")
	expect(t, here(t, "RELAY_PROXY_PROTOCOL=true", "RELAY_TRUSTED_PROXIES=10.0.0.1,10.1.0.0/16"), check.Senders, check.OK, "the PROXY protocol is taken from RELAY_TRUSTED_PROXIES")
	expect(t, here(t, "RELAY_ALLOW_UNAUTHENTICATED=true"), check.Senders, check.Warn, "set RELAY_WEBHOOK_TOKENS")
	expect(t, here(t, "RELAY_LISTEN_ADDR=:8720", "RELAY_ALLOW_UNAUTHENTICATED=true"), check.Senders, check.Warn, "set RELAY_WEBHOOK_TOKENS")
	expect(t, here(t, "RELAY_LISTEN_ADDR=:8720", "RELAY_ALLOW_UNAUTHENTICATED=true", "RELAY_ALLOWED_CIDRS=10.0.0.0/8"), check.Senders, check.Warn, "RELAY_ALLOWED_CIDRS")
}

// How connections are bounded depends on what listens. Where a process may have few, as
// in a shell that says so, there is a warning.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	for fact, environ := range map[string][]string{
		"for clients of the embedded broker": nil,
		"for the admin endpoint":             {"NATS_URL=nats://127.0.0.1:1", "RELAY_ADMIN_ADDR=127.0.0.1:1"},
		"are for webhooks, and":              {"NATS_URL=nats://127.0.0.1:1", "RELAY_ADMIN_ADDR=off"},
	} {
		want := check.OK
		if descriptors.ForConfig(config.Config{}).IsLow() {
			want = check.Warn
		}
		expect(t, here(t, environ...), check.Descriptors, want, fact)
	}
}

func TestTracing(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || len(body) > 0 || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %q", r.URL, body)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(collector.Close)
	at := "OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL
	expect(t, here(t), check.Tracing, check.OK, "there is none")
	expect(t, here(t, at), check.Tracing, check.OK, "takes spans (http/protobuf)")
	status = http.StatusForbidden
	expect(t, here(t, at, "OTEL_EXPORTER_OTLP_HEADERS=key=a-secret-key"), check.Tracing, check.Warn, "403 Forbidden")
	r := here(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://user:a-secret-key@127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS=key=a-secret-key")
	expect(t, r, check.Tracing, check.Warn, "takes no spans")
	if text := printed(r); strings.Contains(text, "a-secret-key") {
		t.Errorf("secrets are told:\n%s", text)
	}
	expect(t, here(t, at, "OTEL_EXPORTER_OTLP_CERTIFICATE=/dev/null"), check.Tracing, check.Warn, "no certificate of an authority")
}

func TestDisk(t *testing.T) {
	t.Parallel()
	expect(t, here(t, "RELAY_DATA_DIR="+filepath.Join(t.TempDir(), "none")), check.Disk, check.Skip, "there is no folder")
	if all := named(here(t), check.Disk); all[0].Status == check.Skip || !strings.Contains(all[0].Fact, "are free at RELAY_DATA_DIR") {
		t.Errorf("%+v", all)
	}
	s, _ := withStreams(t, nil)
	external := []string{"NATS_URL=" + s.ClientURL()}
	expect(t, look(t, external...), check.Disk, check.OK, "nothing is stored on this machine")
	tooMuch := append(external, "RELAY_OUTBOX=true", "RELAY_OUTBOX_MAX_BYTES=9000000000000000000")
	expect(t, look(t, tooMuch...), check.Disk, check.Fail, "lower RELAY_OUTBOX_MAX_BYTES")
}

// What the relay says of itself is passed on.
func TestRunningRelay(t *testing.T) {
	t.Parallel()
	external, _ := withStreams(t, nil)
	ask := func(t *testing.T, healthz, readyz int, body string) check.Report {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			status := map[string]int{"/healthz": healthz, "/readyz": readyz}[r.URL.Path]
			w.WriteHeader(status)
			if status != http.StatusOK {
				fmt.Fprint(w, `{"status":"not so","reasons":["the disk is broken","and more"]}`)
				return
			}
			_, _ = io.WriteString(w, body)
		}))
		defer server.Close()
		r := look(t, "NATS_URL="+external.ClientURL(), "RELAY_ADMIN_ADDR="+strings.TrimPrefix(server.URL, "http://"))
		wellFormed(t, r)
		only(t, r, check.Relay)
		return r
	}
	const good = `{"status":"ready"}`
	expect(t, ask(t, 200, 200, good), check.Relay, check.OK, "healthy and ready")
	expect(t, ask(t, 503, 200, good), check.Relay, check.Fail, "only a restart helps")
	expect(t, ask(t, 200, 503, good), check.Relay, check.Fail, "is not so: the disk is broken; and more")
	expect(t, ask(t, 200, 200, `{"status":"ready","notes":["webhooks wait in the outbox"]}`), check.Relay, check.Warn, "webhooks wait in the outbox")
	expect(t, ask(t, 200, 200, "hello"), check.Relay, check.Warn, "is no relay")
	expect(t, look(t, "NATS_URL="+external.ClientURL(), "RELAY_ADMIN_ADDR=127.0.0.1:1"), check.Relay, check.OK, "none runs here")
	expect(t, look(t, "NATS_URL="+external.ClientURL(), "RELAY_ADMIN_ADDR=127.0.0.1:0"), check.Relay, check.Skip, "takes a free port")
}
