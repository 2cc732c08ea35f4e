package interop

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/apixo-relay/apixo-relay/relay/test/relaytest"
)

// collect runs the OTLP receiver of OpenTelemetry's collector, and delivers the spans
// that it takes.
func collect(t *testing.T) (overHTTP, overGRPC string, spans <-chan ptrace.Span) {
	t.Helper()
	out := make(chan ptrace.Span, 1000)
	sink, err := consumer.NewTraces(func(_ context.Context, traces ptrace.Traces) error {
		for _, resource := range traces.ResourceSpans().All() {
			for _, scope := range resource.ScopeSpans().All() {
				for _, span := range scope.Spans().All() {
					out <- span
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 { // it does not tell which port it takes, so one that is free a moment before is named
		overHTTP, overGRPC = freeAddress(t), freeAddress(t)
		factory := otlpreceiver.NewFactory()
		cfg := factory.CreateDefaultConfig().(*otlpreceiver.Config)
		cfg.Protocols.HTTP.GetOrInsertDefault().ServerConfig.NetAddr.Endpoint = overHTTP
		cfg.Protocols.GRPC.GetOrInsertDefault().NetAddr.Endpoint = overGRPC
		r, err := factory.CreateTraces(t.Context(), receivertest.NewNopSettings(factory.Type()), cfg, sink)
		if err != nil {
			t.Fatal(err)
		}
		if err = r.Start(t.Context(), componenttest.NewNopHost()); err != nil {
			continue
		}
		t.Cleanup(func() {
			if err := r.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return overHTTP, overGRPC, out
	}
	t.Fatal("no port is free")
	return "", "", nil
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// OpenTelemetry's own collector takes the relay's spans, over each transport, and its
// own propagator finds in the message what a consumer continues.
func TestCollectorTakesTraces(t *testing.T) {
	t.Parallel()
	program := relaytest.Build(t, "./cmd/apixo-relay")
	overHTTP, overGRPC, spans := collect(t)
	for name, settings := range map[string][]string{
		"http/protobuf": {"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + overHTTP},
		"gRPC":          {"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + overGRPC, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
		"http/protobuf, compressed": {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://" + overHTTP + "/v1/traces", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip",
			"OTEL_EXPORTER_OTLP_HEADERS=x-key=some%20value", "OTEL_SERVICE_NAME=other"},
		"gRPC, compressed": {"OTEL_EXPORTER_OTLP_ENDPOINT=" + overGRPC, "OTEL_EXPORTER_OTLP_INSECURE=true", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip"},
	} {
		// One after the other: what comes then is of this one.
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		r := startRelay(t, program, "structured", append(settings, "OTEL_BSP_SCHEDULE_DELAY=50")...)
		nc := connect(t, r.Broker)
		events, err := nc.SubscribeSync("apixo.task.>")
		if err == nil {
			err = nc.FlushWithContext(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		res, err := http.Post(r.Webhooks+"?traceparent="+url.QueryEscape(parent), "application/json",
			strings.NewReader(`{"data":{"taskId":"task_1","state":"failed"}}`))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		byName := map[string]ptrace.Span{}
		for len(byName) < 2 {
			select {
			case s := <-spans:
				byName[s.Name()] = s
			case <-ctx.Done():
				t.Fatalf("%s: the collector got %v in time", name, byName)
			}
		}
		w, p := byName["POST /webhook/apixo"], byName["publish apixo.task.failed"]
		if w.Kind() != ptrace.SpanKindServer || w.ParentSpanID().String() != "b7ad6b7169203331" || p.ParentSpanID() != w.SpanID() || p.TraceID() != w.TraceID() {
			t.Errorf("%s: %v in %v", name, p, w)
		}
		msg, err := events.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := continued(ctx, msg); got.TraceID() != trace.TraceID(p.TraceID()) || got.SpanID() != trace.SpanID(p.SpanID()) || !got.IsSampled() {
			t.Errorf("%s: a consumer finds the context %+v, want that of %v", name, got, p)
		}
		nc.Close()
		cancel()
	}
}

// continued is the context with which a consumer goes on: as schema/DELIVERY.md says.
func continued(ctx context.Context, msg *nats.Msg) trace.SpanContext {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{
		"traceparent": msg.Header.Get("traceparent"), "tracestate": msg.Header.Get("tracestate"),
	})
	return trace.SpanContextFromContext(ctx)
}
