package config

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/apixo-relay/apixo-relay/relay/timeparse"
)

// Tracing is where spans go. It is read from OpenTelemetry's own variables, whose
// names and meanings are those of its specification ("Environment Variable
// Specification" and "OpenTelemetry Protocol Exporter"); those of the sampler, the
// limits, the batches and the resource are read by OpenTelemetry's SDK itself.
//
// None of their values is an error: platforms set them for every program, and tracing must not
// keep webhooks out. Warnings has the values that cannot be used, and the consequences.
type Tracing struct {
	// Endpoint is where spans are sent: the whole URL with http/protobuf, and a URL
	// without a path with grpc. It has no user and no password; these are in Headers.
	// Empty means that there is no tracing.
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
	// Unset are variables of which the SDK is not to hear: Warnings tell of them.
	Unset []string
	// Warnings are about what could not be used as it is.
	Warnings []Warning
}

// TracingProtocol is a transport of OTLP.
type TracingProtocol string

// The transports. In place of the third one, http/json, TracingHTTP is used.
const (
	TracingHTTP TracingProtocol = "http/protobuf"
	TracingGRPC TracingProtocol = "grpc"
)

// defaultTracingTimeout is the specification's.
const defaultTracingTimeout = 10 * time.Second

const noTracing = "there is no tracing"

// tracingReader reads the variables of tracing.
type tracingReader struct {
	vars map[string]string
	t    *Tracing
	off  bool // something without which there is no tracing cannot be used
}

// readTracing reads where spans go. Without an endpoint nothing else is looked at.
func readTracing(vars map[string]string) Tracing {
	r := &tracingReader{vars: vars, t: &Tracing{}}
	endpointIn, endpoint := r.variableOf("ENDPOINT")
	if endpoint == "" || r.isTrue("OTEL_SDK_DISABLED") || !r.exports() {
		return Tracing{Warnings: r.t.Warnings}
	}
	r.readProtocol()
	r.t.Headers = r.headers()
	r.readEndpoint(endpointIn, endpoint)
	r.readTransport()
	r.readFiles()
	r.t.Propagate = r.propagates()
	r.checkSampler()
	r.checkResource()
	r.checkNumbers()
	if r.off {
		return Tracing{Warnings: r.t.Warnings}
	}
	return *r.t
}

// value is what a variable is set to.
func (r *tracingReader) value(variable string) string { return strings.TrimSpace(r.vars[variable]) }

// variableOf is the variable for traces, or else the one for all signals.
func (r *tracingReader) variableOf(name string) (variable, value string) {
	if variable = "OTEL_EXPORTER_OTLP_TRACES_" + name; r.value(variable) == "" {
		variable = "OTEL_EXPORTER_OTLP_" + name
	}
	return variable, r.value(variable)
}

func (r *tracingReader) warn(variable, problem, instead string) {
	w := Warning{Variable: variable, Value: r.value(variable), Problem: problem, Instead: instead}
	switch {
	case strings.HasSuffix(variable, "_HEADERS"):
		w.Value, w.Secret = "", true
	case strings.HasSuffix(variable, "_ENDPOINT"):
		w.Value = RedactURLs(w.Value)
	}
	r.t.Warnings = append(r.t.Warnings, w)
}

// fail warns of what leaves no tracing.
func (r *tracingReader) fail(variable, problem string) {
	r.warn(variable, problem, noTracing)
	r.off = true
}

// isTrue reads a truth value as the specification has it: what is neither is false.
func (r *tracingReader) isTrue(variable string) bool {
	value := strings.ToLower(r.value(variable))
	if value != "" && value != "true" && value != "false" {
		r.warn(variable, "is neither true nor false", "false is used")
	}
	return value == "true"
}

// exports reports whether OTLP is among the exporters, or nothing is said of them.
func (r *tracingReader) exports() bool {
	const variable = "OTEL_TRACES_EXPORTER"
	exporters := list(strings.ToLower(r.value(variable)))
	switch {
	case len(exporters) == 0 || len(exporters) == 1 && exporters[0] == "none":
		return len(exporters) == 0
	case !slices.Contains(exporters, "otlp"):
		r.warn(variable, "names no exporter that the relay has", noTracing)
		return false
	case len(exporters) > 1:
		r.warn(variable, "names exporters that the relay does not have", "otlp alone is used")
	}
	return true
}

func (r *tracingReader) readProtocol() {
	variable, protocol := r.variableOf("PROTOCOL")
	r.t.Protocol = TracingProtocol(strings.ToLower(protocol))
	if protocol != "" && r.t.Protocol != TracingHTTP && r.t.Protocol != TracingGRPC {
		r.warn(variable, "is no protocol that the relay speaks", string(TracingHTTP)+" is used")
		protocol = ""
	}
	if protocol == "" {
		r.t.Protocol = TracingHTTP
	}
}

// readEndpoint makes a URL of what is said of the collector's place.
func (r *tracingReader) readEndpoint(variable, endpoint string) {
	insecureIn, _ := r.variableOf("INSECURE")
	plain := r.isTrue(insecureIn)
	if r.t.Protocol == TracingGRPC && !strings.Contains(endpoint, "://") {
		scheme := "https://"
		if plain {
			scheme = "http://"
		}
		endpoint = scheme + endpoint
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		r.fail(variable, "is no address of a collector such as http://collector:4318, or http://collector:4317 with OTEL_EXPORTER_OTLP_PROTOCOL=grpc")
		return
	case r.t.Protocol == TracingGRPC:
		u.Path = ""
	case variable == "OTEL_EXPORTER_OTLP_ENDPOINT":
		u = u.JoinPath("v1/traces")
	case u.Path == "":
		u.Path = "/"
	}
	r.addCredentials(u.User)
	u.User = nil
	r.t.Endpoint = u.String()
}

// addCredentials makes the header of a URL's user and password, unless there is one.
func (r *tracingReader) addCredentials(user *url.Userinfo) {
	const header = "authorization"
	for name := range r.t.Headers {
		if strings.EqualFold(name, header) {
			return
		}
	}
	if user != nil {
		password, _ := user.Password()
		r.t.Headers[header] = "Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))
	}
}

// readTransport reads what else there is to say of a request.
func (r *tracingReader) readTransport() {
	variable, compression := r.variableOf("COMPRESSION")
	compression = strings.ToLower(compression)
	r.t.Gzip = compression == "gzip"
	if !slices.Contains([]string{"", "none", "gzip"}, compression) {
		r.warn(variable, "is no compression that the relay has", "nothing is compressed")
	}
	variable, timeout := r.variableOf("TIMEOUT")
	r.t.Timeout = defaultTracingTimeout
	if timeout == "" {
		return
	}
	ms, err := strconv.ParseUint(timeout, 10, 31)
	if err == nil && ms > 0 {
		r.t.Timeout = time.Duration(ms) * time.Millisecond
		return
	}
	// The specification has milliseconds, without a unit; one that is there leaves no doubt.
	if d, err := timeparse.Duration(timeout); err == nil && d >= time.Millisecond && d <= 24*time.Hour {
		r.t.Timeout = d
		r.warn(variable, "is no number of milliseconds", d.String()+" is used")
		return
	}
	r.warn(variable, "is no number of milliseconds", defaultTracingTimeout.String()+" is used")
}

// readFiles reads which certificates are used. Spans are sent to nobody whom the right
// ones would not have trusted.
func (r *tracingReader) readFiles() {
	for _, file := range []struct {
		name string
		into *string
	}{{"CERTIFICATE", &r.t.CA}, {"CLIENT_CERTIFICATE", &r.t.Cert}, {"CLIENT_KEY", &r.t.Key}} {
		variable, name := r.variableOf(file.name)
		if *file.into = name; name == "" {
			continue
		}
		if _, err := startOf(name); err != nil {
			r.fail(variable, fmt.Sprintf("cannot be opened: %v", err))
		}
	}
	if (r.t.Cert == "") != (r.t.Key == "") {
		variable, _ := r.variableOf("CLIENT_KEY")
		r.fail(variable, "a client certificate needs its key, and a key its certificate")
	}
}

// headers reads name=value pairs with commas between them, the values
// percent-encoded. As with every secret they can come from a file.
func (r *tracingReader) headers() map[string]string {
	headers := map[string]string{}
	variable, text := r.variableOf("HEADERS")
	if fileIn, file := r.variableOf("HEADERS_FILE"); text == "" && file != "" {
		var err error
		if text, err = ReadSecretFile(file); err != nil {
			r.fail(fileIn, "cannot be read: "+err.Error())
			return headers
		}
		variable = fileIn
	}
	for i, pair := range list(text) {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			r.fail(variable, fmt.Sprintf("header %d is none: they are written like name=value,other=value, the values percent-encoded", i+1))
			break
		}
		headers[name] = value
	}
	return headers
}

// propagates reads which formats of a trace context are continued and passed on.
// Baggage is known, and not passed on.
func (r *tracingReader) propagates() bool {
	const variable = "OTEL_PROPAGATORS"
	formats := list(strings.ToLower(r.value(variable)))
	isUnknown := func(format string) bool {
		return !slices.Contains([]string{"tracecontext", "baggage", "none"}, format)
	}
	propagate := len(formats) == 0 || slices.Contains(formats, "tracecontext")
	if i := slices.IndexFunc(formats, isUnknown); i >= 0 {
		instead := "no trace context is passed on"
		if propagate {
			instead = "tracecontext alone is used"
		}
		r.warn(variable, fmt.Sprintf("%q is no format that the relay has", formats[i]), instead)
	}
	return propagate
}
