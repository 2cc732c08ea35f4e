package check_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/ops/check"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

const token = "the-token-0123456789"

// A delivery through the callback URL is found in the broker, wherever the token is,
// and is kept once.
func TestDelivery(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	r, environ := startRelay(t, "NATS_URL="+s.ClientURL(), "RELAY_WEBHOOK_TOKENS=another-token-0123456,"+token)
	for _, callback := range []string{
		"http://" + r.Addr() + "/webhook/apixo/" + token + "?model=nano-banana",
		"http://relay:" + token + "@" + r.Addr() + "/webhook/apixo",
	} {
		report := through(t, callback, environ...)
		wellFormed(t, report)
		only(t, report)
		expect(t, report, check.Delivery, check.OK, "is stored at APIXO_QUARANTINE, sequence 1")
		expect(t, report, check.Strangers, check.OK, "gets 401")
		if text := printed(report); strings.Contains(text, token) || strings.Contains(text, "webhook/apixo") {
			t.Errorf("the URL is told:\n%s", text)
		}
	}
	js := natstest.JetStream(t, s.ClientURL())
	if got := state(t, js, "APIXO_QUARANTINE"); got.LastSeq != 1 {
		t.Errorf("the quarantine is %+v", got)
	}
	if got := state(t, js, "APIXO"); got.LastSeq != 0 {
		t.Errorf("consumers see something: %+v", got)
	}
	// A URL without the token, or with a wrong one.
	for _, path := range []string{"/webhook/apixo", "/webhook/apixo/wrong-token-0123456789"} {
		report := through(t, "http://"+r.Addr()+path, environ...)
		wellFormed(t, report)
		only(t, report, check.Delivery)
		expect(t, report, check.Delivery, check.Fail, "compare the token in the callback URL with RELAY_WEBHOOK_TOKENS")
	}
	expect(t, through(t, "http://"+r.Addr()+"/elsewhere/"+token, environ...), check.Delivery, check.Fail, "RELAY_WEBHOOK_PATH=/webhook/apixo")
}

// A relay that asks for no token lets everybody in.
func TestDeliveryWithoutTokens(t *testing.T) {
	t.Parallel()
	r, environ := startRelay(t)
	report := through(t, "http://"+r.Addr()+"/webhook/apixo", environ...)
	only(t, report, check.Disk)
	expect(t, report, check.Delivery, check.OK, "came through")

	secret := "http://relay:" + token + "@" + r.Addr() + "/webhook/apixo"
	expect(t, through(t, secret, environ...), check.Strangers, check.Warn, "its secret protects nothing")
	// Where the environment has tokens, the relay should have had them.
	environ = append(environ, "RELAY_WEBHOOK_TOKENS="+token)
	expect(t, through(t, secret, environ...), check.Strangers, check.Fail, "its secret protects nothing")
	expect(t, through(t, "http://"+r.Addr()+"/webhook/apixo", environ...), check.Strangers, check.Fail, "without a token")
}

// The URL of another relay is found out, although its broker has a message at the
// same sequence.
func TestDeliveryToAnotherBroker(t *testing.T) {
	t.Parallel()
	mine, environ := startRelay(t)
	other, _ := startRelay(t)
	expect(t, through(t, "http://"+mine.Addr()+"/webhook/apixo", environ...), check.Delivery, check.OK, "sequence 1")
	expect(t, through(t, "http://"+other.Addr()+"/webhook/apixo", environ...), check.Delivery, check.Fail, "a relay with another broker")
	named, _ := startRelay(t, "RELAY_QUARANTINE_STREAM=BAD")
	expect(t, through(t, "http://"+named.Addr()+"/webhook/apixo", environ...), check.Delivery, check.Fail, "keeps things in the stream BAD")
}

// Without the broker the delivery is tried all the same.
func TestDeliveryThatCannotBeLookedFor(t *testing.T) {
	t.Parallel()
	r, _ := startRelay(t)
	report := through(t, "http://"+r.Addr()+"/webhook/apixo", "RELAY_EMBEDDED_ADDR=127.0.0.1:1")
	wellFormed(t, report)
	expect(t, report, check.Delivery, check.Warn, "cannot be looked into")
}

// proxy is a transport that brings all requests to one server.
func proxy(t *testing.T, server *httptest.Server) http.RoundTripper {
	t.Helper()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(u)}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// Each answer that is none of a relay has a remedy of its own.
func TestDeliveryThatFails(t *testing.T) {
	t.Parallel()
	s, _ := withStreams(t, nil)
	for _, tt := range []struct {
		status int
		header http.Header
		want   string
	}{
		{200, nil, "this is not how a relay answers"},
		{302, http.Header{"Location": {"https://new.example/webhook/" + token}}, "the URL at https://new.example to which it redirects"},
		{401, nil, "RELAY_WEBHOOK_TOKENS"},
		{403, nil, "RELAY_TRUSTED_PROXIES"},
		{404, nil, "RELAY_WEBHOOK_PATH"},
		{415, nil, "what a proxy on the way makes of the request"},
		{421, nil, "RELAY_ALLOW_UNAUTHENTICATED"},
		{422, nil, "this is not how a relay answers"},
		{502, nil, "does not reach the relay"},
		{503, nil, "/readyz"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for name, values := range tt.header {
				w.Header()[name] = values
			}
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, "what it got was "+r.URL.Path)
		}))
		u, err := url.Parse("http://hooks.example/webhook/" + token)
		if err != nil {
			t.Fatal(err)
		}
		r := lookWith(t, check.Options{CallbackURL: u, Transport: proxy(t, server)}, "NATS_URL="+s.ClientURL())
		wellFormed(t, r)
		expect(t, r, check.Delivery, check.Fail, tt.want)
		expect(t, r, check.Delivery, check.Warn, "http://hooks.example is not encrypted")
		if strings.Contains(printed(r), token) {
			t.Errorf("the token is told:\n%s", printed(r))
		}
		server.Close()
	}
}

func TestDeliveryThatIsNotAnswered(t *testing.T) {
	t.Parallel()
	s, _ := withStreams(t, nil)
	overTLS := httptest.NewUnstartedServer(http.NotFoundHandler())
	overTLS.Config.ErrorLog = log.New(io.Discard, "", 0)
	overTLS.StartTLS()
	defer overTLS.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	stalled := strings.Replace(silent(t, ""), "nats", "http", 1)
	for _, tt := range []struct{ url, want string }{
		{overTLS.URL, "--cacert"},
		{strings.Replace(plain.URL, "http", "https", 1), "write http://"},
		{"http://127.0.0.1:1", "listens there"},
		{"http://nowhere.invalid", "correct the host name"},
		{stalled, "--timeout gives it longer"},
	} {
		u, err := url.Parse(tt.url + "/webhook/apixo/" + token)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r := lookWith(t, check.Options{CallbackURL: u, Timeout: 2 * time.Second}, "NATS_URL="+s.ClientURL())
		wellFormed(t, r)
		expect(t, r, check.Delivery, check.Fail, tt.want)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %s", tt.url, took)
		}
		if strings.Contains(printed(r), token) {
			t.Errorf("the token is told:\n%s", printed(r))
		}
	}
}
