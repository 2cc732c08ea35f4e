package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Tracing is where spans go. It is read from OpenTelemetry's own variables, whose
// names and meanings are those of its specification ("Environment Variable
// Specification" and "OpenTelemetry Protocol Exporter"); those of the sampler, the
// limits, the batches and the resource are read by OpenTelemetry's SDK itself.
type Tracing struct {
	// Endpoint is where spans are sent: the whole URL with http/protobuf, and a URL
	// without a path with grpc. Empty means that there is no tracing.
	Endpoint string
	// Protocol is how.
	Protocol TracingProtocol
	// Headers go with every request. They are secrets.
	Headers map[string]string
	// Gzip compresses what is sent.
	Gzip bool
	// Timeout bounds one export, retries included.
	Timeout time.Duration
	// CA, Cert and Key are PEM files.
	CA, Cert, Key string
	// Propagate reports whether the trace context (W3C) of requests is continued, and
	// that of the relay passed on.
	Propagate bool
}

// TracingProtocol is a transport of OTLP.
type TracingProtocol string

// The transports. There is a third one, http/json, which no collector asks for.
const (
	TracingHTTP TracingProtocol = "http/protobuf"
	TracingGRPC TracingProtocol = "grpc"
)

// defaultTracingTimeout is the specification's.
const defaultTracingTimeout = 10 * time.Second

var (
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	// tracingSamplers are those of the specification but for jaeger's and X-Ray's.
	tracingSamplers = []string{"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}
)

// checkTracing reads where spans go. Without an endpoint nothing else is looked at:
// platforms set some of these variables for everybody.
func (c *Config) checkTracing(k *checker) {
	t := &c.Tracing
	// of is the variable for traces, or else the one for all signals.
	of := func(name string) (variable, value string) {
		if variable = "OTEL_EXPORTER_OTLP_TRACES_" + name; k.vars[variable] == "" {
			variable = "OTEL_EXPORTER_OTLP_" + name
		}
		return variable, strings.TrimSpace(k.vars[variable])
	}
	endpointIn, endpoint := of("ENDPOINT")
	if endpoint == "" || strings.EqualFold(strings.TrimSpace(k.vars["OTEL_SDK_DISABLED"]), "true") {
		return
	}
	exporter := strings.TrimSpace(k.vars["OTEL_TRACES_EXPORTER"])
	k.expect(slices.Contains([]string{"", "otlp", "none"}, exporter), "OTEL_TRACES_EXPORTER", "is no exporter that the relay has", "write otlp or none")
	if exporter == "none" {
		return
	}

	protocolIn, protocol := of("PROTOCOL")
	t.Protocol = TracingProtocol(protocol)
	if protocol == "" {
		t.Protocol = TracingHTTP
	}
	k.expect(t.Protocol == TracingHTTP || t.Protocol == TracingGRPC, protocolIn, "is no protocol that the relay speaks", "write http/protobuf or grpc")
	insecureIn, insecure := of("INSECURE")
	plain, err := strconv.ParseBool(insecure)
	k.expect(insecure == "" || err == nil, insecureIn, "is not a truth value", "write true or false")
	if t.Protocol == TracingGRPC && !strings.Contains(endpoint, "://") {
		scheme := "https://"
		if plain {
			scheme = "http://"
		}
		endpoint = scheme + endpoint
	}
	u, err := url.Parse(endpoint)
	good := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
	if !good {
		k.errs = append(k.errs, Error{Variable: endpointIn, Value: RedactURLs(k.vars[endpointIn]), Problem: "is no address of a collector", Hint: "write it like http://collector:4318, or http://collector:4317 with OTEL_EXPORTER_OTLP_PROTOCOL=grpc"})
		return
	}
	switch {
	case t.Protocol == TracingGRPC:
		u.Path = ""
	case endpointIn == "OTEL_EXPORTER_OTLP_ENDPOINT":
		u = u.JoinPath("v1/traces")
	case u.Path == "":
		u.Path = "/"
	}
	t.Endpoint = u.String()

	t.Headers = k.tracingHeaders(of)
	compressionIn, compression := of("COMPRESSION")
	k.expect(slices.Contains([]string{"", "none", "gzip"}, compression), compressionIn, "is no compression that the relay has", "write gzip or none")
	t.Gzip = compression == "gzip"
	timeoutIn, timeout := of("TIMEOUT")
	t.Timeout = defaultTracingTimeout
	if timeout != "" {
		ms, err := strconv.ParseUint(timeout, 10, 31)
		k.expect(err == nil && ms > 0, timeoutIn, "is no number of milliseconds", "write it like 10000")
		t.Timeout = time.Duration(ms) * time.Millisecond
	}
	for name, field := range map[string]*string{"CERTIFICATE": &t.CA, "CLIENT_CERTIFICATE": &t.Cert, "CLIENT_KEY": &t.Key} {
		variable, file := of(name)
		k.file(variable, file)
		*field = file
	}
	keyIn, _ := of("CLIENT_KEY")
	k.expect((t.Cert == "") == (t.Key == ""), keyIn, "a client certificate needs its key, and a key its certificate", "set both or neither")

	t.Propagate = k.propagates()
	sampler := strings.ToLower(strings.TrimSpace(k.vars["OTEL_TRACES_SAMPLER"]))
	k.expect(sampler == "" || slices.Contains(tracingSamplers, sampler), "OTEL_TRACES_SAMPLER", "is no sampler that the relay has", "write one of "+strings.Join(tracingSamplers, ", "))
	if arg := strings.TrimSpace(k.vars["OTEL_TRACES_SAMPLER_ARG"]); arg != "" && strings.HasSuffix(sampler, "traceidratio") {
		ratio, err := strconv.ParseFloat(arg, 64)
		k.expect(err == nil && ratio >= 0 && ratio <= 1, "OTEL_TRACES_SAMPLER_ARG", "is no share of all traces", "write a number from 0 to 1")
	}
}

// tracingHeaders reads name=value pairs with commas between them, the values
// percent-encoded. As with every secret they can come from a file.
func (k *checker) tracingHeaders(of func(string) (variable, value string)) map[string]string {
	variable, text := of("HEADERS")
	wrong := func(variable, problem, hint string) {
		k.errs = append(k.errs, Error{Variable: variable, Secret: true, Problem: problem, Hint: hint})
	}
	if fileIn, file := of("HEADERS_FILE"); text == "" && file != "" {
		var err error
		if text, err = ReadSecretFile(file); err != nil {
			wrong(fileIn, "cannot be read: "+err.Error(), "name a file that holds the headers and that this user may read")
			return nil
		}
		variable = fileIn
	}
	headers := map[string]string{}
	for i, pair := range list(text) {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || !headerName.MatchString(name) || strings.ContainsAny(value, "\r\n\x00") {
			wrong(variable, fmt.Sprintf("header %d is none", i+1), "write them like name=value,other=value, the values percent-encoded")
			return nil
		}
		headers[name] = value
	}
	return headers
}

// propagates reads which formats of a trace context are continued and passed on.
func (k *checker) propagates() bool {
	formats := list(k.vars["OTEL_PROPAGATORS"])
	for _, format := range formats {
		k.expect(slices.Contains([]string{"tracecontext", "baggage", "none"}, format), "OTEL_PROPAGATORS", fmt.Sprintf("%q is no format that the relay has", format),
			"write tracecontext or none; baggage is accepted, and not passed on")
	}
	return len(formats) == 0 || slices.Contains(formats, "tracecontext")
}
