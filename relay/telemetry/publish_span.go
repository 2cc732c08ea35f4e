package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// messagingNATS is the value for a system that the conventions do not list.
var messagingNATS = semconv.MessagingSystemKey.String("nats")

// PublishSpan is the span of a message on its way to a store.
type PublishSpan struct{ span trace.Span }

// StartPublish starts the span of a message that is about to be made, a child of the span in
// ctx. It returns the trace context for the message, in the W3C's form, which is empty if none
// is to be passed on.
func (t *Tracing) StartPublish(ctx context.Context) (_ context.Context, p *PublishSpan, traceParent, traceState string) {
	if t == nil {
		return ctx, nil, "", ""
	}
	ctx, span := t.tracer.Start(ctx, "publish", trace.WithSpanKind(trace.SpanKindProducer))
	if t.propagate {
		c := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(ctx, c)
		traceParent, traceState = c["traceparent"], c["tracestate"]
	}
	return ctx, &PublishSpan{span}, traceParent, traceState
}

// StartForward starts the span of a message of the outbox, with the trace context that the
// message carries.
func (t *Tracing) StartForward(traceParent, traceState string) *PublishSpan {
	if t == nil || traceParent == "" {
		return nil
	}
	_, span := t.tracer.Start(propagation.TraceContext{}.Extract(context.Background(), carrier(traceParent, traceState)), "forward", trace.WithSpanKind(trace.SpanKindProducer))
	return &PublishSpan{span}
}

// PublishResult is the result of publishing a message.
type PublishResult struct {
	// Operation is "publish", or "forward" from the outbox.
	Operation   string
	Subject, ID string
	Size        int // of its data, in bytes
	// Where it is stored.
	Stream    string
	Sequence  uint64
	Duplicate bool
	// Why it is not: Code is a word of few.
	Code string
	Err  error
}

// End ends the span.
func (p *PublishSpan) End(r PublishResult) {
	if p == nil {
		return
	}
	p.span.SetName(r.Operation + " " + r.Subject)
	p.span.SetAttributes(messagingNATS, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName(r.Operation),
		semconv.MessagingDestinationName(r.Subject), semconv.MessagingMessageID(r.ID), semconv.MessagingMessageBodySize(r.Size))
	if r.Err != nil {
		p.span.SetAttributes(semconv.ErrorTypeKey.String(r.Code))
		p.span.SetStatus(codes.Error, r.Err.Error())
	} else {
		p.span.SetAttributes(attribute.String("messaging.nats.stream", r.Stream), attribute.Int64("messaging.nats.sequence", int64(r.Sequence)),
			attribute.Bool("apixo_relay.duplicate", r.Duplicate))
	}
	p.span.End()
}

// AddRetryEvent adds an event to the span in ctx: an attempt to publish failed, and another
// follows.
func AddRetryEvent(ctx context.Context, err error) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.AddEvent("try failed", trace.WithAttributes(attribute.String("error", err.Error())))
	}
}
