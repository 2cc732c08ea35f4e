package telemetry

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // a server takes it only then
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/apixo-relay/apixo-relay/relay/config"
)

var spans = []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: strings.Repeat("span", 100)}}}}}}

// startClient starts a client that is stopped when the test ends.
func startClient(t *testing.T, cfg config.Tracing) *collectorClient {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	c, err := newCollectorClient(cfg)
	if err == nil {
		err = c.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func startHTTP(t *testing.T, handler http.HandlerFunc) (url string) {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// traceService is a collector's service over gRPC.
type traceService struct {
	collectorpb.UnimplementedTraceServiceServer
	export func(context.Context, *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error)
}

func (s traceService) Export(ctx context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	return s.export(ctx, r)
}

func startGRPC(t *testing.T, service traceService, options ...grpc.ServerOption) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	collectorpb.RegisterTraceServiceServer(s, service)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// What the settings say of a request is true of it, over HTTP; the endpoint's query,
// for one, which the exporter would leave out.
func TestHTTPRequest(t *testing.T) {
	t.Parallel()
	for _, zip := range []bool{false, true} {
		url := startHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.String() != "/a%2Fb/?q=1" || r.Header.Get("Key") != "v w" || (r.Header.Get("Content-Encoding") == "gzip") != zip || r.Header.Get("Content-Type") != "application/x-protobuf" {
				t.Errorf("%s %v", r.URL, r.Header)
			}
		})
		c := startClient(t, config.Tracing{Endpoint: url + "/a%2Fb/?q=1", Headers: map[string]string{"key": "v w"}, Gzip: zip})
		if err := c.UploadTraces(t.Context(), spans); err != nil {
			t.Error(err)
		}
	}
}

// expectCompression is a stats.Handler that fails the test unless requests are
// compressed as wanted.
type expectCompression struct {
	t    *testing.T
	gzip bool
}

func (expectCompression) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}
func (expectCompression) HandleConn(context.Context, stats.ConnStats)                     {}
func (expectCompression) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (e expectCompression) HandleRPC(_ context.Context, s stats.RPCStats) {
	if in, ok := s.(*stats.InHeader); ok && (in.Compression == "gzip") != e.gzip {
		e.t.Errorf("the compression is %q", in.Compression)
	}
}

// The same over gRPC.
func TestGRPCRequest(t *testing.T) {
	t.Parallel()
	for _, zip := range []bool{false, true} {
		address := startGRPC(t, traceService{export: func(ctx context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
			header, _ := metadata.FromIncomingContext(ctx)
			if got := strings.Join(header.Get("key"), ","); got != "v w" || !proto.Equal(r.GetResourceSpans()[0], spans[0]) {
				t.Errorf("%v with %v", r, header)
			}
			return &collectorpb.ExportTraceServiceResponse{}, nil
		}}, grpc.StatsHandler(expectCompression{t, zip}))
		c := startClient(t, config.Tracing{Endpoint: "http://" + address, Protocol: config.TracingGRPC, Headers: map[string]string{"Key": "v w"}, Gzip: zip})
		if err := c.UploadTraces(t.Context(), spans); err != nil {
			t.Error(err)
		}
	}
}

// What a collector answers is told in one line, and asked for again where it may be
// another the next time.
func TestHTTPAnswers(t *testing.T) {
	t.Parallel()
	partial, err := proto.Marshal(&collectorpb.ExportTraceServiceResponse{PartialSuccess: &collectorpb.ExportTracePartialSuccess{RejectedSpans: 7, ErrorMessage: "too\nold"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		status   int
		header   map[string]string
		body     string
		want     []string
		requests int32
	}{
		"taken":          {200, nil, "", nil, 1},
		"taken, as JSON": {200, map[string]string{"Content-Type": "application/json"}, `{"partialSuccess":{}}`, nil, 1},
		"a part":         {200, map[string]string{"Content-Type": "application/x-protobuf"}, string(partial), []string{"too old", "7 spans rejected"}, 1},
		"refused":        {400, nil, "no such\nthing", []string{"400 Bad Request", "no such thing"}, 1},
		"a page":         {401, nil, "<html>\x1b[31m" + strings.Repeat("x", 8<<20), []string{"401 Unauthorized", "<html>"}, 1},
		"elsewhere":      {302, map[string]string{"Location": "/"}, "", []string{"302 Found"}, 1},
		"broken":         {500, nil, "", []string{"500 Internal Server Error"}, 1},
		"busy":           {429, nil, "", nil, 2},
		"away":           {503, map[string]string{"Retry-After": "1"}, "", nil, 2},
		"away for long":  {503, map[string]string{"Retry-After": "3600"}, "maintenance", []string{"503 Service Unavailable maintenance"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			url := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if requests.Add(1) > 1 {
					return
				}
				for name, value := range c.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			expectError(t, startClient(t, config.Tracing{Endpoint: url}).UploadTraces(t.Context(), spans), c.want)
			if n := requests.Load(); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
		})
	}
}

// The same over gRPC.
func TestGRPCAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rejected int64
		err      error
		want     []string
		requests int32
	}{
		"taken":   {0, nil, nil, 1},
		"a part":  {7, nil, []string{"7 spans rejected"}, 1},
		"refused": {0, status.Error(codes.Unauthenticated, "no\nkey"+strings.Repeat("x", 8<<10)), []string{"Unauthenticated", "no key"}, 1},
		"away":    {0, status.Error(codes.Unavailable, "later"), nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			address := startGRPC(t, traceService{export: func(context.Context, *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
				if requests.Add(1) > 1 {
					return &collectorpb.ExportTraceServiceResponse{}, nil
				}
				return &collectorpb.ExportTraceServiceResponse{PartialSuccess: &collectorpb.ExportTracePartialSuccess{RejectedSpans: c.rejected}}, c.err
			}})
			cfg := config.Tracing{Endpoint: "http://" + address, Protocol: config.TracingGRPC}
			expectError(t, startClient(t, cfg).UploadTraces(t.Context(), spans), c.want)
			if n := requests.Load(); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
		})
	}
}

// expectError fails the test unless there is an error, of one short line with these
// texts, or none if none are wanted.
func expectError(t *testing.T, err error, want []string) {
	t.Helper()
	if err == nil || want == nil {
		if err != nil || want != nil {
			t.Errorf("%v, want %q", err, want)
		}
		return
	}
	text := err.Error()
	for _, part := range want {
		if !strings.Contains(text, part) {
			t.Errorf("%s, want %q", text, part)
		}
	}
	if len(text) > 2*maxErrorText || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
		t.Errorf("%d bytes: %q", len(text), text)
	}
}

// The timeout ends an upload, whether nobody is there or somebody who says nothing, or
// nothing any more, and the error tells which.
func TestUploadEndsInTime(t *testing.T) {
	t.Parallel()
	silent := make(chan struct{})
	url := startHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-silent
	})
	var refused atomic.Bool
	busy := startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if refused.Swap(true) {
			<-silent
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	t.Cleanup(func() { close(silent) }) // before the servers are closed, which wait
	address := startGRPC(t, traceService{export: func(ctx context.Context, _ *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	for _, c := range []struct {
		endpoint string
		protocol config.TracingProtocol
		want     string
	}{
		{url, config.TracingHTTP, "not taken within 700ms"},
		{busy, config.TracingHTTP, "not taken within 700ms: 503 Service Unavailable"},
		{"http://127.0.0.1:1", config.TracingHTTP, "connection refused"},
		{"http://" + address, config.TracingGRPC, "DeadlineExceeded"},
		{"http://127.0.0.1:1", config.TracingGRPC, "connection refused"},
	} {
		t.Run(c.endpoint+" "+string(c.protocol), func(t *testing.T) {
			t.Parallel()
			client := startClient(t, config.Tracing{Endpoint: c.endpoint, Protocol: c.protocol, Timeout: 700 * time.Millisecond})
			expectError(t, client.UploadTraces(t.Context(), spans), []string{c.want})
		})
	}
}

// A collector that comes back within the timeout gets the spans.
func TestUploadWaitsForCollector(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	taken := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	t.Cleanup(func() { taken.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conn.Close() // as one that is ended
		_ = taken.Serve(l)
	}()
	if err := startClient(t, config.Tracing{Endpoint: "http://" + l.Addr().String()}).UploadTraces(t.Context(), spans); err != nil {
		t.Error(err)
	}
}

// The headers go to the collector and to nobody to whom it points.
func TestRedirectGetsNoHeaders(t *testing.T) {
	t.Parallel()
	other := startHTTP(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked with %v", r.Header) })
	url := startHTTP(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusPermanentRedirect) })
	c := startClient(t, config.Tracing{Endpoint: url, Headers: map[string]string{"key": "a-secret"}})
	expectError(t, c.UploadTraces(t.Context(), spans), []string{"308"})
}

func writeCertificate(t *testing.T, s *httptest.Server) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Certificates are checked, with the authorities that are named, and nobody else's.
func TestCollectorTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	address := startGRPC(t, traceService{export: func(context.Context, *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
		return &collectorpb.ExportTraceServiceResponse{}, nil
	}}, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: s.TLS.Certificates})))
	ca := writeCertificate(t, s)
	for _, cfg := range []config.Tracing{{Endpoint: s.URL}, {Endpoint: "https://" + address, Protocol: config.TracingGRPC}} {
		// At once: trying again within the time, which here is as good as for ever, would
		// not mend it.
		cfg.Timeout = time.Hour
		expectError(t, startClient(t, cfg).UploadTraces(t.Context(), spans), []string{"certificate signed by unknown authority"})
		cfg.CA = ca
		expectError(t, startClient(t, cfg).UploadTraces(t.Context(), spans), nil)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []config.Tracing{{CA: "/nowhere"}, {CA: empty}, {Cert: empty, Key: empty}} {
		if _, err := newCollectorClient(cfg); err == nil || !strings.Contains(err.Error(), cfg.CA+cfg.Cert) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

// The exporters do not hear of the environment: they would make nothing of a certificate
// for a URL without TLS, and log a malformed header, which is a secret.
func TestExportersReadNoEnvironment(t *testing.T) {
	var logged bytes.Buffer
	otel.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(&logged, nil)))
	t.Cleanup(func() { otel.SetLogger(logr.Discard()) })
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", writeCertificate(t, s))
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "a-secret")
	url := startHTTP(t, func(http.ResponseWriter, *http.Request) {})
	if err := startClient(t, config.Tracing{Endpoint: url}).UploadTraces(t.Context(), spans); err != nil || logged.Len() > 0 {
		t.Errorf("%v, and the log has %q", err, logged.String())
	}
}
