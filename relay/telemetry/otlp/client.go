// Package otlp sends spans to a collector by the OpenTelemetry protocol, over HTTP or
// gRPC (https://opentelemetry.io/docs/specs/otlp).
//
// It is the last step of OpenTelemetry's own exporter, which encodes them. The clients
// that come with that bring gRPC's library along: four fifths of what tracing would
// weigh in the program, for one kind of request. It must not know what the spans tell.
package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Settings say where spans go, and how.
type Settings struct {
	// Endpoint is the URL to which spans are posted; with gRPC it has no path, and the
	// scheme http means that there is no TLS.
	Endpoint string
	GRPC     bool
	// Headers go with every request.
	Headers map[string]string
	Gzip    bool
	// Timeout bounds an upload, retries included.
	Timeout time.Duration
	// CA, Cert and Key are PEM files: the authorities instead of the system's, and a
	// client certificate. They are read once.
	CA, Cert, Key string
	// UserAgent is that of the requests.
	UserAgent string
}

// Client sends spans. It is an otlptrace.Client.
type Client struct {
	settings Settings
	url      string
	http     *http.Client
}

const (
	// grpcMethod is the one method of the service, as gRPC spells it over HTTP/2.
	grpcMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	// firstPause is that before the first retry; each one after it is twice as long.
	firstPause = 500 * time.Millisecond
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 64 << 10
)

// New makes a client. It connects to nobody yet.
func New(s Settings) (*Client, error) {
	c := &Client{settings: s, url: s.Endpoint}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
	}
	if s.GRPC {
		c.url += grpcMethod
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP2(true)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	if s.CA != "" {
		pem, err := os.ReadFile(s.CA)
		if err != nil {
			return nil, fmt.Errorf("the collector's authorities cannot be read: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("there is no certificate of an authority in %s, which is to be one in PEM", s.CA)
		}
	}
	if s.Cert != "" {
		pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
		if err != nil {
			return nil, fmt.Errorf("the certificate for the collector, %s with the key %s, cannot be used: %w", s.Cert, s.Key, err)
		}
		transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Start implements otlptrace.Client.
func (c *Client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client: it closes the connections.
func (c *Client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// PartialError is that of an upload of which the collector took a part.
type PartialError struct {
	Rejected int64  // spans
	Message  string // the collector's
}

// Error says how many were not taken.
func (e *PartialError) Error() string {
	return fmt.Sprintf("the collector rejected %d spans: %q", e.Rejected, e.Message)
}

// UploadTraces sends spans, again and again within the timeout where the collector
// may take them later.
func (c *Client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// The same on the wire as an ExportTraceServiceRequest, whose package needs gRPC's.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("spans cannot be encoded: %w", err)
	}
	if body, err = c.pack(body); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.settings.Timeout)
	defer cancel()
	var before error
	for pause := firstPause; ; pause *= 2 {
		err := c.upload(ctx, body)
		if before != nil && errors.Is(err, context.DeadlineExceeded) {
			return before // which says more than that the time was over
		}
		later, ok := errors.AsType[*laterError](err)
		if !ok || !sleep(ctx, max(pause, later.after)) {
			return err
		}
		before = err
	}
}

// laterError is that of an upload which may work later.
type laterError struct {
	err   error
	after time.Duration // as the collector asks
}

func (e *laterError) Error() string { return e.err.Error() }
func (e *laterError) Unwrap() error { return e.err }

// pack compresses a message if that is wanted, and frames it as gRPC wants it.
func (c *Client) pack(message []byte) ([]byte, error) {
	if c.settings.Gzip {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write(message)
		if err = errors.Join(err, w.Close()); err != nil {
			return nil, fmt.Errorf("spans cannot be compressed: %w", err)
		}
		message = b.Bytes()
	}
	if !c.settings.GRPC {
		return message, nil
	}
	frame := make([]byte, 5, 5+len(message))
	if c.settings.Gzip {
		frame[0] = 1
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(len(message)))
	return append(frame, message...), nil
}

// upload sends a request.
func (c *Client) upload(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	h, encoding := req.Header, "Content-Encoding"
	h.Set("User-Agent", c.settings.UserAgent)
	h.Set("Content-Type", "application/x-protobuf")
	if c.settings.GRPC {
		h.Set("Content-Type", "application/grpc")
		h.Set("Te", "trailers")
		encoding = "Grpc-Encoding"
	}
	if c.settings.Gzip {
		h.Set(encoding, "gzip")
	}
	for name, value := range c.settings.Headers {
		h.Set(name, value)
	}
	resp, err := c.http.Do(req)
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return err
	}
	if err != nil {
		return &laterError{err: err} // which names the URL without a password
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return &laterError{err: fmt.Errorf("the collector's answer did not come whole: %w", err)}
	}
	if c.settings.GRPC {
		return grpcResult(resp, answer)
	}
	return httpResult(resp, answer)
}

// httpResult is what an answer says (OTLP/HTTP Response).
func httpResult(resp *http.Response, body []byte) error {
	if resp.StatusCode/100 == 2 {
		return partial(body)
	}
	err := fmt.Errorf("the collector answered %s", resp.Status)
	if text := strings.TrimSpace(string(body)); text != "" && isText(resp.Header.Get("Content-Type")) {
		err = fmt.Errorf("%w: %.200q", err, text)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // or a date, which no collector sends
		return &laterError{err, time.Duration(seconds) * time.Second}
	}
	return err
}

func isText(contentType string) bool {
	return strings.HasPrefix(contentType, "text/plain") || strings.HasPrefix(contentType, "application/json")
}

// grpcResult is what an answer says whose status is in the trailer, or in the header
// if there is nothing else.
func grpcResult(resp *http.Response, body []byte) error {
	field := func(name string) string {
		if v := resp.Trailer.Get(name); v != "" {
			return v
		}
		return resp.Header.Get(name)
	}
	status := field("Grpc-Status")
	switch {
	case status == "0" && len(body) >= 5 && body[0] == 0:
		return partial(body[5:])
	case status == "0":
		return nil
	case status == "":
		err := fmt.Errorf("the collector answered %s and no gRPC status: is this its port for gRPC?", resp.Status)
		if resp.StatusCode/100 == 5 {
			return &laterError{err: err}
		}
		return err
	}
	message, err := url.PathUnescape(field("Grpc-Message"))
	if err != nil {
		message = field("Grpc-Message")
	}
	err = fmt.Errorf("the collector answered with the gRPC status %s: %q", status, message)
	switch status {
	case "1", "4", "8", "10", "11", "14", "15": // as the protocol lists them (OTLP/gRPC, Failures)
		return &laterError{err: err}
	}
	return err
}

// sleep waits, and reports whether the time was there.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
