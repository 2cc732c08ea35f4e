package config_test

import (
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

// settings are the names and defaults that users, their scripts and their
// manifests hold on to.
var settings = map[string]string{
	"RELAY_LISTEN_ADDR":           "127.0.0.1:8720",
	"RELAY_WEBHOOK_PATH":          "/webhook/apixo",
	"RELAY_WEBHOOK_TOKENS":        "",
	"RELAY_ALLOW_UNAUTHENTICATED": "false",
	"RELAY_ALLOWED_CIDRS":         "",
	"RELAY_TRUSTED_PROXIES":       "",
	"RELAY_PROXY_PROTOCOL":        "false",
	"RELAY_IDLE_TIMEOUT":          "620s",
	"RELAY_TLS_CERT_FILE":         "",
	"RELAY_TLS_KEY_FILE":          "",
	"RELAY_TLS_CLIENT_CA_FILE":    "",
	"RELAY_MAX_BODY_BYTES":        "262144",
	"RELAY_MAX_IN_FLIGHT":         "1024",
	"RELAY_PUBLISH_TIMEOUT":       "20s",
	"RELAY_SHUTDOWN_TIMEOUT":      "25s",
	"RELAY_ADMIN_ADDR":            "127.0.0.1:8721",
	"RELAY_LOG_LEVEL":             "info",
	"RELAY_LOG_FORMAT":            "auto",
	"NATS_URL":                    "",
	"NATS_CREDS":                  "",
	"NATS_NKEY":                   "",
	"NATS_USER":                   "",
	"NATS_PASSWORD":               "",
	"NATS_TOKEN":                  "",
	"NATS_CA":                     "",
	"NATS_CERT":                   "",
	"NATS_KEY":                    "",
	"NATS_TLS_FIRST":              "false",
	"NATS_JS_DOMAIN":              "",
	"RELAY_DATA_DIR":              "apixo-relay-data",
	"RELAY_EMBEDDED_ADDR":         "127.0.0.1:4222",
	"RELAY_EMBEDDED_SYNC":         "always",
	"RELAY_ALLOW_DOWNGRADE":       "false",

	"RELAY_EMBEDDED_TLS_CERT_FILE": "",
	"RELAY_EMBEDDED_TLS_KEY_FILE":  "",

	"RELAY_OUTBOX":              "false",
	"RELAY_OUTBOX_MAX_BYTES":    "1073741824",
	"RELAY_STREAM":              "APIXO",
	"RELAY_SUBJECT_PREFIX":      "apixo",
	"RELAY_STREAM_POLICY":       "create",
	"RELAY_STREAM_REPLICAS":     "1",
	"RELAY_STREAM_MAX_AGE":      "168h",
	"RELAY_STREAM_MAX_BYTES":    "-1",
	"RELAY_DEDUPE_WINDOW":       "1h",
	"RELAY_QUARANTINE_STREAM":   "APIXO_QUARANTINE",
	"RELAY_CE_SOURCE":           "https://api.apixo.ai",
	"RELAY_CE_MODE":             "structured",
	"RELAY_CALLBACK_ATTRIBUTES": "model",
	"APIXO_API_KEY":             "",
	"APIXO_BASE_URL":            "https://api.apixo.ai",
	"RELAY_API_RATE":            "5000/m",
	"RELAY_EXPECT":              "false",
	"RELAY_EXPECT_BUCKET":       "APIXO_EXPECTED",
	"RELAY_EXPECT_PATH":         "/expect",
	"RELAY_EXPECT_AFTER":        "1m",
	"RELAY_EXPECT_GIVE_UP":      "24h",
	"RELAY_VERIFY":              "off",
	"RELAY_VERIFY_TIMEOUT":      "5s",

	"RELAY_UI_ADDR":          "127.0.0.1:8722",
	"RELAY_UI_TOKENS":        "",
	"RELAY_UI_TLS_CERT_FILE": "",
	"RELAY_UI_TLS_KEY_FILE":  "",
	"RELAY_UI_HOSTS":         "",
	"RELAY_UI_MEDIA_HOSTS":   "*.apixo.ai",
	"RELAY_UI_TARGETS":       "",
	"RELAY_UI_INDEX":         "1000000",

	"RELAY_ARCHIVE_HOSTS":      "*.apixo.ai",
	"RELAY_ARCHIVE_MAX_BYTES":  "1073741824",
	"RELAY_ARCHIVE_ADMIN_ADDR": "off",
}

// defaults are the same as values.
var defaults = config.Config{
	Webhooks: config.Webhooks{
		ListenAddr: "127.0.0.1:8720", Path: "/webhook/apixo",
		MaxBodyBytes: 262144, MaxInFlight: 1024,
		PublishTimeout: 20 * time.Second, ShutdownTimeout: 25 * time.Second, IdleTimeout: 620 * time.Second,
	},
	Admin:    config.Admin{Addr: "127.0.0.1:8721"},
	Log:      config.Log{Level: slog.LevelInfo, Format: "auto"},
	Outbox:   config.Outbox{CapacityBytes: 1 << 30},
	Embedded: config.Embedded{DataDir: "apixo-relay-data", Addr: "127.0.0.1:4222", Sync: "always"},
	Stream: config.Stream{
		Name: "APIXO", Quarantine: "APIXO_QUARANTINE", Prefix: "apixo", Policy: "create",
		Replicas: 1, MaxAge: 168 * time.Hour, MaxBytes: -1, Dedupe: time.Hour,
	},
	Event:  config.Event{Source: "https://api.apixo.ai", Mode: "structured", Attributes: config.Attributes{"model"}},
	API:    config.API{BaseURL: "https://api.apixo.ai", Rate: 5000.0 / 60},
	Expect: config.Expect{Bucket: "APIXO_EXPECTED", Path: "/expect", After: time.Minute, GiveUp: 24 * time.Hour},
	Verify: config.Verify{Mode: config.VerifyOff, Timeout: 5 * time.Second},
	UI:     config.UI{Addr: "127.0.0.1:8722", MediaHosts: config.Origins{"*.apixo.ai"}, Index: 1_000_000},

	Archive: config.Archive{Hosts: config.Origins{"*.apixo.ai"}, MaxBytes: 1 << 30},
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got := make(map[string]string)
	for _, v := range config.Variables() {
		if v.Doc == "" {
			t.Errorf("%s is not explained", v.Name)
		}
		got[v.Name] = v.Default
	}
	for name, want := range settings {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s defaults to %q, %v; want %q", name, value, ok, want)
		}
	}
	for name := range got {
		if _, ok := settings[name]; !ok {
			t.Errorf("%s is not in this test's table", name)
		}
	}
	c, err := config.Load(nil)
	if err != nil || !reflect.DeepEqual(c, defaults) {
		t.Errorf("read %+v, %v\nwant %+v", c, err, defaults)
	}
}

// The README tells how much it is by default.
func TestMemoryBound(t *testing.T) {
	t.Parallel()
	if got := defaults.MemoryBound() - defaults.EmbeddedMemory(); got != 1228<<20 {
		t.Errorf("%d bytes, the README says 1,228 MiB", got)
	}
	few := defaults
	few.Webhooks.MaxInFlight, few.Webhooks.MaxBodyBytes = 64, 64<<10
	if got := few.MemoryBound() - few.EmbeddedMemory(); got != 346<<20 || few.Webhooks.MaxConnections() != 512 {
		t.Errorf("with fewer it is %d bytes and %d connections", got, few.Webhooks.MaxConnections())
	}
	if got := defaults.EmbeddedMemory(); got != 1216<<20 {
		t.Errorf("%d bytes for clients of the embedded broker, the README says 1,216 MiB", got)
	}
	external := defaults
	external.NATS.URL = "nats://host"
	if got := external.EmbeddedMemory(); got != 0 {
		t.Errorf("%d bytes for clients of an embedded broker that does not run", got)
	}
}

// Manifests and Compose files often pass on variables that are not set.
func TestEmptyIsUnset(t *testing.T) {
	t.Parallel()
	var env []string
	for name := range settings {
		env = append(env, name+"=", name+"_FILE=")
	}
	c, err := config.Load(append(env, "", "=", "=C:=C:\\", "RELAY_STREAM", "RELAY_UNKNOWN="))
	if err != nil || !reflect.DeepEqual(c, defaults) {
		t.Errorf("read %+v, %v\nwant %+v", c, err, defaults)
	}
}

// Spelling the defaults out changes nothing but that they hold for existing streams.
func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	var env []string
	for name, value := range settings {
		env = append(env, name+"="+value)
	}
	want := defaults
	want.Stream.Given = config.GivenStream{Replicas: true, MaxAge: true, MaxBytes: true, Dedupe: true}
	c, err := config.Load(env)
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("read %+v, %v\nwant %+v", c, err, want)
	}
}

func TestSecretsAreMarked(t *testing.T) {
	t.Parallel()
	var got []string
	for _, v := range config.Variables() {
		if v.Secret {
			got = append(got, v.Name)
		}
	}
	slices.Sort(got)
	if want := []string{"APIXO_API_KEY", "NATS_PASSWORD", "NATS_TOKEN", "RELAY_UI_TARGETS", "RELAY_UI_TOKENS", "RELAY_WEBHOOK_TOKENS"}; !slices.Equal(got, want) {
		t.Errorf("the secrets are %q, want %q", got, want)
	}
}

func TestValuesAreRead(t *testing.T) {
	t.Parallel()
	longestName := strings.Repeat("A", 255)
	longestPrefix := strings.Repeat("."+strings.Repeat("b", 64), 8)[1:]
	for _, test := range []struct {
		name string
		env  []string
		want func(*config.Config)
	}{
		{"webhooks", []string{
			"RELAY_LISTEN_ADDR=[::1]:0", "RELAY_WEBHOOK_PATH=/a/b.c_d~e-f/", "RELAY_MAX_BODY_BYTES=1024", "RELAY_MAX_IN_FLIGHT=1",
			"RELAY_PUBLISH_TIMEOUT=29.9s", "RELAY_SHUTDOWN_TIMEOUT=1m30s", "RELAY_ALLOW_UNAUTHENTICATED=true",
			"RELAY_WEBHOOK_TOKENS= tok-9f3c2a7d51e84b06 ,, tok-second-0a1b2c3d4e5f,",
		}, func(c *config.Config) {
			w := &c.Webhooks
			w.ListenAddr, w.Path, w.MaxBodyBytes, w.MaxInFlight = "[::1]:0", "/a/b.c_d~e-f", 1024, 1
			w.PublishTimeout, w.ShutdownTimeout, w.AllowUnauthenticated = 29900*time.Millisecond, 90*time.Second, true
			w.Tokens = config.Tokens{"tok-9f3c2a7d51e84b06", "tok-second-0a1b2c3d4e5f"}
		}},
		{"root path", []string{"RELAY_WEBHOOK_PATH=/"}, func(c *config.Config) { c.Webhooks.Path = "/" }},
		{"shortest token", []string{"RELAY_WEBHOOK_TOKENS=0123456789abcde!"}, func(c *config.Config) { c.Webhooks.Tokens = config.Tokens{"0123456789abcde!"} }},
		{"largest body", []string{"RELAY_MAX_BODY_BYTES=32505856"}, func(c *config.Config) { c.Webhooks.MaxBodyBytes = 31 << 20 }},
		{"admin off", []string{"RELAY_ADMIN_ADDR=off"}, func(c *config.Config) { c.Admin.Addr = "" }},
		{"admin for everybody", []string{"RELAY_ADMIN_ADDR=:9"}, func(c *config.Config) { c.Admin.Addr = ":9" }},
		{"log", []string{"RELAY_LOG_LEVEL=DEBUG", "RELAY_LOG_FORMAT=json"}, func(c *config.Config) { c.Log = config.Log{Level: slog.LevelDebug, Format: config.LogJSON} }},
		{"broker", []string{"NATS_URL=nats://a:4222, tls://b,c:1", "NATS_USER=u", "NATS_PASSWORD=p", "NATS_TOKEN=t"}, func(c *config.Config) {
			c.NATS = config.NATS{URL: "nats://a:4222, tls://b,c:1", User: "u", Password: "p", Token: "t"}
		}},
		{"embedded", []string{"RELAY_DATA_DIR=/d", "RELAY_EMBEDDED_ADDR=127.0.0.1:0", "RELAY_EMBEDDED_SYNC=interval", "RELAY_ALLOW_DOWNGRADE=true"}, func(c *config.Config) {
			c.Embedded = config.Embedded{DataDir: "/d", Addr: "127.0.0.1:0", Sync: config.SyncInterval, AllowDowngrade: true}
		}},
		{"embedded with TLS", []string{"RELAY_EMBEDDED_TLS_CERT_FILE=defaults_test.go", "RELAY_EMBEDDED_TLS_KEY_FILE=defaults_test.go", "NATS_CA=defaults_test.go"}, func(c *config.Config) {
			c.Embedded.TLSCertFile, c.Embedded.TLSKeyFile, c.NATS.CA = "defaults_test.go", "defaults_test.go", "defaults_test.go"
		}},
		{"stream", []string{
			"NATS_URL=nats://a", "RELAY_STREAM=S-1", "RELAY_QUARANTINE_STREAM=Q_1", "RELAY_SUBJECT_PREFIX=a.b-c", "RELAY_STREAM_POLICY=update",
			"RELAY_STREAM_REPLICAS=3", "RELAY_STREAM_MAX_AGE=0s", "RELAY_STREAM_MAX_BYTES=1", "RELAY_DEDUPE_WINDOW=1000h",
		}, func(c *config.Config) {
			c.NATS.URL = "nats://a"
			c.Stream = config.Stream{Name: "S-1", Quarantine: "Q_1", Prefix: "a.b-c", Policy: config.PolicyUpdate, Replicas: 3, MaxBytes: 1, Dedupe: 1000 * time.Hour,
				Given: config.GivenStream{Replicas: true, MaxAge: true, MaxBytes: true, Dedupe: true}}
		}},
		{"size of a stream", []string{"RELAY_STREAM_MAX_BYTES=-1", "RELAY_STREAM_MAX_AGE="}, func(c *config.Config) { c.Stream.Given.MaxBytes = true }},
		{"longest names", []string{"RELAY_STREAM=" + longestName, "RELAY_SUBJECT_PREFIX=" + longestPrefix}, func(c *config.Config) {
			c.Stream.Name, c.Stream.Prefix = longestName, longestPrefix
		}},
		{"event", []string{"RELAY_CE_SOURCE=/apixo", "RELAY_CE_MODE=binary", "RELAY_CALLBACK_ATTRIBUTES=model, tenant2"}, func(c *config.Config) {
			c.Event = config.Event{Source: "/apixo", Mode: config.ModeBinary, Attributes: config.Attributes{"model", "tenant2"}}
		}},
		{"no attributes", []string{"RELAY_CALLBACK_ATTRIBUTES=,"}, func(c *config.Config) { c.Event.Attributes = nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want := defaults
			test.want(&want)
			if got, err := config.Load(test.env); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("read %+v, %v\nwant %+v", got, err, want)
			}
		})
	}
}

func TestUnknownVariablesAreListed(t *testing.T) {
	t.Parallel()
	c, err := config.Load([]string{
		"RELAY_LISTEN_PORT=8720", "RELAY_LISTEN_ADR=:1", "RELAY_STREAM_FILE=/f", "RELAY_WEBHOOK_TOKEN=0123456789abcdef", "RELAY_SERVICE_HOST=relay.example", "RELAY_PORT=8720",
		"RELAY_STREAM=S", "NATS_CONTEXT=c", "OTHER_RELAY_STREAM=x", "relay_stream=y", "RELAYED=z",
	})
	if want := []string{"RELAY_LISTEN_ADR", "RELAY_LISTEN_PORT", "RELAY_PORT", "RELAY_SERVICE_HOST", "RELAY_STREAM_FILE", "RELAY_WEBHOOK_TOKEN"}; err != nil || !slices.Equal(c.Unknown, want) {
		t.Errorf("the unknown variables are %q, %v; want %q", c.Unknown, err, want)
	}
}

// Kubernetes tells each container of the services beside it.
func TestVariablesOfServicesAreNotListed(t *testing.T) {
	t.Parallel()
	var environ []string
	for _, service := range []string{"RELAY", "RELAY_ADMIN", "RELAY_8720"} {
		for _, v := range []string{
			"_SERVICE_HOST=10.96.0.7", "_SERVICE_PORT=8720", "_SERVICE_PORT_HTTP=8720", "_SERVICE_PORT_HTTP_ADMIN=8721", "_PORT=tcp://10.96.0.7:8720",
			"_PORT_8720_TCP=tcp://10.96.0.7:8720", "_PORT_8720_TCP_PROTO=tcp", "_PORT_8720_TCP_PORT=8720", "_PORT_8720_TCP_ADDR=10.96.0.7",
			"_PORT_53_UDP=udp://[fd00::7]:53", "_PORT_53_UDP_PROTO=udp", "_PORT_53_UDP_PORT=53", "_PORT_53_UDP_ADDR=fd00::7",
		} {
			environ = append(environ, service+v)
		}
	}
	if c, err := config.Load(environ); err != nil || len(c.Unknown) != 0 {
		t.Errorf("the unknown variables are %q, %v", c.Unknown, err)
	}
}
