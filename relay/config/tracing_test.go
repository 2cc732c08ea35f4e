package config_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
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
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://u:p%25@c:4318":                                         with(func(c *config.Tracing) { c.Headers = map[string]string{"authorization": "Basic dTpwJQ=="} }),
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://u:p@c:4318 OTEL_EXPORTER_OTLP_HEADERS=Authorization=x": with(func(c *config.Tracing) { c.Headers = map[string]string{"Authorization": "x"} }),
		at + " OTEL_EXPORTER_OTLP_HEADERS_FILE=" + file:                                            with(func(c *config.Tracing) { c.Headers = map[string]string{"authorization": "Bearer x"} }),
		at + " OTEL_EXPORTER_OTLP_CERTIFICATE=" + file:                                             with(func(c *config.Tracing) { c.CA = file }),
		at + " OTEL_PROPAGATORS=none":                                                              with(func(c *config.Tracing) { c.Propagate = false }),
		at + " OTEL_PROPAGATORS=baggage,tracecontext":                                              usual,
		at + " OTEL_TRACES_SAMPLER=Parentbased_TraceIDRatio":                                       usual,
		at + " OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=0.1":                       usual,
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

// Nothing that an operator injects keeps webhooks out: it is told of, and what the
// specification has for that case is used.
func TestTracingWarnings(t *testing.T) {
	t.Parallel()
	const at = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"
	usual := config.Tracing{Endpoint: "http://c:4318/v1/traces", Protocol: config.TracingHTTP, Timeout: 10 * time.Second, Propagate: true}
	for _, test := range []struct {
		variable, value, problem, instead string
		want                              func(*config.Tracing) // nil: there is no tracing
	}{
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318", "is no address of a collector", "no tracing", nil},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://c", "is no address of a collector", "no tracing", nil},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://", "is no address of a collector", "no tracing", nil},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "is no protocol", "http/protobuf is used", func(*config.Tracing) {}},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "kafka", "is no protocol", "http/protobuf is used", func(*config.Tracing) {}},
		{"OTEL_EXPORTER_OTLP_INSECURE", "perhaps", "is neither true nor false", "false is used", func(*config.Tracing) {}},
		{"OTEL_SDK_DISABLED", "1", "is neither true nor false", "false is used", func(*config.Tracing) {}},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "is no compression", "nothing is compressed", func(*config.Tracing) {}},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "5s", "is no number of milliseconds", "5s is used", func(c *config.Tracing) { c.Timeout = 5 * time.Second }},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "0", "is no number of milliseconds", "10s is used", func(*config.Tracing) {}},
		{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon", "is no number of milliseconds", "10s is used", func(*config.Tracing) {}},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca", "cannot be opened", "no tracing", nil},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/", "cannot be opened", "no tracing", nil},
		{"OTEL_EXPORTER_OTLP_HEADERS_FILE", "/nowhere/headers", "cannot be read", "no tracing", nil},
		{"OTEL_TRACES_EXPORTER", "console", "names no exporter", "no tracing", nil},
		{"OTEL_TRACES_EXPORTER", "otlp,console", "names exporters that the relay does not have", "otlp alone", func(*config.Tracing) {}},
		{"OTEL_PROPAGATORS", "tracecontext,baggage,b3", `"b3" is no format`, "tracecontext alone", func(*config.Tracing) {}},
		{"OTEL_PROPAGATORS", "b3", `"b3" is no format`, "no trace context", func(c *config.Tracing) { c.Propagate = false }},
		{"OTEL_TRACES_SAMPLER", "xray", "is no sampler", "parentbased_always_on is used", func(c *config.Tracing) { c.Unset = []string{"OTEL_TRACES_SAMPLER"} }},
		{"OTEL_TRACES_SAMPLER", "parentbased_jaeger_remote", "is no sampler", "parentbased_always_on is used", func(c *config.Tracing) { c.Unset = []string{"OTEL_TRACES_SAMPLER"} }},
		{"OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "in place 2", "left out", func(c *config.Tracing) { c.Unset = []string{"OTEL_RESOURCE_ATTRIBUTES"} }},
		{"OTEL_RESOURCE_ATTRIBUTES", "a=%zz", "in place 1", "left out", func(c *config.Tracing) { c.Unset = []string{"OTEL_RESOURCE_ATTRIBUTES"} }},
		{"OTEL_SPAN_LINK_COUNT_LIMIT", "many", "is no whole number", "the default", func(c *config.Tracing) { c.Unset = []string{"OTEL_SPAN_LINK_COUNT_LIMIT"} }},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "-1", "is not from 1 to", "the default", func(c *config.Tracing) { c.Unset = []string{"OTEL_BSP_MAX_QUEUE_SIZE"} }},
		{"OTEL_BSP_SCHEDULE_DELAY", "5s", "is no whole number", "the default", func(c *config.Tracing) { c.Unset = []string{"OTEL_BSP_SCHEDULE_DELAY"} }},
	} {
		c, err := config.Load([]string{at, test.variable + "=" + test.value})
		if err != nil {
			t.Errorf("%s=%s: %v", test.variable, test.value, err)
			continue
		}
		var want config.Tracing
		if test.want != nil {
			want = usual
			test.want(&want)
		}
		got := c.Tracing
		if len(got.Warnings) != 1 {
			t.Errorf("%s=%s: warned of %v", test.variable, test.value, got.Warnings)
			continue
		}
		text := got.Warnings[0].String()
		if !strings.HasPrefix(text, fmt.Sprintf("%s=%q: ", test.variable, test.value)) || !strings.Contains(text, test.problem) || !strings.Contains(text, test.instead) {
			t.Errorf("said %s\nwant %s=%q: %s … %s", text, test.variable, test.value, test.problem, test.instead)
		}
		got.Warnings, got.Headers = nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s=%s:\n%+v, want\n%+v", test.variable, test.value, got, want)
		}
	}
	for _, quiet := range []string{"OTEL_PROPAGATORS=baggage,tracecontext", "OTEL_METRICS_EXPORTER=prometheus", "OTEL_BSP_MAX_QUEUE_SIZE=4096", "OTEL_SPAN_EVENT_COUNT_LIMIT=-1", "OTEL_EXPORTER_OTLP_PROTOCOL=HTTP/Protobuf", "DD_TRACE_AGENT_URL=x", "OTEL_RESOURCE_ATTRIBUTES=k=v"} {
		if c, err := config.Load([]string{at, quiet}); err != nil || len(c.Tracing.Warnings) != 0 || c.Tracing.Endpoint == "" {
			t.Errorf("%s: %v, %v", quiet, c.Tracing.Warnings, err)
		}
	}
}

func TestTracingWarningsTellNoSecrets(t *testing.T) {
	t.Parallel()
	const at, secret = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", "sesame-open"
	for _, headers := range []string{secret, "a b=" + secret, "a=%zz" + secret, "a=1," + secret, "a=x%0d%0a" + secret, "=" + secret, "ä=" + secret} {
		c, err := config.Load([]string{at, "OTEL_EXPORTER_OTLP_HEADERS=" + headers})
		if err != nil || c.Tracing.Endpoint != "" || len(c.Tracing.Warnings) != 1 {
			t.Errorf("%s: %+v, %v", headers, c.Tracing, err)
			continue
		}
		if got := fmt.Sprintf("%v %+v", c.Tracing.Warnings[0], c.Tracing.Warnings[0]); strings.Contains(got, secret) || !strings.Contains(got, "like name=value") {
			t.Errorf("%s: %s", headers, got)
		}
	}
	c, err := config.Load([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=ftp://user:" + secret + "@c"})
	if err != nil || len(c.Tracing.Warnings) != 1 || strings.Contains(c.Tracing.Warnings[0].String(), secret) {
		t.Errorf("%v, %v", c.Tracing.Warnings, err)
	}
	c, err = config.Load([]string{at, "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=10%", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/dev/null"})
	if err != nil || len(c.Tracing.Warnings) != 2 || c.Tracing.Endpoint != "" {
		t.Errorf("%v, %v", c.Tracing.Warnings, err)
	}
}
