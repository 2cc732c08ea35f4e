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

// StartPublish starts the span of a message that is about to be made, a child of the one in
// ctx. Its context is what the message has to carry, in the W3C's form; empty if none
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

// StartForward starts the span of a message that was made earlier, with the context that it
// carries.
func (t *Tracing) StartForward(traceParent, traceState string) *PublishSpan {
	if t == nil || traceParent == "" {
		return nil
	}
	_, span := t.tracer.Start(propagation.TraceContext{}.Extract(context.Background(), carrier(traceParent, traceState)), "forward", trace.WithSpanKind(trace.SpanKindProducer))
	return &PublishSpan{span}
}

// PublishResult is where a message is.
type PublishResult struct {
	Stream    string
	Sequence  uint64
	Duplicate bool
}

// End ends the span of a message to a subject, with its id and its size in bytes: where
// it is stored, or why it is not, in a word of few and at length.
func (p *PublishSpan) End(operation, subject, id string, size int, s PublishResult, reason string, err error) {
	if p == nil {
		return
	}
	p.span.SetName(operation + " " + subject)
	p.span.SetAttributes(messagingNATS, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName(operation),
		semconv.MessagingDestinationName(subject), semconv.MessagingMessageID(id), semconv.MessagingMessageBodySize(size))
	if err != nil {
		p.span.SetAttributes(semconv.ErrorTypeKey.String(reason))
		p.span.SetStatus(codes.Error, err.Error())
	} else {
		p.span.SetAttributes(attribute.String("messaging.nats.stream", s.Stream), attribute.Int64("messaging.nats.sequence", int64(s.Sequence)),
			attribute.Bool("apixo_relay.duplicate", s.Duplicate))
	}
	p.span.End()
}

// AddRetryEvent notes on the span in ctx that a try to publish failed, and another follows.
func AddRetryEvent(ctx context.Context, err error) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.AddEvent("try failed", trace.WithAttributes(attribute.String("error", err.Error())))
	}
}
