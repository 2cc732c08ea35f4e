package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// hosts are addresses to listen on, and whether only this machine can reach them.
var hosts = map[string]bool{
	"127.0.0.1:8720":          true,
	"127.8.9.10:0":            true,
	"[::1]:8720":              true,
	"localhost:8720":          true,
	"[::ffff:127.0.0.1]:8720": true,

	":8720":                  false,
	"0.0.0.0:8720":           false,
	"[::]:8720":              false,
	"192.168.1.2:8720":       false,
	"[2001:db8::1]:8720":     false,
	"[fe80::1%eth0]:8720":    false,
	"[::ffff:10.0.0.1]:8720": false,
	"relay.example:8720":     false,
	"localhost.example:8720": false,
	"127.0.0.1.example:8720": false,
}

// guarded tries every address with settings that tell senders apart and with
// ones that do not.
func guarded(t *testing.T, variable string, guards, others map[string][]string, hint string) {
	t.Helper()
	for addr, loopback := range hosts {
		for name, env := range guards {
			if _, err := config.Load(append([]string{variable + "=" + addr}, env...)); err != nil {
				t.Errorf("%s with %s: %v", addr, name, err)
			}
		}
		for name, env := range others {
			env = append([]string{variable + "=" + addr}, env...)
			if loopback {
				if _, err := config.Load(env); err != nil {
					t.Errorf("%s with %s: %v", addr, name, err)
				}
				continue
			}
			errs := load(t, env...)
			text := reported(t, errs, variable)
			if len(errs) != 1 || !strings.HasPrefix(text, variable+`="`+addr+`": other machines can reach it`) || !strings.Contains(text, hint) {
				t.Errorf("%s with %s: said %v", addr, name, errs)
			}
		}
	}
}

func TestNobodyElseReachesWebhooksUnasked(t *testing.T) {
	t.Parallel()
	const file = "listen_test.go"
	const tls, key = "RELAY_TLS_CERT_FILE=" + file, "RELAY_TLS_KEY_FILE=" + file
	guarded(t, "RELAY_LISTEN_ADDR",
		map[string][]string{
			"a token":           {"RELAY_WEBHOOK_TOKENS=tok-9f3c2a7d51e84b06"},
			"a token in a file": {"RELAY_WEBHOOK_TOKENS_FILE=" + fileOf(t, "tok-9f3c2a7d51e84b06")},
			"a client CA":       {tls, key, "RELAY_TLS_CLIENT_CA_FILE=" + file},
			"permission":        {"RELAY_ALLOW_UNAUTHENTICATED=true"},
		},
		map[string][]string{
			"nothing":       nil,
			"HTTPS alone":   {tls, key},
			"an allow-list": {"RELAY_ALLOWED_CIDRS=10.0.0.0/8"},
			"a proxy":       {"RELAY_TRUSTED_PROXIES=10.0.0.0/8"},
			"a broker":      {"NATS_URL=nats://host", "NATS_TOKEN=t"},
			"an empty list": {"RELAY_WEBHOOK_TOKENS="},
			"refusal":       {"RELAY_ALLOW_UNAUTHENTICATED=false"},
		}, "set RELAY_WEBHOOK_TOKENS (make one with 'openssl rand -hex 16') or RELAY_TLS_CLIENT_CA_FILE, or accept it with RELAY_ALLOW_UNAUTHENTICATED=true")
}

func TestNobodyElseReachesTheEmbeddedBrokerUnasked(t *testing.T) {
	t.Parallel()
	const file, secret = "listen_test.go", "0123456789abcdef"
	guarded(t, "RELAY_EMBEDDED_ADDR",
		map[string][]string{
			"a token":           {"NATS_TOKEN=" + secret},
			"a token in a file": {"NATS_TOKEN_FILE=" + fileOf(t, secret)},
			"a user":            {"NATS_USER=u", "NATS_PASSWORD=" + secret},
			"another broker":    {"NATS_URL=nats://host"},
		},
		map[string][]string{
			"nothing":                nil,
			"a webhook token":        {"RELAY_WEBHOOK_TOKENS=tok-9f3c2a7d51e84b06"},
			"TLS alone":              {"RELAY_EMBEDDED_TLS_CERT_FILE=" + file, "RELAY_EMBEDDED_TLS_KEY_FILE=" + file},
			"what is about webhooks": {"RELAY_ALLOW_UNAUTHENTICATED=true"},
		}, "set NATS_TOKEN (make one with 'openssl rand -hex 16'), or NATS_USER and NATS_PASSWORD")
}

// Nothing is used of the embedded broker's certificate where there is none.
func TestTLSOfNoEmbeddedBrokerIsWarnedOf(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{"NATS_URL=nats://host", "RELAY_EMBEDDED_TLS_CERT_FILE=/nowhere/crt"})
	if err != nil || len(c.Warnings) != 1 || c.Warnings[0].Variable != "RELAY_EMBEDDED_TLS_CERT_FILE" || !strings.Contains(c.Warnings[0].String(), "it is not used") {
		t.Errorf("%v, warned of %v", err, c.Warnings)
	}
}

// Secrets that other machines send are warned of where they travel in the clear.
func TestSecretsWithoutTLSAreWarnedOf(t *testing.T) {
	t.Parallel()
	const file, token = "listen_test.go", "NATS_TOKEN=0123456789abcdef"
	for addr, loopback := range hosts {
		for name, test := range map[string]struct {
			env  []string
			want bool
		}{
			"in the clear":   {[]string{token}, !loopback},
			"a password":     {[]string{"NATS_USER=u", "NATS_PASSWORD=0123456789abcdef"}, !loopback},
			"with TLS":       {[]string{token, "RELAY_EMBEDDED_TLS_CERT_FILE=" + file, "RELAY_EMBEDDED_TLS_KEY_FILE=" + file}, false},
			"another broker": {[]string{token, "NATS_URL=nats://host"}, false},
		} {
			c, err := config.Load(append([]string{"RELAY_EMBEDDED_ADDR=" + addr}, test.env...))
			if err != nil {
				t.Errorf("%s, %s: %v", addr, name, err)
				continue
			}
			warned := slices.ContainsFunc(c.Warnings, func(w config.Warning) bool {
				return w.Variable == "RELAY_EMBEDDED_ADDR" && strings.Contains(w.String(), "travels without TLS") && strings.Contains(w.String(), "RELAY_EMBEDDED_TLS_CERT_FILE")
			})
			if warned != test.want || len(c.Warnings) > 1 {
				t.Errorf("%s, %s: warned of %v", addr, name, c.Warnings)
			}
		}
	}
}

func TestHasSenderPolicy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		webhooks config.Webhooks
		want     bool
	}{
		{config.Webhooks{}, false},
		{config.Webhooks{TLSCertFile: "f", AllowUnauthenticated: true}, false},
		{config.Webhooks{Tokens: config.Tokens{"t"}}, true},
		{config.Webhooks{TLSClientCAFile: "f"}, true},
	} {
		if got := test.webhooks.HasSenderPolicy(); got != test.want {
			t.Errorf("%+v: %v", test.webhooks, got)
		}
	}
}
