package relay_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/apixo-relay/apixo-relay/relay"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

const (
	traceOne   = "0af7651916cd43dd8448eb211c80319c"
	traceTwo   = "4bf92f3577b34da6a3ce929d0e0e4736"
	parentSpan = "b7ad6b7169203331"
	secret     = "a-token-that-is-secret"
)

// collector takes spans by OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	raw   bytes.Buffer
	spans []*tracepb.Span
	about map[string]string // the resource
}

func newCollector(t *testing.T) *collector {
	c := &collector{about: map[string]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unpacked
		}
		raw, err := io.ReadAll(body)
		var data tracepb.TracesData
		if err = errors.Join(err, proto.Unmarshal(raw, &data)); err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s with %v: %v", r.URL, r.Header, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(raw)
		for _, resource := range data.GetResourceSpans() {
			for _, a := range resource.GetResource().GetAttributes() {
				c.about[a.GetKey()] = text(a.GetValue())
			}
			for _, scope := range resource.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func text(v *commonpb.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *commonpb.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	}
	return v.String()
}

func attributesOf(s *tracepb.Span) map[string]string {
	all := map[string]string{}
	for _, a := range s.GetAttributes() {
		all[a.GetKey()] = text(a.GetValue())
	}
	return all
}

// of are the spans whose name begins so, in the order of their ends.
func (c *collector) of(prefix string) (spans []*tracepb.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if strings.HasPrefix(s.GetName(), prefix) {
			spans = append(spans, s)
		}
	}
	return spans
}

func hexOf(id []byte) string { return fmt.Sprintf("%x", id) }

// traced is a relay whose spans go to a collector.
type traced struct {
	*relay.Relay
	*collector
	log    *natstest.Log
	client *http.Client
}

func startTraced(t *testing.T, settings ...string) *traced {
	t.Helper()
	tr := &traced{collector: newCollector(t), log: new(natstest.Log), client: client(t)}
	environ := environ(t, append([]string{"RELAY_WEBHOOK_TOKENS=" + secret}, settings...)...)
	if !slices.ContainsFunc(settings, func(s string) bool { return strings.HasPrefix(s, "OTEL_EXPORTER_OTLP_ENDPOINT=") }) {
		environ = append(environ, "OTEL_EXPORTER_OTLP_ENDPOINT="+tr.URL)
	}
	r, err := relay.Start(t.Context(), load(t, environ), "v1.2.3", slog.New(slog.NewJSONHandler(tr.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	tr.Relay = r
	t.Cleanup(func() { stop(t, r) })
	return tr
}

func (tr *traced) post(t *testing.T, query, body string, header ...string) (status int) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+tr.Addr()+"/webhook/apixo/"+secret+query, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := tr.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// lines are those about webhooks, decoded.
func (tr *traced) lines(t *testing.T) (lines []map[string]any) {
	for line := range strings.Lines(tr.log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		if fields["msg"] == "webhook" {
			lines = append(lines, fields)
		}
	}
	return lines
}

// stored are the messages of a stream.
func stored(t *testing.T, url, stream string) (msgs []*jetstream.RawStreamMsg) {
	t.Helper()
	s, err := natstest.JetStream(t, url).Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
		msg, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		msgs = append(msgs, msg)
	}
	return msgs
}

// The webhook's span continues the trace that the callback URL names, or else the
// request; the publish is its child; the event and its message carry the child's
// context; and the log tells the trace.
func TestTraceFromCallbackToEvent(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"structured", "binary"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			tr := startTraced(t, "RELAY_CE_MODE="+mode, "OTEL_EXPORTER_OTLP_COMPRESSION=gzip")
			callback := "00-" + traceOne + "-" + parentSpan + "-01"
			fromProxy := "00-" + traceTwo + "-" + parentSpan + "-01"
			tr.post(t, "?model=m&traceparent="+callback+"&tracestate=a%3Db", webhook("task_1"), "Traceparent", fromProxy)
			tr.post(t, "", webhook("task_2"), "Traceparent", fromProxy)
			tr.post(t, "", webhook("task_3"))
			tr.post(t, "", webhook("task_3"))
			tr.post(t, "", "no JSON")
			msgs := stored(t, tr.BrokerURL(), "APIXO")
			kept := stored(t, tr.BrokerURL(), "APIXO_QUARANTINE")
			stop(t, tr.Relay)

			webhooks, publishes := tr.of("POST "), tr.of("publish ")
			if len(webhooks) != 5 || len(publishes) != 5 || len(msgs) != 3 || len(kept) != 1 {
				t.Fatalf("%d and %d spans, %d events, %d kept", len(webhooks), len(publishes), len(msgs), len(kept))
			}
			for i, w := range webhooks {
				p := publishes[i]
				if w.GetName() != "POST /webhook/apixo" || w.GetKind() != tracepb.Span_SPAN_KIND_SERVER || p.GetKind() != tracepb.Span_SPAN_KIND_PRODUCER {
					t.Errorf("%v\n%v", w, p)
				}
				if !bytes.Equal(p.GetTraceId(), w.GetTraceId()) || !bytes.Equal(p.GetParentSpanId(), w.GetSpanId()) ||
					p.GetStartTimeUnixNano() < w.GetStartTimeUnixNano() || p.GetEndTimeUnixNano() > w.GetEndTimeUnixNano() {
					t.Errorf("%v is no child of %v", p, w)
				}
				if line := tr.lines(t)[i]; line["traceId"] != hexOf(w.GetTraceId()) || line["spanId"] != hexOf(w.GetSpanId()) {
					t.Errorf("the log line of %v is %v", w, line)
				}
			}
			if w := webhooks[0]; hexOf(w.GetTraceId()) != traceOne || hexOf(w.GetParentSpanId()) != parentSpan || w.GetTraceState() != "a=b" ||
				len(w.GetLinks()) != 1 || hexOf(w.GetLinks()[0].GetTraceId()) != traceTwo {
				t.Errorf("the callback URL's context is not continued: %v", w)
			}
			if w := webhooks[1]; hexOf(w.GetTraceId()) != traceTwo || len(w.GetLinks()) != 0 {
				t.Errorf("the request's context is not continued: %v", w)
			}
			if w := webhooks[2]; len(w.GetParentSpanId()) != 0 || hexOf(w.GetTraceId()) == traceOne {
				t.Errorf("there is a parent: %v", w)
			}
			for i, p := range []*tracepb.Span{publishes[0], publishes[1], publishes[2], publishes[4]} {
				msg := append(slices.Clone(msgs), kept...)[i]
				want := "00-" + hexOf(p.GetTraceId()) + "-" + hexOf(p.GetSpanId()) + "-01"
				e, err := schema.DecodeMessage(msg.Header, msg.Data)
				if err != nil {
					t.Fatal(err)
				}
				if got := msg.Header["traceparent"]; !slices.Equal(got, []string{want}) || e.Extensions["traceparent"] != want || msg.Header["Traceparent"] != nil {
					t.Errorf("the context of %v is %q in the header and %q in the event, want %s", p, got, e.Extensions["traceparent"], want)
				}
				if state := e.Extensions["tracestate"]; i == 0 && (state != "a=b" || msg.Header.Get("tracestate") != "a=b") || i > 0 && state != "" {
					t.Errorf("the tracestate is %q", state)
				}
			}
			want(t, webhooks[0], map[string]string{
				"http.request.method": "POST", "http.route": "/webhook/apixo", "url.path": "/webhook/apixo", "url.scheme": "http", "network.protocol.version": "1.1",
				"client.address": "127.0.0.1", "http.response.status_code": "200", "http.request.body.size": fmt.Sprint(len(webhook("task_1"))),
				"apixo_relay.outcome": "published", "apixo.task.id": "task_1", "apixo.task.state": "success",
			})
			want(t, publishes[0], map[string]string{
				"messaging.system": "nats", "messaging.operation.type": "send", "messaging.operation.name": "publish", "messaging.destination.name": "apixo.task.success",
				"messaging.message.id": "task_1", "messaging.message.body.size": fmt.Sprint(len(msgs[0].Data)), "messaging.nats.stream": "APIXO", "messaging.nats.sequence": "1",
				"apixo_relay.duplicate": "false",
			})
			want(t, publishes[3], map[string]string{"messaging.nats.sequence": "3", "apixo_relay.duplicate": "true"})
			want(t, webhooks[4], map[string]string{"http.response.status_code": "400", "error.type": "not-json", "apixo_relay.outcome": "quarantined"})
			want(t, publishes[4], map[string]string{"messaging.destination.name": "apixo.quarantine.rejected", "messaging.nats.stream": "APIXO_QUARANTINE"})
			if webhooks[4].GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
				t.Error("what the sender did wrong is called an error of the relay")
			}
			if about := tr.about; about["service.name"] != "apixo-relay" || about["service.version"] != "v1.2.3" || about["telemetry.sdk.language"] != "go" {
				t.Errorf("the service is described by %v", about)
			}
		})
	}
}

// want fails the test unless the span has these attributes.
func want(t *testing.T, s *tracepb.Span, attributes map[string]string) {
	t.Helper()
	got := attributesOf(s)
	for key, value := range attributes {
		if got[key] != value {
			t.Errorf("%s of %s is %q, want %q", key, s.GetName(), got[key], value)
		}
	}
}

// No token is in what a collector gets, wherever the sender puts it, and nobody who
// may not send has a span.
func TestTraceHoldsNoToken(t *testing.T) {
	t.Parallel()
	tr := startTraced(t)
	const wrong = "a-wrong-token-is-a-secret-too"
	for _, header := range [][]string{nil, {"Authorization", "Bearer " + secret}, {"Authorization", "Basic cmVsYXk6YS10b2tlbi10aGF0LWlzLXNlY3JldA=="}} {
		tr.post(t, "?x="+secret, webhook("task_1"), header...)
		tr.post(t, "?x="+secret, "no JSON", header...)
		tr.post(t, "?x="+secret, webhook("task_1"), append(header, "Content-Type", "text/plain")...)
	}
	resp, err := tr.client.Post("http://"+tr.Addr()+"/webhook/apixo/"+wrong+"?traceparent=00-"+traceOne+"-"+parentSpan+"-01", "application/json", strings.NewReader(webhook("task_2")))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	stop(t, tr.Relay)
	if n := len(tr.of("POST ")); resp.StatusCode != 401 || n != 9 {
		t.Errorf("%d, %d spans, want 401 and those of the 9 who may send", resp.StatusCode, n)
	}
	for _, s := range []string{secret, wrong, "cmVsYXk6"} {
		if bytes.Contains(tr.raw.Bytes(), []byte(s)) {
			t.Errorf("the collector gets %q", s)
		}
	}
}

// A refusal is an error of the publish and of the webhook's span.
func TestTraceOfRefusal(t *testing.T) {
	t.Parallel()
	tr := startTraced(t, "NATS_URL=nats://127.0.0.1:1", "RELAY_PUBLISH_TIMEOUT=500ms")
	if status := tr.post(t, "", webhook("task_1")); status != 503 {
		t.Fatal(status)
	}
	stop(t, tr.Relay)
	w, p := tr.of("POST ")[0], tr.of("publish ")[0]
	want(t, w, map[string]string{"http.response.status_code": "503", "error.type": "broker-unavailable", "apixo_relay.outcome": "unavailable"})
	want(t, p, map[string]string{"error.type": "broker-unavailable", "messaging.destination.name": "apixo.task.success"})
	if code := tracepb.Status_STATUS_CODE_ERROR; w.GetStatus().GetCode() != code || p.GetStatus().GetCode() != code || p.GetStatus().GetMessage() == "" {
		t.Errorf("%v\n%v", w, p)
	}
}

// Tries that failed are told in the span.
func TestTraceOfTries(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	options.JetStream = false
	tr := startTraced(t, "NATS_URL="+natstest.Start(t, options).ClientURL(), "RELAY_PUBLISH_TIMEOUT=1s")
	if status := tr.post(t, "", webhook("task_1")); status != 503 {
		t.Fatal(status)
	}
	stop(t, tr.Relay)
	if p := tr.of("publish ")[0]; len(p.GetEvents()) == 0 || p.GetEvents()[0].GetName() != "try failed" || text(p.GetEvents()[0].GetAttributes()[0].GetValue()) == "" {
		t.Errorf("%v", p)
	}
}

// What waits in the outbox is forwarded in the trace in which it came.
func TestTraceThroughOutbox(t *testing.T) {
	t.Parallel()
	server := natstest.Options(t)
	s := natstest.Start(t, server)
	url := s.ClientURL()
	server.Port = s.Addr().(*net.TCPAddr).Port
	natstest.Stop(s)
	tr := startTraced(t, "NATS_URL="+url, "RELAY_OUTBOX=true")
	if status := tr.post(t, "?traceparent=00-"+traceOne+"-"+parentSpan+"-01", webhook("task_1")); status != 200 {
		t.Fatal(status)
	}
	natstest.Start(t, server)
	tr.log.Await(t, "the outbox is empty")
	msgs := stored(t, url, "APIXO")
	stop(t, tr.Relay)
	published, forwarded := tr.of("publish "), tr.of("forward ")
	if len(published) != 1 || len(forwarded) != 1 {
		t.Fatalf("%v\n%v", published, forwarded)
	}
	p, f := published[0], forwarded[0]
	want(t, p, map[string]string{"messaging.nats.stream": "APIXO_OUTBOX"})
	want(t, f, map[string]string{"messaging.nats.stream": "APIXO", "messaging.operation.name": "forward", "messaging.message.id": "task_1"})
	if hexOf(f.GetTraceId()) != traceOne || !bytes.Equal(f.GetParentSpanId(), p.GetSpanId()) {
		t.Errorf("%v does not follow %v", f, p)
	}
	if got, want := msgs[0].Header.Get("traceparent"), "00-"+traceOne+"-"+hexOf(p.GetSpanId())+"-01"; got != want {
		t.Errorf("the event carries %s, want %s", got, want)
	}
}

// A trace that is not to be recorded is continued, and no span of it is sent.
func TestUnsampledTrace(t *testing.T) {
	t.Parallel()
	tr := startTraced(t)
	tr.post(t, "?traceparent=00-"+traceOne+"-"+parentSpan+"-00", webhook("task_1"))
	msgs := stored(t, tr.BrokerURL(), "APIXO")
	stop(t, tr.Relay)
	got := msgs[0].Header.Get("traceparent")
	if !strings.HasPrefix(got, "00-"+traceOne+"-") || strings.Contains(got, parentSpan) || !strings.HasSuffix(got, "-00") || len(tr.spans) != 0 {
		t.Errorf("the event carries %s, and there are %d spans", got, len(tr.spans))
	}
}

// Without an endpoint, or with tracing off, nothing of it is there, and the callback
// URL's context goes through as it is, and into the log.
func TestNoTracing(t *testing.T) {
	t.Parallel()
	for _, settings := range [][]string{
		{"OTEL_EXPORTER_OTLP_ENDPOINT="}, {"OTEL_SDK_DISABLED=true"}, {"OTEL_TRACES_EXPORTER=none"},
	} {
		tr := startTraced(t, settings...)
		callback := "00-" + traceOne + "-" + parentSpan + "-01"
		tr.post(t, "?traceparent="+callback, webhook("task_1"))
		tr.post(t, "", webhook("task_2"), "Traceparent", callback)
		msgs := stored(t, tr.BrokerURL(), "APIXO")
		stop(t, tr.Relay)
		if got := msgs[0].Header.Get("traceparent"); got != callback || msgs[1].Header.Get("traceparent") != "" {
			t.Errorf("%v: the header is %q, and %v", settings, got, msgs[1].Header)
		}
		if line := tr.lines(t)[0]; line["traceId"] != traceOne || line["spanId"] != nil || len(tr.spans) != 0 {
			t.Errorf("%v: %v, %d spans", settings, line, len(tr.spans))
		}
	}
}

// A collector that never answers holds up the end for a moment only.
func TestSilentCollector(t *testing.T) {
	t.Parallel()
	silent := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-silent
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(silent) })
	tr := startTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+server.URL, "OTEL_EXPORTER_OTLP_TIMEOUT=3600000", "RELAY_SHUTDOWN_TIMEOUT=1h")
	if status := tr.post(t, "", webhook("task_1")); status != 200 {
		t.Error(status)
	}
	ended := make(chan error, 1)
	go func() { ended <- tr.Stop(t.Context()) }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("it does not end")
	}
}

// A collector that is away costs no webhook, is told once, and does not hold up the end.
func TestCollectorAway(t *testing.T) {
	t.Parallel()
	tr := startTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT=1000")
	for i := range 3 {
		if status := tr.post(t, "", webhook(fmt.Sprint("task_", i))); status != 200 {
			t.Error(status)
		}
	}
	stop(t, tr.Relay)
	if n := strings.Count(tr.log.String(), "traces cannot be sent"); n != 1 {
		t.Errorf("the log tells it %d times:\n%s", n, tr.log)
	}
}
