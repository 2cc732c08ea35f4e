package expected_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/apixo"
	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/expected"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/telemetry"
	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

func TestMain(m *testing.M) { natstest.Main(m) }

const key = "sk-0123456789abcdef"

// site is a broker and a status API, which relays can share.
type site struct {
	nats *server.Server
	api  *fakeapi.API
	http *httptest.Server
	js   jetstream.JetStream
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{nats: natstest.Start(t, natstest.Options(t)), api: fakeapi.New(key)}
	s.serve(t)
	return s
}

func (s *site) serve(t *testing.T, options ...nats.Option) {
	t.Helper()
	s.http = httptest.NewServer(s.api)
	t.Cleanup(s.http.Close)
	s.js = natstest.JetStream(t, s.nats.ClientURL(), options...)
}

// taskEvent is the event of a task's webhook, as another relay has stored it.
func taskEvent(t *testing.T, id string) *nats.Msg {
	t.Helper()
	encoder := event.Encoder{Source: "https://api.apixo.ai", Prefix: schema.DefaultPrefix}
	msg, err := encoder.Encode(event.Delivery{Body: []byte(fakeapi.Result(id)), Received: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: msg.Subject, Header: nats.Header{jetstream.MsgIDHeader: {msg.ID}}, Data: msg.Data}
	maps.Copy(m.Header, msg.Header)
	return m
}

// relay is what of a relay looks after tasks.
type relay struct {
	*expected.Reconciler
	cfg     config.Config
	client  *apixo.Client
	metrics *telemetry.Metrics
	log     *natstest.Log
	stop    func()
}

// relay starts one. Tasks are asked for after a second, or as the settings say.
func (s *site) relay(t *testing.T, environ ...string) *relay {
	t.Helper()
	r := s.newRelay(t, environ...)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *site) newRelay(t *testing.T, environ ...string) *relay {
	t.Helper()
	cfg, err := config.Load(append([]string{
		"NATS_URL=" + s.nats.ClientURL(), "APIXO_BASE_URL=" + s.http.URL, "APIXO_API_KEY=" + key, "RELAY_EXPECT=true", "RELAY_EXPECT_AFTER=1s",
		"RELAY_CALLBACK_ATTRIBUTES=model,user",
	}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{cfg: cfg, metrics: telemetry.NewMetrics("test"), log: &natstest.Log{}}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	b, err := broker.Open(t.Context(), cfg, "test", log)
	if err != nil {
		t.Fatal(err)
	}
	encoder := event.NewEncoder(cfg)
	p := publisher.New(publisher.Options{Config: cfg.Stream, Encoder: encoder, MaxMessage: broker.MaxMessageBytes(cfg.Webhooks.MaxBodyBytes), Metrics: r.metrics, Log: log})
	b.Observe(p)
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	transport := httpclient.NewTransport(8, nil, nil)
	r.client, err = apixo.New(apixo.Options{API: cfg.API, Agent: "test", Transport: transport, Timeout: 10 * time.Second, MaxAnswer: cfg.Webhooks.MaxBodyBytes})
	if err != nil {
		t.Fatal(err)
	}
	r.Reconciler = expected.New(expected.Options{Config: cfg, Client: r.client, Encoder: encoder, Store: p, CheckDiskSpace: b.CheckDiskSpace, Metrics: r.metrics, Log: log})
	r.Hurry(2 * time.Second)
	b.Observe(r.Reconciler)
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		for _, stop := range []func(context.Context) error{r.Stop, p.Stop, b.Close} {
			if err := stop(ctx); err != nil {
				t.Error(err)
			}
		}
		transport.CloseIdleConnections()
	}
	t.Cleanup(r.stop)
	return r
}

// bucket opens the bucket of announced tasks, as a producer does.
func (s *site) bucket(t *testing.T) jetstream.KeyValue {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		kv, err := s.js.KeyValue(ctx, schema.DefaultExpectedBucket)
		if err == nil {
			return kv
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// put announces a task under a key, as a producer with a NATS client does.
func put(t *testing.T, kv jetstream.KeyValue, key, value string) {
	t.Helper()
	if _, err := kv.PutString(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

// awaitRemoved waits until a key is not in the bucket any more.
func awaitRemoved(t *testing.T, kv jetstream.KeyValue, key string) {
	t.Helper()
	await(t, kv, key, func(e jetstream.KeyValueEntry) bool { return e.Operation() != jetstream.KeyValuePut })
}

// await waits until a key is as it is wanted.
func await(t *testing.T, kv jetstream.KeyValue, key string, wanted func(jetstream.KeyValueEntry) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	watcher, err := kv.Watch(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watcher.Stop() }()
	for {
		select {
		case e := <-watcher.Updates():
			if e != nil && wanted(e) {
				return
			}
		case <-ctx.Done():
			t.Fatalf("the key %s does not become what it should be", key)
		}
	}
}

// announced writes the value of an announced task.
func announced(t *testing.T, task schema.ExpectedTask) string {
	t.Helper()
	value, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

// counts holds the metrics of a relay against what they should be.
func (r *relay) counts(t *testing.T, want map[string]float64) {
	t.Helper()
	w := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for name, value := range want {
		if line := fmt.Sprintf("\napixo_relay_%s %v\n", name, value); !strings.Contains(w.Body.String(), line) {
			t.Errorf("the metrics have no line %q", line)
		}
	}
}
