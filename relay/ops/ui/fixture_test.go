package ui

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/broker"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/publisher"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// patience bounds what a test waits for.
const patienceOfTests = 2 * time.Minute

// store is a broker with the relay's two streams.
type store struct {
	options *server.Options
	server  *server.Server
	js      jetstream.JetStream
	encoder event.Encoder
}

// newStore runs a broker, whose options a test may change.
func newStore(t testing.TB, change ...func(*server.Options)) *store {
	t.Helper()
	s := &store{options: natstest.Options(t), encoder: event.Encoder{Source: "https://api.apixo.ai", Prefix: "apixo"}}
	for _, change := range change {
		change(s.options)
	}
	s.server = natstest.Start(t, s.options)
	s.options.Port = s.server.Addr().(*net.TCPAddr).Port
	options := []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}
	if len(s.options.Users) > 0 {
		options = append(options, nats.UserInfo(s.options.Users[0].Username, s.options.Users[0].Password))
	}
	s.js = natstest.JetStream(t, s.server.ClientURL(), options...)
	events, quarantine := publisher.DesiredStreams(load(t).Stream)
	for _, cfg := range []jetstream.StreamConfig{events, quarantine} {
		if _, err := s.js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// load reads settings as the command does.
func load(t testing.TB, environ ...string) config.Config {
	t.Helper()
	cfg, err := config.Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// publish stores a message of the encoder's making, and returns its sequence.
func (s *store) publish(t testing.TB, msg event.Message, err error) uint64 {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	ack, err := s.js.PublishMsg(t.Context(), natsMessage(msg))
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

func natsMessage(msg event.Message) *nats.Msg {
	out := nats.NewMsg(msg.Subject)
	for name, values := range msg.Header {
		out.Header[name] = values
	}
	out.Header.Set("Nats-Msg-Id", msg.ID)
	out.Data = msg.Data
	return out
}

// webhook stores what the relay makes of a body: an event, or something quarantined.
func (s *store) webhook(t testing.TB, body string, attributes ...string) uint64 {
	t.Helper()
	return s.deliver(t, event.Delivery{Body: []byte(body), Attributes: pairs(attributes...)})
}

func (s *store) deliver(t testing.TB, d event.Delivery) uint64 {
	t.Helper()
	d.Received = time.Now()
	msg, err := s.encoder.Encode(d)
	return s.publish(t, msg, err)
}

// conflict stores a body as one that contradicts an event.
func (s *store) conflict(t testing.TB, body, detail string) uint64 {
	t.Helper()
	msg, err := s.encoder.Encode(event.Delivery{Body: []byte(body), Received: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	msg, err = s.encoder.Conflict(msg, detail)
	return s.publish(t, msg, err)
}

// many stores n events, task_000000 and so on, every third of a failed task.
func (s *store) many(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		body := success(id(i))
		if i%3 == 0 {
			body = failed(id(i), "CONTENT_VIOLATION")
		}
		msg, err := s.encoder.Encode(event.Delivery{Body: []byte(body), Attributes: pairs("model", fmt.Sprintf("model-%d", i%2)), Received: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.js.PublishMsgAsync(natsMessage(msg), jetstream.WithStallWait(patienceOfTests)); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			s.flush(t)
		}
	}
	s.flush(t)
}

// flush waits until what was published is stored.
func (s *store) flush(t testing.TB) {
	t.Helper()
	select {
	case <-s.js.PublishAsyncComplete():
	case <-time.After(patienceOfTests):
		t.Fatal("the broker does not store what was published")
	}
}

func id(i int) string { return fmt.Sprintf("task_%06d", i) }

func pairs(attributes ...string) map[string]string {
	found := make(map[string]string)
	for pair := range slices.Chunk(attributes, 2) {
		found[pair[0]] = pair[1]
	}
	return found
}

// success is a webhook of a task that succeeded a second ago, with these addresses.
func success(id string, urls ...string) string {
	quoted := make([]string, len(urls))
	for i, u := range urls {
		quoted[i] = fmt.Sprintf("%q", u)
	}
	now := time.Now().Add(-time.Second).UnixMilli()
	return fmt.Sprintf(`{"code":200,"message":"success","data":{"taskId":%q,"state":"success","resultJson":{"resultUrls":[%s]},"costTime":12500,"createTime":%d,"completeTime":%d}}`,
		id, strings.Join(quoted, ","), now-12500, now)
}

// failed is a webhook of a task that failed.
func failed(id, code string) string {
	now := time.Now().Add(-time.Second).UnixMilli()
	return fmt.Sprintf(`{"code":200,"message":"success","data":{"taskId":%q,"state":"failed","failCode":%q,"failMsg":"it says why","createTime":%d,"completeTime":%d}}`, id, code, now-5000, now)
}

// stop stops the broker, and start starts it again where it was.
func (s *store) stop() { natstest.Stop(s.server) }

func (s *store) start(t testing.TB) {
	t.Helper()
	s.server = natstest.Start(t, s.options)
}

// state is that of a stream.
func (s *store) state(t testing.TB, stream string) jetstream.StreamState {
	t.Helper()
	found, err := s.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return found.CachedInfo().State
}

// consumers are how many the two streams have.
func (s *store) consumers(t testing.TB) int {
	t.Helper()
	return s.state(t, "APIXO").Consumers + s.state(t, "APIXO_QUARANTINE").Consumers
}

// site is a page that is served.
type site struct {
	*Server
	t      testing.TB
	url    string
	client *http.Client
	log    *natstest.Log
	// end has Serve end, and returns its error.
	end func() error
}

// site serves a page of the store until the test ends, with further settings.
func (s *store) site(t testing.TB, settings ...string) *site {
	return s.siteWith(t, false, settings...)
}

func (s *store) siteWith(t testing.TB, readOnly bool, settings ...string) *site {
	t.Helper()
	values := map[string]string{"NATS_URL": s.server.ClientURL(), "RELAY_UI_ADDR": "127.0.0.1:0", "RELAY_ADMIN_ADDR": "off", "RELAY_DATA_DIR": t.TempDir()}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		values[name] = value
	}
	var environ []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		environ = append(environ, name+"="+values[name])
	}
	cfg := load(t, environ...)
	page := &site{t: t, log: new(natstest.Log)}
	level := slog.LevelDebug
	if values["RELAY_LOG_LEVEL"] != "" {
		level = cfg.Log.Level
	}
	log := slog.New(slog.NewJSONHandler(page.log, &slog.HandlerOptions{Level: level}))
	b, err := broker.OpenClient(cfg, "page", log)
	if err != nil {
		t.Fatal(err)
	}
	page.Server, err = New(Options{Config: cfg, Environ: environ, Broker: b, ReadOnly: readOnly, Version: "v0-test", Log: log, Audit: log})
	if err != nil {
		t.Fatal(err)
	}
	page.url = strings.TrimSuffix(page.URL(), "/")
	transport := &http.Transport{DisableCompression: true}
	page.client = &http.Client{Transport: transport, Timeout: patienceOfTests, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- page.Serve(ctx) }()
	page.end = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		transport.CloseIdleConnections()
		return err
	})
	t.Cleanup(func() {
		if err := page.end(); err != nil {
			t.Errorf("Serve ended with %v", err)
		}
		_ = b.Close(context.Background())
		if t.Failed() {
			t.Logf("the page's log:\n%.4000s", page.log)
		}
	})
	return page
}

// answer is what the page has answered.
type answer struct {
	*http.Response
	body string
}

// do sends a request, and reads all of the answer.
func (p *site) do(r *http.Request) answer {
	p.t.Helper()
	resp, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return answer{resp, string(body)}
}

func (p *site) request(method, path string, body io.Reader, headers ...string) *http.Request {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	return r
}

// get asks for a view, with headers in pairs.
func (p *site) get(path string, headers ...string) answer {
	p.t.Helper()
	return p.do(p.request(http.MethodGet, path, nil, headers...))
}

// view asks for a view that must be there, and be that one.
func (p *site) view(name, path string, headers ...string) *document {
	p.t.Helper()
	return p.get(path, headers...).view(p.t, http.StatusOK, name)
}

// post sends a form, given in pairs.
func (p *site) post(path string, fields ...string) answer {
	p.t.Helper()
	form := make(url.Values)
	for pair := range slices.Chunk(fields, 2) {
		form.Set(pair[0], pair[1])
	}
	return p.do(p.request(http.MethodPost, path, bytes.NewBufferString(form.Encode()), "Content-Type", "application/x-www-form-urlencoded"))
}

// submit sends a form of a view as a browser does, with changes in pairs.
func (p *site) submit(d *document, form string, fields ...string) answer {
	p.t.Helper()
	f := d.one(form)
	all := fields
	for _, input := range f.all("input") {
		if !slices.Contains(fields, input.attr("name")) && input.attr("name") != "" {
			all = append(all, input.attr("name"), input.attr("value"))
		}
	}
	if f.attr("method") != "post" {
		p.t.Fatalf("%s is sent by %q", form, f.attr("method"))
	}
	return p.post(f.attr("action"), all...)
}

// eventually waits until something holds: it is looked at with each change of the feed, and
// now and then.
func (p *site) eventually(what string, holds func() bool) {
	p.t.Helper()
	late := time.After(patienceOfTests)
	for {
		changed := p.feed.Changed()
		if holds() {
			return
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		case <-late:
			p.t.Fatalf("never: %s", what)
		}
	}
}

// known waits until the page knows all that is stored.
func (p *site) known(s *store) {
	p.t.Helper()
	events, quarantine := s.state(p.t, "APIXO"), s.state(p.t, "APIXO_QUARANTINE")
	p.eventually("the feed knows what is stored", func() bool {
		st := p.feed.Status()
		return st.Events.Known && st.Quarantine.Known && !st.Events.Filling && !st.Quarantine.Filling && st.Quarantine.Last >= quarantine.LastSeq &&
			uint64(st.Quarantine.Indexed) >= quarantine.Msgs && st.Events.Last >= events.LastSeq
	})
}

// unreadable is a delivery whose headers say that it is no JSON.
func unreadable(body string) event.Delivery {
	return event.Delivery{
		Body: []byte(body), Attributes: pairs("customer", "4711"),
		Rejection: &schema.Error{Kind: event.ErrMediaType, Code: schema.ReasonContentType, Detail: "the content type is text/plain"},
	}
}
