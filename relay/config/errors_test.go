package config_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// mistake is a value that is wrong by itself, and what must be said about it.
type mistake struct{ variable, value, problem, hint string }

const (
	addrHint     = "write it like 127.0.0.1:8720, :8720 or [::1]:8720"
	numberHint   = "write digits only, without a unit"
	durationHint = "write it like 20s, 1h30m, 500ms, 7d or 1d12h"
	networkHint  = "write it like 10.0.0.0/8 or 2001:db8::/32"
	nameHint     = "1 to 255 letters, digits, - and _"
	pathHint     = "write it like /webhook/apixo"
	prefixHint   = "up to 8 tokens of letters"
	urlHint      = "write it like nats://host:4222"
)

var mistakes = []mistake{
	{"RELAY_LISTEN_ADDR", "8720", "is not an address", addrHint},
	{"RELAY_LISTEN_ADDR", "127.0.0.1", "is not an address", addrHint},
	{"RELAY_LISTEN_ADDR", "127.0.0.1:", "is not an address", addrHint},
	{"RELAY_LISTEN_ADDR", "127.0.0.1:http", "is not an address", addrHint},
	{"RELAY_LISTEN_ADDR", "127.0.0.1:65536", "is not an address", addrHint},
	{"RELAY_LISTEN_ADDR", "::1:8720", "is not an address", addrHint},
	{"RELAY_LISTEN_ADDR", "http://127.0.0.1:8720", "is not an address", addrHint},
	{"RELAY_ADMIN_ADDR", "on", "is not an address", addrHint},
	{"RELAY_EMBEDDED_ADDR", "4222", "is not an address", addrHint},
	{"RELAY_WEBHOOK_PATH", "webhook", "is not a plain absolute path", pathHint},
	{"RELAY_WEBHOOK_PATH", "/a//b", "is not a plain absolute path", pathHint},
	{"RELAY_WEBHOOK_PATH", "/a/../b", "is not a plain absolute path", pathHint},
	{"RELAY_WEBHOOK_PATH", "/a?b", "is not a plain absolute path", pathHint},
	{"RELAY_WEBHOOK_PATH", "/a%20b", "is not a plain absolute path", pathHint},
	{"RELAY_WEBHOOK_PATH", "/{token}", "is not a plain absolute path", pathHint},
	{"RELAY_ALLOW_UNAUTHENTICATED", "yes please", "is not a truth value", "write true or false"},
	{"RELAY_ALLOWED_CIDRS", "10.0.0.0/8,10.0.0.0/33", `"10.0.0.0/33" is not a network`, networkHint},
	{"RELAY_ALLOWED_CIDRS", "example.com", `"example.com" is not a network`, networkHint},
	{"RELAY_ALLOWED_CIDRS", ",", "no network in it", "leave it unset to go without"},
	{"RELAY_TRUSTED_PROXIES", "10.0.0.", `"10.0.0." is not a network`, networkHint},
	{"RELAY_TRUSTED_PROXIES", " ", "no network in it", "leave it unset to go without"},
	{"RELAY_MAX_BODY_BYTES", "256KiB", "is not a whole number", numberHint},
	{"RELAY_MAX_BODY_BYTES", "1023", "is out of range", "choose from 1024 to 32505856 bytes"},
	{"RELAY_MAX_BODY_BYTES", "32505857", "is out of range", "choose from 1024 to 32505856 bytes"},
	{"RELAY_MAX_BODY_BYTES", "99999999999999999999", "is not a whole number", numberHint},
	{"RELAY_PROXY_PROTOCOL", "v2", "is not a truth value", "write true or false"},
	{"RELAY_PROXY_PROTOCOL", "true", "is taken from RELAY_TRUSTED_PROXIES, which names nobody", "set RELAY_TRUSTED_PROXIES to the balancer's network, or leave RELAY_PROXY_PROTOCOL unset"},
	{"RELAY_IDLE_TIMEOUT", "0s", "is out of range", "choose 1s or more; longer than the balancer in front keeps a connection"},
	{"RELAY_IDLE_TIMEOUT", "999ms", "is out of range", "choose 1s or more; longer than the balancer in front keeps a connection"},
	{"RELAY_MAX_IN_FLIGHT", "0", "lets no webhook in", "choose 1 or more"},
	{"RELAY_MAX_IN_FLIGHT", "-1", "lets no webhook in", "choose 1 or more"},
	{"RELAY_MAX_IN_FLIGHT", "1e3", "is not a whole number", numberHint},
	{"RELAY_PUBLISH_TIMEOUT", "20", "is not a duration", durationHint},
	{"RELAY_PUBLISH_TIMEOUT", "99ms", "is out of range", "choose from 100ms to less than 30s"},
	{"RELAY_PUBLISH_TIMEOUT", "30s", "is out of range", "choose from 100ms to less than 30s"},
	{"RELAY_SHUTDOWN_TIMEOUT", "soon", "is not a duration", durationHint},
	{"RELAY_SHUTDOWN_TIMEOUT", "0s", "leaves no time", "choose more than 0s"},
	{"RELAY_OUTBOX", "true", "needs an external broker", "set NATS_URL"},
	{"RELAY_OUTBOX", "on", "is not a truth value", "write true or false"},
	{"RELAY_OUTBOX_MAX_BYTES", "65535", "is out of range", "choose 65536 bytes or more"},
	{"RELAY_OUTBOX_MAX_BYTES", "1GiB", "is not a whole number", numberHint},
	{"RELAY_SHUTDOWN_TIMEOUT", "-1s", "leaves no time", "choose more than 0s"},
	{"RELAY_LOG_LEVEL", "verbose", "is not a log level", "write debug, info, warn or error"},
	{"RELAY_LOG_FORMAT", "xml", "must be one of", "auto, text, json"},
	{"RELAY_EMBEDDED_SYNC", "never", "must be one of", "always, interval"},
	{"RELAY_STREAM", "A.B", "is not a stream name", nameHint},
	{"RELAY_STREAM", "A B", "is not a stream name", nameHint},
	{"RELAY_STREAM", strings.Repeat("A", 256), "is not a stream name", nameHint},
	{"RELAY_QUARANTINE_STREAM", "Q>", "is not a stream name", nameHint},
	{"RELAY_QUARANTINE_STREAM", "APIXO", "is RELAY_STREAM too", "choose another name"},
	{"RELAY_SUBJECT_PREFIX", "apixo.", "is not a subject prefix", prefixHint},
	{"RELAY_SUBJECT_PREFIX", "a.*", "is not a subject prefix", prefixHint},
	{"RELAY_SUBJECT_PREFIX", "a..b", "is not a subject prefix", prefixHint},
	{"RELAY_SUBJECT_PREFIX", "a.b.c.d.e.f.g.h.i", "is not a subject prefix", prefixHint},
	{"RELAY_SUBJECT_PREFIX", "a." + strings.Repeat("b", 65), "is not a subject prefix", prefixHint},
	{"RELAY_STREAM_POLICY", "replace", "must be one of", "create, update, require"},
	{"RELAY_STREAM_REPLICAS", "one", "is not a whole number", numberHint},
	{"RELAY_STREAM_REPLICAS", "3", "the embedded broker is a single server", "set NATS_URL to a cluster"},
	{"RELAY_STREAM_MAX_AGE", "7 days", "is not a duration", durationHint},
	{"RELAY_STREAM_MAX_AGE", "-1s", "is too short", "0s to keep events for ever"},
	{"RELAY_STREAM_MAX_BYTES", "0", "is out of range", "-1 for no bound"},
	{"RELAY_STREAM_MAX_BYTES", "-2", "is out of range", "-1 for no bound"},
	{"RELAY_STREAM_MAX_BYTES", "10GB", "is not a whole number", numberHint},
	{"RELAY_DEDUPE_WINDOW", "1", "is not a duration", durationHint},
	{"RELAY_DEDUPE_WINDOW", "99ms", "is too short", "APIXO's last retry comes up to 14m30s"},
	{"RELAY_DEDUPE_WINDOW", "169h", "is longer than RELAY_STREAM_MAX_AGE (168h0m0s)", "shorten the one or lengthen the other"},
	{"RELAY_CE_SOURCE", "https://a b", "is not a URI reference", "write it like https://api.apixo.ai"},
	{"RELAY_CE_SOURCE", ":", "is not a URI reference", "write it like https://api.apixo.ai"},
	{"RELAY_CE_MODE", "batch", "must be one of", "structured, binary"},
	{"RELAY_CE_SOURCE", "https://a/" + strings.Repeat("b", 1015), "is too long", "at most 1024 characters"},
	{"APIXO_BASE_URL", "api.apixo.ai", "is not the address of an API", "write it like https://api.apixo.ai"},
	{"APIXO_BASE_URL", "https://api.apixo.ai:", "is not the address of an API", "write it like https://api.apixo.ai"},
	{"APIXO_BASE_URL", "ftp://api.apixo.ai", "is not the address of an API", "write it like https://api.apixo.ai"},
	{"APIXO_BASE_URL", "https://api.apixo.ai/?key=x", "is not the address of an API", "write it like https://api.apixo.ai"},
	{"RELAY_CALLBACK_ATTRIBUTES", "a,b,c,d,e,f,g,h,i,j,k", "11 attributes are too many", "choose at most 10"},
	{"RELAY_CALLBACK_ATTRIBUTES", "model,Tenant", `"Tenant" cannot be a CloudEvents attribute`, "lower-case letters and digits"},
	{"RELAY_CALLBACK_ATTRIBUTES", "task_id", `"task_id" cannot be a CloudEvents attribute`, "lower-case letters and digits"},
	{"RELAY_CALLBACK_ATTRIBUTES", "id", `"id" already has a meaning`, "choose another name"},
	{"RELAY_CALLBACK_ATTRIBUTES", "reason", `"reason" already has a meaning`, "choose another name"},
	{"NATS_URL", "http://host:4222", "is not a list of broker addresses", urlHint},
	{"NATS_URL", "nats://a,nats://", "is not a list of broker addresses", urlHint},
	{"NATS_URL", "nats://a:port", "is not a list of broker addresses", urlHint},
	{"NATS_URL", ",", "names no broker", urlHint},
	{"NATS_CREDS", "/nowhere/creds", "is for an external broker", "set NATS_URL, or unset it"},
	{"NATS_NKEY", "/nowhere/nk", "is for an external broker", "set NATS_URL, or unset it"},
	{"NATS_CA", "/nowhere/ca", "is for an external broker", "set NATS_URL or RELAY_EMBEDDED_TLS_CERT_FILE, or unset it"},
	{"NATS_CERT", "/nowhere/crt", "is for an external broker", "set NATS_URL, or unset it"},
	{"NATS_TLS_FIRST", "true", "is for an external broker", "set NATS_URL, or unset it"},
	{"NATS_TLS_FIRST", "first", "is not a truth value", "write true or false"},
	{"NATS_JS_DOMAIN", "hub", "is for an external broker", "set NATS_URL, or unset it"},
	{"NATS_KEY", "/nowhere/key", "is for an external broker", "set NATS_URL, or unset it"},
}

// load reads what has to be wrong.
func load(t *testing.T, env ...string) config.Errors {
	t.Helper()
	c, err := config.Load(env)
	var errs config.Errors
	if !errors.As(err, &errs) || len(errs) == 0 {
		t.Fatalf("read %+v, %v; want what is wrong", c, err)
	}
	return errs
}

// reported finds what is said about a variable: one thing.
func reported(t *testing.T, errs config.Errors, variable string) string {
	t.Helper()
	var found []string
	for _, err := range errs {
		if err.Variable == variable {
			found = append(found, err.Error())
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d errors about %s in %v, want one", len(found), variable, errs)
	}
	return found[0]
}

func (m mistake) check(t *testing.T, errs config.Errors) {
	t.Helper()
	text := reported(t, errs, m.variable)
	if !strings.HasPrefix(text, fmt.Sprintf("%s=%q: ", m.variable, m.value)) || !strings.Contains(text, m.problem) || !strings.Contains(text, m.hint) {
		t.Errorf("said %s\nwant %s=%q: %s … %s", text, m.variable, m.value, m.problem, m.hint)
	}
	if !strings.Contains(errs.Error(), "\n  "+text) {
		t.Errorf("the list leaves %s out:\n%v", m.variable, errs)
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for _, m := range mistakes {
		t.Run(m.variable+"="+m.value, func(t *testing.T) {
			t.Parallel()
			m.check(t, load(t, m.variable+"="+m.value))
		})
	}
}

// Nobody wants to start a program once for each mistake.
func TestAllMistakesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	chosen := map[string]mistake{"RELAY_WEBHOOK_TOKENS": {}}
	env := []string{"RELAY_WEBHOOK_TOKENS=short"}
	for _, m := range mistakes {
		if _, ok := chosen[m.variable]; !ok && m.variable != "NATS_URL" { // which hides those of the embedded broker
			chosen[m.variable] = m
			env = append(env, m.variable+"="+m.value)
		}
	}
	errs := load(t, env...)
	if len(errs) != len(chosen) || !strings.HasPrefix(errs.Error(), fmt.Sprintf("the configuration has %d errors:\n  ", len(chosen))) {
		t.Errorf("%d mistakes are told as\n%v", len(chosen), errs)
	}
	for variable, m := range chosen {
		if m.variable != "" {
			m.check(t, errs)
		} else {
			reported(t, errs, variable)
		}
	}
	if !slices.IsSortedFunc(errs, func(a, b config.Error) int { return strings.Compare(a.Variable, b.Variable) }) {
		t.Errorf("the errors are in no order that a reader could follow:\n%v", errs)
	}
}

func TestMistakesOfSeveralValues(t *testing.T) {
	t.Parallel()
	const file, external = "errors_test.go", "NATS_URL=nats://host"
	for _, test := range []struct {
		name string
		env  []string
		want map[string]string // by variable
	}{
		{"certificate without key", []string{"RELAY_TLS_CERT_FILE=" + file}, map[string]string{"RELAY_TLS_KEY_FILE": "(not set): is missing beside RELAY_TLS_CERT_FILE"}},
		{"key without certificate", []string{"RELAY_TLS_KEY_FILE=" + file}, map[string]string{"RELAY_TLS_CERT_FILE": "(not set): is missing beside RELAY_TLS_KEY_FILE"}},
		{"client CA without certificate", []string{"RELAY_TLS_CLIENT_CA_FILE=" + file}, map[string]string{"RELAY_TLS_CLIENT_CA_FILE": "client certificates need HTTPS"}},
		{"TLS files that are not there", []string{"RELAY_TLS_CERT_FILE=/nowhere/c", "RELAY_TLS_KEY_FILE=/nowhere/k", "RELAY_TLS_CLIENT_CA_FILE=/nowhere/a"}, map[string]string{
			"RELAY_TLS_CERT_FILE": `="/nowhere/c": cannot be opened`, "RELAY_TLS_KEY_FILE": `="/nowhere/k": cannot be opened`, "RELAY_TLS_CLIENT_CA_FILE": `="/nowhere/a": cannot be opened`,
		}},
		{"user without password, embedded", []string{"NATS_USER=u"}, map[string]string{"NATS_PASSWORD": "is missing beside NATS_USER"}},
		{"password that can be guessed", []string{"NATS_USER=u", "NATS_PASSWORD=0123456789abcde"}, map[string]string{
			"NATS_PASSWORD": "(secret, not shown): has 15 characters, and the embedded broker asks for 16 or more; make one with 'openssl rand -hex 16'",
		}},
		{"broker's token that can be guessed", []string{"NATS_TOKEN=a", "RELAY_EMBEDDED_ADDR=:0"}, map[string]string{"NATS_TOKEN": "has 1 characters, and the embedded broker asks for 16 or more"}},
		{"broker's certificate without key", []string{"RELAY_EMBEDDED_TLS_CERT_FILE=" + file}, map[string]string{"RELAY_EMBEDDED_TLS_KEY_FILE": "is missing beside RELAY_EMBEDDED_TLS_CERT_FILE"}},
		{"broker's key without certificate", []string{"RELAY_EMBEDDED_TLS_KEY_FILE=" + file}, map[string]string{"RELAY_EMBEDDED_TLS_CERT_FILE": "is missing beside RELAY_EMBEDDED_TLS_KEY_FILE"}},
		{"files of the broker's TLS that are not there", []string{"RELAY_EMBEDDED_TLS_CERT_FILE=/nowhere/c", "RELAY_EMBEDDED_TLS_KEY_FILE=/nowhere/k", "NATS_CA=/nowhere/a"}, map[string]string{
			"RELAY_EMBEDDED_TLS_CERT_FILE": `="/nowhere/c": cannot be opened`, "RELAY_EMBEDDED_TLS_KEY_FILE": `="/nowhere/k": cannot be opened`, "NATS_CA": `="/nowhere/a": cannot be opened`,
		}},
		{"authority of a broker without TLS", []string{"NATS_CA=" + file}, map[string]string{"NATS_CA": "set NATS_URL or RELAY_EMBEDDED_TLS_CERT_FILE"}},
		{"password without user, embedded", []string{"NATS_PASSWORD=0123456789abcdef"}, map[string]string{"NATS_USER": "is missing beside NATS_PASSWORD"}},
		{"token beside a user, embedded", []string{"NATS_TOKEN=0123456789abcdef", "NATS_USER=u", "NATS_PASSWORD=0123456789abcdef"}, map[string]string{"NATS_TOKEN": "asks for one of the two"}},
		{"password without user", []string{external, "NATS_PASSWORD=p"}, map[string]string{"NATS_USER": "is missing beside NATS_PASSWORD"}},
		{"client certificate without key", []string{external, "NATS_CERT=" + file}, map[string]string{"NATS_KEY": "is missing beside NATS_CERT"}},
		{"client key without certificate", []string{external, "NATS_KEY=" + file}, map[string]string{"NATS_CERT": "is missing beside NATS_KEY"}},
		{"two kinds of keys", []string{external, "NATS_CREDS=" + file, "NATS_NKEY=" + file}, map[string]string{"NATS_NKEY": "NATS_CREDS is set too"}},
		{"broker's files that are not there", []string{external, "NATS_CREDS=/nowhere/1", "NATS_CA=/nowhere/2", "NATS_CERT=/nowhere/3", "NATS_KEY=/nowhere/4"}, map[string]string{
			"NATS_CREDS": "cannot be opened", "NATS_CA": "cannot be opened", "NATS_CERT": "cannot be opened", "NATS_KEY": "cannot be opened",
		}},
		{"domain that is none", []string{external, "NATS_JS_DOMAIN=a.b"}, map[string]string{"NATS_JS_DOMAIN": "is not the name of a domain"}},
		{"TLS first over WebSocket", []string{"NATS_URL=wss://host", "NATS_TLS_FIRST=true"}, map[string]string{"NATS_TLS_FIRST": "is not for WebSocket"}},
		{"NKey that is not there", []string{external, "NATS_NKEY=/nowhere/1"}, map[string]string{"NATS_NKEY": "cannot be opened"}},
		{"even number of replicas", []string{external, "RELAY_STREAM_REPLICAS=2"}, map[string]string{"RELAY_STREAM_REPLICAS": "choose 1, 3 or 5"}},
		{"window and age", []string{"RELAY_STREAM_MAX_AGE=30m"}, map[string]string{"RELAY_DEDUPE_WINDOW": `="1h": is longer than RELAY_STREAM_MAX_AGE (30m0s)`}},
		{"everybody is a proxy", []string{"RELAY_ALLOWED_CIDRS=10.0.0.0/8", "RELAY_TRUSTED_PROXIES=192.0.2.1,0.0.0.0/0"}, map[string]string{"RELAY_TRUSTED_PROXIES": "trusts everybody"}},
		{"a PROXY protocol of a network that cannot be read", []string{"RELAY_PROXY_PROTOCOL=true", "RELAY_TRUSTED_PROXIES=x"}, map[string]string{"RELAY_TRUSTED_PROXIES": "is not a network"}},
		{"everybody is a proxy in IPv6", []string{"RELAY_ALLOWED_CIDRS=10.0.0.0/8", "RELAY_TRUSTED_PROXIES=::/0"}, map[string]string{"RELAY_TRUSTED_PROXIES": "trusts everybody"}},
		{"one name for both streams", []string{"RELAY_STREAM=S", "RELAY_QUARANTINE_STREAM=S"}, map[string]string{"RELAY_QUARANTINE_STREAM": "is RELAY_STREAM too"}},

		// What follows from a mistake is not told besides it.
		{"tokens that cannot be read", []string{"RELAY_LISTEN_ADDR=:0", "RELAY_WEBHOOK_TOKENS=short"}, map[string]string{"RELAY_WEBHOOK_TOKENS": "16 or more"}},
		{"tokens' file that cannot be read", []string{"RELAY_LISTEN_ADDR=:0", "RELAY_WEBHOOK_TOKENS_FILE=/nowhere/t"}, map[string]string{"RELAY_WEBHOOK_TOKENS_FILE": "/nowhere/t"}},
		{"permission that cannot be read", []string{"RELAY_LISTEN_ADDR=:0", "RELAY_ALLOW_UNAUTHENTICATED=yes"}, map[string]string{"RELAY_ALLOW_UNAUTHENTICATED": "is not a truth value"}},
		{"broker's token that cannot be read", []string{"RELAY_EMBEDDED_ADDR=:0", "NATS_TOKEN_FILE=/nowhere/t"}, map[string]string{"NATS_TOKEN_FILE": "/nowhere/t"}},
		{"password that cannot be read", []string{"RELAY_EMBEDDED_ADDR=:0", "NATS_USER=u", "NATS_PASSWORD_FILE=/nowhere/p"}, map[string]string{"NATS_PASSWORD_FILE": "/nowhere/p"}},
		{"age that cannot be read", []string{"RELAY_STREAM_MAX_AGE=a week"}, map[string]string{"RELAY_STREAM_MAX_AGE": "is not a duration"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			errs := load(t, test.env...)
			if len(errs) != len(test.want) {
				t.Errorf("told %v", errs)
			}
			for variable, want := range test.want {
				if text := reported(t, errs, variable); !strings.HasPrefix(text, variable) || !strings.Contains(text, want) {
					t.Errorf("said %s\nwant %s", text, want)
				}
			}
		})
	}
}
