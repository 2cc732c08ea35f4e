package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/receiver"
	"github.com/apixo-relay/apixo-relay/relay/store"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/tokens"
	"github.com/apixo-relay/apixo-relay/schema"
)

// patience bounds every wait for what has to come: it is far longer than any of
// it takes, and only a test that fails sees its end.
const patience = 2 * time.Minute

// webhookPath is the default of RELAY_WEBHOOK_PATH.
const webhookPath = "/webhook/apixo"

// relay is a receiver behind a real HTTP server.
type relay struct {
	*httptest.Server
	cfg      config.Config
	receiver *receiver.Receiver
	tokens   *tokens.Set // nil if the settings name none
	metrics  *telemetry.Metrics
	log      *logBuffer

	js jetstream.JetStream // a plain client of its broker, over TCP, if it has one
}

// settings reads the environment of a test.
func settings(t *testing.T, env ...string) config.Config {
	t.Helper()
	cfg, err := config.Load(append([]string{
		"RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_EMBEDDED_ADDR=127.0.0.1:0", "RELAY_DATA_DIR=" + t.TempDir(),
	}, env...))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start runs a receiver over an embedded broker of its own.
func start(t *testing.T, env ...string) *relay {
	t.Helper()
	cfg := settings(t, env...)
	log := newLogBuffer(cfg)
	b, err := broker.Open(t.Context(), cfg, "test", log.logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	conn, err := nats.Connect(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	metrics := telemetry.NewMetrics("test")
	p := publisher.New(publisher.Options{
		Config: cfg.Stream, Encoder: event.Encoder{Source: cfg.Event.Source, Prefix: cfg.Stream.Prefix}, MaxMessage: broker.MaxMessageBytes(cfg.Webhooks.MaxBodyBytes),
		Metrics: metrics, Log: log.logger(),
	})
	b.Observe(p)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(context.Background()) })
	r := serve(t, cfg, p, metrics, log)
	r.js = js
	return r
}

// startWith runs a receiver over a store of the test's own, for what a real
// broker does not do when it is told to.
func startWith(t *testing.T, store store.Store, env ...string) *relay {
	t.Helper()
	cfg := settings(t, env...)
	return serve(t, cfg, store, telemetry.NewMetrics("test"), newLogBuffer(cfg))
}

func serve(t *testing.T, cfg config.Config, store store.Store, metrics *telemetry.Metrics, log *logBuffer) *relay {
	t.Helper()
	r := &relay{cfg: cfg, metrics: metrics, log: log}
	if len(cfg.Webhooks.Tokens) > 0 {
		r.tokens = tokens.New(cfg.Webhooks.Tokens)
	}
	encoder := event.Encoder{Source: cfg.Event.Source, Prefix: cfg.Stream.Prefix}
	if cfg.Event.Mode == config.ModeBinary {
		encoder.Mode = event.Binary
	}
	r.receiver = receiver.New(receiver.Options{Config: cfg.Webhooks, Attributes: cfg.Event.Attributes, Tokens: r.tokens, Encoder: encoder, Store: store, Metrics: metrics, Log: log.logger()})
	r.Server = httptest.NewUnstartedServer(nil)
	r.Config = r.receiver.Server(nil)
	r.Start()
	t.Cleanup(r.Close)
	return r
}

// stored are the messages of a stream, the oldest first.
func (r *relay) stored(t *testing.T, stream string) []*jetstream.RawStreamMsg {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := r.js.Stream(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	var msgs []*jetstream.RawStreamMsg
	for seq := max(1, s.CachedInfo().State.FirstSeq); seq <= s.CachedInfo().State.LastSeq; seq++ {
		msg, err := s.GetMsg(ctx, seq)
		if err != nil {
			t.Fatalf("message %d of %s: %v", seq, stream, err)
		}
		msgs = append(msgs, msg)
	}
	return msgs
}

// events are the events in a stream, the oldest first.
func (r *relay) events(t *testing.T, stream string) []schema.Event {
	t.Helper()
	var events []schema.Event
	for _, msg := range r.stored(t, stream) {
		e, err := schema.DecodeMessage(msg.Header, msg.Data)
		if err != nil {
			t.Fatalf("message %d of %s: %v", msg.Sequence, stream, err)
		}
		events = append(events, e)
	}
	return events
}

// wantCounts fails the test unless so much is stored.
func (r *relay) wantCounts(t *testing.T, events, quarantined int) {
	t.Helper()
	if n, q := len(r.stored(t, schema.DefaultStream)), len(r.stored(t, schema.DefaultQuarantine)); n != events || q != quarantined {
		t.Errorf("%d events and %d quarantined webhooks are stored, want %d and %d", n, q, events, quarantined)
	}
}

// send sends a request and reads its answer. The error is that of the connection.
func (r *relay) send(ctx context.Context, path, body string, changes ...change) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	for _, change := range changes {
		change(req)
	}
	res, err := r.Client().Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.ContentLength != int64(len(answer)) {
		err = fmt.Errorf("a body of %d bytes came with the Content-Length %d", len(answer), res.ContentLength)
	}
	return reply{res.StatusCode, res.Header, string(answer)}, err
}

// post sends a request that has to be answered.
func (r *relay) post(t *testing.T, path, body string, changes ...change) reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := r.send(ctx, path, body, changes...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// postLater posts a webhook and delivers its answer; one of status 0 is none,
// and tells why.
func (r *relay) postLater(t *testing.T, path, body string) <-chan reply {
	replies := make(chan reply, 1)
	go func() {
		got, err := r.send(t.Context(), path, body)
		if err != nil {
			got = reply{body: err.Error()}
		}
		replies <- got
	}()
	return replies
}

// dialRaw opens a connection on which nothing takes longer than the test's patience.
func (r *relay) dialRaw(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// raw writes a request as it stands, ends this half of the connection, and
// reads what comes back.
func (r *relay) raw(t *testing.T, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// Either fails if the answer has come and the connection has gone by now.
	if _, err := io.WriteString(conn, request); err == nil {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	answer, err := io.ReadAll(conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("no answer: %v", err)
	}
	return string(answer)
}

// metric reads one series of a scrape, by its name with its labels.
func (r *relay) metric(t *testing.T, series string) float64 {
	t.Helper()
	rec := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(rec.Body.String()) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no %s in\n%s", series, rec.Body)
	return 0
}

func (r *relay) wantMetric(t *testing.T, series string, want float64) {
	t.Helper()
	if got := r.metric(t, series); got != want {
		t.Errorf("%s is %v, want %v", series, got, want)
	}
}

// storeFunc is a store made of a function.
type storeFunc func(context.Context, event.Message) (store.Receipt, error)

func (f storeFunc) Store(ctx context.Context, msg event.Message) (store.Receipt, error) {
	return f(ctx, msg)
}
