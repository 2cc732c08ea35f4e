package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/schema"
)

// Tracing makes the relay's spans, by OpenTelemetry's conventions for HTTP servers and for
// messaging. A nil Tracing means that tracing is off: all its methods do nothing.
type Tracing struct {
	provider  *sdktrace.TracerProvider
	tracer    trace.Tracer
	propagate bool
}

const (
	// instrumentation is the scope of the spans.
	instrumentation = "github.com/apixo-relay/apixo-relay"
	// flushTimeout bounds the sending of the last spans when the relay ends.
	flushTimeout = 3 * time.Second
)

// StartTracing begins to export the spans of a relay of that version. It returns nil if there
// is no endpoint, or if it cannot be used: then it logs a warning, and the relay stores
// webhooks without tracing.
func StartTracing(cfg config.Tracing, version string, log *slog.Logger) *Tracing {
	if cfg.Endpoint == "" {
		return nil
	}
	exporter, err := newExporter(cfg, log)
	if err != nil {
		log.Warn("there is no tracing; webhooks are stored all the same", "error", fmt.Errorf("traces cannot be sent: %w", err))
		return nil
	}
	log.Info("traces are sent", "endpoint", cfg.Endpoint, "protocol", string(cfg.Protocol))
	// What the SDK has to say it says here, and nowhere else.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("tracing", "error", err) }))
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	// What the environment says comes last, and so prevails. Without an error but
	// for attributes that cannot be read, which the log tells.
	described, err := resource.New(context.Background(),
		resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceName("apixo-relay"), semconv.ServiceVersion(version), semconv.ServiceInstanceID(instance())),
		resource.WithFromEnv())
	if err != nil {
		otel.Handle(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(described))
	return &Tracing{
		provider: provider, propagate: cfg.Propagate,
		tracer: provider.Tracer(instrumentation, trace.WithInstrumentationVersion(version), trace.WithSchemaURL(semconv.SchemaURL)),
	}
}

func newExporter(cfg config.Tracing, log *slog.Logger) (*otlptrace.Exporter, error) {
	client, err := newCollectorClient(cfg)
	if err != nil {
		return nil, err
	}
	return otlptrace.New(context.Background(), &loggingClient{collectorClient: client, log: log})
}

// ProbeCollector sends the collector a request without spans, within the timeout of the
// settings. The error says why the collector does not take it.
func ProbeCollector(ctx context.Context, cfg config.Tracing) error {
	client, err := newCollectorClient(cfg)
	if err != nil {
		return fmt.Errorf("traces cannot be sent: %w", err)
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	defer func() { _ = client.Stop(ctx) }() // the process is about to end
	return client.UploadTraces(ctx, nil)
}

// instance tells this process from others of the same service.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
}

// Stop sends the remaining spans, if the collector takes them soon.
func (t *Tracing) Stop(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	// A collector that is away is no failure of the relay, and has been told.
	if err := t.provider.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// loggingClient tells in the log when spans cannot be exported, once, and when they can
// be again.
type loggingClient struct {
	*collectorClient
	log     *slog.Logger
	failing atomic.Bool
}

// UploadTraces implements otlptrace.Client. It has no error: nobody could do more.
func (r *loggingClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	err := r.collectorClient.UploadTraces(ctx, spans)
	switch failed := err != nil; {
	case failed && !r.failing.Swap(true):
		r.log.Warn("traces cannot be sent, and are lost until they can; webhooks are stored all the same", "error", err)
	case !failed && r.failing.Swap(false):
		r.log.Info("traces are sent again")
	}
	return nil
}

// Request holds the attributes of a request for its span. It has no part of the URL, because
// any part may be a token.
type Request struct {
	Start    time.Time
	Route    string // the webhook path, as it is configured
	Scheme   string
	Protocol string // version of HTTP
	Sender   netip.Addr
	Header   http.Header
	// TraceParent and TraceState are the callback URL's. They go before those of the
	// header, which then is linked.
	TraceParent, TraceState string
}

// RequestSpan is the span of a webhook.
type RequestSpan struct{ span trace.Span }

// StartRequest starts the span of a webhook, as a child of the callback URL's or the sender's
// trace context. The returned context ends with ctx.
func (t *Tracing) StartRequest(ctx context.Context, r Request) (context.Context, *RequestSpan) {
	if t == nil {
		return ctx, nil
	}
	options := []trace.SpanStartOption{
		trace.WithTimestamp(r.Start), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(
			semconv.HTTPRequestMethodPost, semconv.HTTPRoute(r.Route), semconv.URLPath(r.Route), semconv.URLScheme(r.Scheme),
			semconv.NetworkProtocolVersion(r.Protocol), semconv.ClientAddress(r.Sender.String()), semconv.UserAgentOriginal(r.Header.Get("User-Agent"))),
	}
	if t.propagate {
		header := propagation.HeaderCarrier(r.Header)
		if r.TraceParent == "" {
			ctx = propagation.TraceContext{}.Extract(ctx, header)
		} else {
			if from := remote(header); from.IsValid() {
				options = append(options, trace.WithLinks(trace.Link{SpanContext: from}))
			}
			ctx = propagation.TraceContext{}.Extract(ctx, carrier(r.TraceParent, r.TraceState))
		}
	}
	ctx, span := t.tracer.Start(ctx, http.MethodPost+" "+r.Route, options...)
	return ctx, &RequestSpan{span}
}

// IDs returns the ids of the trace and the span, for the log, and whether the span is recorded.
func (w *RequestSpan) IDs() (traceID, spanID string, sampled bool) {
	if w == nil {
		return "", "", false
	}
	c := w.span.SpanContext()
	return c.TraceID().String(), c.SpanID().String(), c.IsSampled()
}

// RequestResult is what became of a webhook.
type RequestResult struct {
	Status  int // of the HTTP response
	Outcome Outcome
	Problem string       // slug of its type, or empty
	Task    *schema.Task // nil if it is not known
	Size    int          // of the body, in bytes
}

// End ends the span.
func (w *RequestSpan) End(r RequestResult) {
	if w == nil {
		return
	}
	w.span.SetAttributes(semconv.HTTPResponseStatusCode(r.Status), semconv.HTTPRequestBodySize(r.Size), attribute.String("apixo_relay.outcome", string(r.Outcome)))
	if r.Task != nil {
		w.span.SetAttributes(attribute.String("apixo.task.id", r.Task.ID), attribute.String("apixo.task.state", string(r.Task.State)))
	}
	if r.Problem != "" {
		w.span.SetAttributes(semconv.ErrorTypeKey.String(r.Problem))
	}
	if r.Status >= 500 { // what is the sender's fault is no error of a server's span
		w.span.SetStatus(codes.Error, r.Problem)
	}
	w.span.End()
}

func carrier(traceParent, traceState string) propagation.MapCarrier {
	return propagation.MapCarrier{"traceparent": traceParent, "tracestate": traceState}
}

// remote is the context that a carrier brings.
func remote(c propagation.TextMapCarrier) trace.SpanContext {
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), c))
}
