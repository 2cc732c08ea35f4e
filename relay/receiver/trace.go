package receiver

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
)

// startSpan starts the span of a request from somebody who may send: others have no say
// in the trace, and could fill it. The context that it returns ends when the receiver
// does. Without tracing the log still tells the trace that the callback URL names.
func (rc *Receiver) startSpan(r *http.Request, attributes map[string]string, res *result) context.Context {
	parent := attributes["traceparent"]
	if rc.tracing == nil {
		if parent != "" {
			res.traceID = strings.Split(parent, "-")[1]
		}
		return rc.closing
	}
	request := telemetry.Request{
		Start: res.start, Route: rc.cfg.Path, Scheme: "http", Protocol: strconv.Itoa(r.ProtoMajor), Sender: res.sender,
		Header: r.Header, TraceParent: parent, TraceState: attributes["tracestate"],
	}
	if r.TLS != nil {
		request.Scheme = "https"
	}
	if r.ProtoMajor == 1 {
		request.Protocol += "." + strconv.Itoa(r.ProtoMinor)
	}
	var ctx context.Context
	ctx, res.span = rc.tracing.StartRequest(rc.closing, request)
	res.traceID, res.spanID, res.sampled = res.span.IDs()
	return ctx
}

// codeOf returns the code of an error while storing; empty if there is none.
func codeOf(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*store.Error](err); ok {
		return string(e.Code)
	}
	return internalError.slug
}
