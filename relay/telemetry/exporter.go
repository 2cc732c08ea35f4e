package telemetry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

const (
	// firstRetryPause precedes the first retry of an upload. Later ones are longer, up to
	// maxRetryPause.
	firstRetryPause = 500 * time.Millisecond
	maxRetryPause   = 5 * time.Second
	// maxAnswer bounds in bytes what is read of a collector's error, maxErrorText in
	// characters what is told of it.
	maxAnswer    = 4 << 10
	maxErrorText = 400
)

// collectorClient is OpenTelemetry's client of a collector. It bounds an upload with
// its retries in time, which the one for HTTP does not do, and an error's text.
type collectorClient struct {
	otlptrace.Client
	timeout time.Duration
	http    *http.Client // nil with gRPC
}

// newCollectorClient returns a client that has to be started. The error is about a
// certificate file.
func newCollectorClient(cfg config.Tracing) (*collectorClient, error) {
	hideVariables(cfg)
	tlsConfig, err := collectorTLS(cfg)
	if err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	retry := otlptracehttp.RetryConfig{Enabled: true, InitialInterval: firstRetryPause, MaxInterval: maxRetryPause, MaxElapsedTime: cfg.Timeout}
	if cfg.Protocol == config.TracingGRPC {
		creds := insecure.NewCredentials()
		if endpoint.Scheme == "https" {
			creds = credentials.NewTLS(tlsConfig)
		}
		options := []otlptracegrpc.Option{
			otlptracegrpc.WithEndpointURL(cfg.Endpoint), otlptracegrpc.WithTLSCredentials(creds), otlptracegrpc.WithHeaders(cfg.Headers),
			otlptracegrpc.WithTimeout(cfg.Timeout), otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig(retry)),
			otlptracegrpc.WithDialOption(grpc.WithUnaryInterceptor(interceptUpload)),
		}
		if cfg.Gzip {
			options = append(options, otlptracegrpc.WithCompressor("gzip"))
		}
		return &collectorClient{Client: otlptracegrpc.NewClient(options...), timeout: cfg.Timeout}, nil
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = tlsConfig
	client := &http.Client{
		Transport: &collectorTransport{transport, endpoint},
		// The headers, which are secrets, are for nobody to whom the collector points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	compression := otlptracehttp.NoCompression
	if cfg.Gzip {
		compression = otlptracehttp.GzipCompression
	}
	return &collectorClient{
		Client: otlptracehttp.NewClient(
			otlptracehttp.WithEndpointURL(cfg.Endpoint), otlptracehttp.WithHTTPClient(client), otlptracehttp.WithHeaders(cfg.Headers),
			otlptracehttp.WithCompression(compression), otlptracehttp.WithRetry(retry)),
		timeout: cfg.Timeout, http: client,
	}, nil
}

// hideVariables removes from the process's environment what config has read for the
// exporters, and what it has told that the SDK cannot use. Both would read it again,
// and the exporters log a malformed header as it is.
func hideVariables(cfg config.Tracing) {
	for _, variable := range cfg.Unset {
		_ = os.Unsetenv(variable) // whose error is about names that are none
	}
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OTEL_EXPORTER_OTLP_") {
			_ = os.Unsetenv(name)
		}
	}
}

// collectorTLS reads the certificate files, once.
func collectorTLS(cfg config.Tracing) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CA != "" {
		pem, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("the collector's authorities cannot be read: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("there is no certificate of an authority in %s, which is to be one in PEM", cfg.CA)
		}
	}
	if cfg.Cert != "" {
		pair, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("the certificate for the collector, %s with the key %s, cannot be used: %w", cfg.Cert, cfg.Key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// UploadTraces implements otlptrace.Client.
func (c *collectorClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("not taken within %v", c.timeout))
	defer cancel()
	var last error
	err := c.Client.UploadTraces(context.WithValue(ctx, lastFailure{}, &last), spans)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && last != nil: // says more than how the try ended during which the time was over
		err = fmt.Errorf("%w: %w", context.Cause(ctx), last)
	}
	return errors.New(oneLine(err.Error()))
}

// lastFailure is the key of an upload's *error, of its last try that came to an end.
type lastFailure struct{}

func setLastFailure(ctx context.Context, err error) {
	if last, ok := ctx.Value(lastFailure{}).(*error); ok && ctx.Err() == nil {
		*last = err
	}
}

// Stop implements otlptrace.Client.
func (c *collectorClient) Stop(ctx context.Context) error {
	if c.http != nil {
		defer c.http.CloseIdleConnections()
	}
	return c.Client.Stop(ctx)
}

// oneLine shortens a text of which a part comes from a collector, or from whoever
// answers in its place: that may be a page, or no text at all.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) }), " ")
	if runes := []rune(text); len(runes) > maxErrorText {
		return string(runes[:maxErrorText]) + "…"
	}
	return text
}

// collectorTransport sends the exporter's requests over HTTP.
type collectorTransport struct {
	*http.Transport
	url *url.URL
}

// RoundTrip implements http.RoundTripper. It sends to the URL as it is configured, of
// which the exporter leaves out the query; has a collector that is away asked again; and
// begins the body of an error with its status, which the exporter does not tell of one
// that it retries.
func (t *collectorTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.WithContext(r.Context())
	r.URL = t.url
	resp, err := t.Transport.RoundTrip(r)
	if err != nil {
		setLastFailure(r.Context(), err)
		if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted || r.Context().Err() != nil {
			return nil, err
		}
		return nil, temporaryError{err}
	}
	if resp.StatusCode >= 300 {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // whose end is of no use
		resp.Body.Close()
		text := resp.Status + " " + string(body)
		setLastFailure(r.Context(), errors.New(text))
		resp.Body = io.NopCloser(strings.NewReader(text))
	}
	return resp, nil
}

// temporaryError has the exporter try again.
type temporaryError struct{ error }

func (temporaryError) Temporary() bool { return true }

// interceptUpload notes a failure, and keeps the exporter from retrying where the collector's certificate is
// not trusted. gRPC calls every failure to connect Unavailable, and has the reason as
// text alone.
func interceptUpload(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	err := invoke(ctx, method, request, reply, conn, options...)
	if err == nil {
		return nil
	}
	setLastFailure(ctx, err)
	if strings.Contains(err.Error(), "tls: failed to verify certificate") {
		return errors.New(err.Error())
	}
	return err
}
