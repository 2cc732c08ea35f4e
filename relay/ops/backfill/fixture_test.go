package backfill_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/httpclient"
	"github.com/apixo-relay/apixo-relay/relay/ops/backfill"
	"github.com/apixo-relay/apixo-relay/relay/ops/tasklist"
	"github.com/apixo-relay/apixo-relay/relay/test/fakeapi"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// key is in answers of the API here and there, and must be in nothing that is shown.
const key = "sk-t0p/s3cret"

// bench is a status API and a broker, with the configuration to find them.
type bench struct {
	api    *fakeapi.API
	http   *httptest.Server
	nats   *server.Server
	js     jetstream.JetStream
	log    *natstest.Log
	config config.Config
}

func open(t *testing.T, environ ...string) *bench {
	t.Helper()
	return openWith(t, natstest.Start(t, natstest.Options(t)), environ...)
}

func openWith(t *testing.T, s *server.Server, environ ...string) *bench {
	t.Helper()
	b := &bench{api: fakeapi.New(key), nats: s, log: &natstest.Log{}}
	b.http = httptest.NewServer(b.api)
	t.Cleanup(b.http.Close)
	b.js = natstest.JetStream(t, s.ClientURL())
	b.configure(t, environ...)
	return b
}

func (b *bench) configure(t *testing.T, environ ...string) {
	t.Helper()
	var err error
	b.config, err = config.Load(append([]string{"NATS_URL=" + b.nats.ClientURL(), "APIXO_BASE_URL=" + b.http.URL, "APIXO_API_KEY=" + key}, environ...))
	if err != nil {
		t.Fatal(err)
	}
}

// outcome is what became of a run.
type outcome struct {
	results map[string]backfill.Result
	summary backfill.Summary
	err     error
}

// run asks for tasks, each "ID" or "MODEL ID".
func (b *bench) run(ctx context.Context, t *testing.T, change func(*backfill.Options), tasks ...string) outcome {
	t.Helper()
	transport := httpclient.NewTransport(8, nil, nil)
	defer transport.CloseIdleConnections()
	o := backfill.Options{Version: "test", Transport: transport, Concurrency: 8, Rate: config.MaxAPIRate, Timeout: 10 * time.Second, Attempts: 3}
	o.Hurry(10 * time.Second)
	var err error
	if o.Tasks, err = tasklist.FromArguments(tasks, "nano-banana"); err != nil {
		t.Fatal(err)
	}
	out := outcome{results: make(map[string]backfill.Result)}
	o.OnResult = func(r backfill.Result, s *backfill.Summary) error {
		if _, twice := out.results[r.TaskID]; twice {
			t.Errorf("%s is reported twice", r.TaskID)
		}
		out.results[r.TaskID] = r
		if s.Done() != len(out.results) {
			t.Errorf("%d results, and %+v", len(out.results), *s)
		}
		return nil
	}
	if change != nil {
		change(&o)
	}
	if err := o.Check(b.config); err != nil {
		t.Fatal(err)
	}
	out.summary, out.err = backfill.Run(ctx, b.config, slog.New(slog.NewTextHandler(b.log, nil)), o)
	s := out.summary
	if s.Stored+s.WouldStore+s.Already+s.Conflict+s.Pending+s.Unknown+s.Failed+s.NotAsked != s.Tasks || s.Done() != len(out.results) {
		t.Errorf("the tasks do not add up: %+v", s)
	}
	shown := b.log.String()
	if out.err != nil {
		shown += out.err.Error()
	}
	for _, r := range out.results {
		shown += r.Error + r.State
	}
	if strings.Contains(shown, key) || strings.Contains(shown, "sk-t0p") {
		t.Errorf("the key is shown: %s", shown)
	}
	return out
}

// sequences are where the messages of an id are in the stream.
func (b *bench) sequences(t *testing.T, id string) (found []uint64) {
	t.Helper()
	for sequence, header := range b.stored(t) {
		if header.Get(jetstream.MsgIDHeader) == id {
			found = append(found, sequence)
		}
	}
	return found
}

// stored are the headers of what is in the stream, by sequence.
func (b *bench) stored(t *testing.T) map[uint64]http.Header {
	t.Helper()
	all := make(map[uint64]http.Header)
	stream, err := b.js.Stream(t.Context(), b.config.Stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	for sequence := range stream.CachedInfo().State.LastSeq {
		if msg, err := stream.GetMsg(t.Context(), sequence+1); err == nil {
			header := make(http.Header)
			for name, values := range msg.Header {
				header[http.CanonicalHeaderKey(name)] = values
			}
			all[sequence+1] = header
		}
	}
	return all
}
