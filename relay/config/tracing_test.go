package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

func TestTracing(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(file, []byte("authorization=Bearer%20x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const at = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"
	usual := config.Tracing{Endpoint: "http://c:4318/v1/traces", Protocol: config.TracingHTTP, Timeout: 10 * time.Second, Propagate: true}
	with := func(change func(*config.Tracing)) config.Tracing {
		c := usual
		change(&c)
		return c
	}
	for settings, want := range map[string]config.Tracing{
		"":                                 {},
		"OTEL_EXPORTER_OTLP_PROTOCOL=nope": {}, // means nothing without an endpoint
		at:                                 usual,
		at + "/":                           usual,
		at + "/base/":                      with(func(c *config.Tracing) { c.Endpoint = "http://c:4318/base/v1/traces" }),
		at + " OTEL_SDK_DISABLED=TRUE":     {},
		at + " OTEL_SDK_DISABLED=false":    usual,
		at + " OTEL_TRACES_EXPORTER=none":  {},
		at + " OTEL_TRACES_EXPORTER=otlp":  usual,
		at + " OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://d/x":                         with(func(c *config.Tracing) { c.Endpoint = "https://d/x" }),
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://d":                                 with(func(c *config.Tracing) { c.Endpoint = "https://d/" }),
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317/x OTEL_EXPORTER_OTLP_PROTOCOL=grpc": with(func(c *config.Tracing) { c.Endpoint, c.Protocol = "http://c:4317", config.TracingGRPC }),
		"OTEL_EXPORTER_OTLP_ENDPOINT=c:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc":          with(func(c *config.Tracing) { c.Endpoint, c.Protocol = "https://c:4317", config.TracingGRPC }),
		"OTEL_EXPORTER_OTLP_ENDPOINT=c:4317 OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc OTEL_EXPORTER_OTLP_INSECURE=true": with(func(c *config.Tracing) {
			c.Endpoint, c.Protocol = "http://c:4317", config.TracingGRPC
		}),
		at + " OTEL_EXPORTER_OTLP_HEADERS=a=1,b=x%2Cy%3D OTEL_EXPORTER_OTLP_TIMEOUT=500 OTEL_EXPORTER_OTLP_COMPRESSION=gzip": with(func(c *config.Tracing) {
			c.Headers, c.Timeout, c.Gzip = map[string]string{"a": "1", "b": "x,y="}, 500*time.Millisecond, true
		}),
		at + " OTEL_EXPORTER_OTLP_HEADERS_FILE=" + file:                      with(func(c *config.Tracing) { c.Headers = map[string]string{"authorization": "Bearer x"} }),
		at + " OTEL_EXPORTER_OTLP_CERTIFICATE=" + file:                       with(func(c *config.Tracing) { c.CA = file }),
		at + " OTEL_PROPAGATORS=none":                                        with(func(c *config.Tracing) { c.Propagate = false }),
		at + " OTEL_PROPAGATORS=baggage,tracecontext":                        usual,
		at + " OTEL_TRACES_SAMPLER=Parentbased_TraceIDRatio":                 usual,
		at + " OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=0.1": usual,
	} {
		c, err := config.Load(strings.Fields(settings))
		if err != nil {
			t.Errorf("%s: %v", settings, err)
			continue
		}
		got := c.Tracing
		if !maps.Equal(got.Headers, want.Headers) {
			t.Errorf("%s: the headers are %v", settings, got.Headers)
		}
		got.Headers, want.Headers = nil, nil
		if got.Endpoint != want.Endpoint || got.Protocol != want.Protocol || got.Gzip != want.Gzip || got.Timeout != want.Timeout || got.CA != want.CA || got.Propagate != want.Propagate {
			t.Errorf("%s:\n%+v, want\n%+v", settings, got, want)
		}
	}
}

func TestTracingMistakes(t *testing.T) {
	t.Parallel()
	const at, secret = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "sesame-open"
	for _, m := range []mistake{
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318", "is no address of a collector", "http://collector:4318"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://c", "is no address of a collector", "http://collector:4318"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://", "is no address of a collector", "http://collector:4318"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "is no protocol that the relay speaks", "http/protobuf or grpc"},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "GRPC", "is no protocol that the relay speaks", "http/protobuf or grpc"},
		{"OTEL_EXPORTER_OTLP_INSECURE", "perhaps", "is not a truth value", "true or false"},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "is no compression that the relay has", "gzip or none"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "is no number of milliseconds", "10000"},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "0", "is no number of milliseconds", "10000"},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca", "cannot be opened", "that this user may read"},
		{"OTEL_TRACES_EXPORTER", "console", "is no exporter that the relay has", "otlp or none"},
		{"OTEL_PROPAGATORS", "b3", `"b3" is no format that the relay has`, "tracecontext or none"},
		{"OTEL_TRACES_SAMPLER", "jaeger_remote", "is no sampler that the relay has", "parentbased_always_on"},
	} {
		m.check(t, load(t, at, m.variable+"="+m.value))
	}
	for _, headers := range []string{secret, "a b=" + secret, "a=%zz" + secret, "a=1," + secret, "a=x%0d%0a" + secret} {
		errs := load(t, at, "OTEL_EXPORTER_OTLP_HEADERS="+headers)
		if got := reported(t, errs, "OTEL_EXPORTER_OTLP_HEADERS"); strings.Contains(got, secret) || !strings.Contains(got, "is none; write them like name=value") {
			t.Errorf("%s: %s", headers, got)
		}
	}
	reported(t, load(t, at, "OTEL_EXPORTER_OTLP_HEADERS_FILE=/nowhere/headers"), "OTEL_EXPORTER_OTLP_HEADERS_FILE")
	reported(t, load(t, at, "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=10%"), "OTEL_TRACES_SAMPLER_ARG")
	reported(t, load(t, at, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/dev/null"), "OTEL_EXPORTER_OTLP_CLIENT_KEY")
}
