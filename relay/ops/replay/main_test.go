package replay_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
	"github.com/apixo-relay/apixo-relay/relay/ops/streamreader"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// store is a broker with the relay's two streams.
type store struct {
	options *server.Options
	server  *server.Server
	conn    *nats.Conn
	js      jetstream.JetStream
}

func newStore(t testing.TB) *store {
	t.Helper()
	s := &store{options: natstest.Options(t)}
	s.server = natstest.Start(t, s.options)
	s.options.Port = s.server.Addr().(*net.TCPAddr).Port
	s.js = natstest.JetStream(t, s.server.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	s.conn = s.js.Conn()
	s.stream(t, jetstream.StreamConfig{Name: "APIXO", Subjects: []string{"apixo.task.>"}})
	s.stream(t, jetstream.StreamConfig{Name: "APIXO_QUARANTINE", Subjects: []string{"apixo.quarantine.>"}})
	return s
}

func (s *store) stream(t testing.TB, cfg jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	stream, err := s.js.CreateStream(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// restart stops the broker and starts it again where it was.
func (s *store) restart(t testing.TB) {
	t.Helper()
	natstest.Stop(s.server)
	s.server = natstest.Start(t, s.options)
}

// id is that of the event with a sequence, in a stream that has tasks alone.
func id(sequence int) string { return fmt.Sprintf("task_%06d", sequence) }

// tasks stores n more events, of which every third is of a failed task.
func (s *store) tasks(t testing.TB, mode event.Mode, from, n int) {
	t.Helper()
	encoder := event.Encoder{Source: "https://api.apixo.ai", Prefix: "apixo", Mode: mode}
	for i := from; i < from+n; i++ {
		state := "success"
		if i%3 == 0 {
			state = "failed"
		}
		s.webhook(t, encoder, fmt.Sprintf("{\"data\":{\"taskId\":%q,\"state\":%q,\n \"n\":1.50e+2}}", id(i), state))
	}
	s.flush(t)
}

// webhook stores what the relay would make of a body.
func (s *store) webhook(t testing.TB, encoder event.Encoder, body string) {
	t.Helper()
	msg, err := encoder.Encode(event.Delivery{Body: []byte(body), Attributes: map[string]string{"model": "nano banana"}, Received: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	out := nats.NewMsg(msg.Subject)
	for name, values := range msg.Header {
		out.Header[name] = values
	}
	out.Header.Set("Nats-Msg-Id", msg.ID)
	out.Data = msg.Data
	if _, err := s.js.PublishMsgAsync(out, jetstream.WithStallWait(time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func (s *store) flush(t testing.TB) {
	t.Helper()
	select {
	case <-s.js.PublishAsyncComplete():
	case <-time.After(2 * time.Minute):
		t.Fatal("the broker does not store what was published")
	}
}

// all selects every event from a sequence on.
func all(from uint64) replay.Options {
	return replay.Options{
		Selection:   streamreader.Selection{Stream: "APIXO", Subjects: []string{"apixo.task.>"}, FromSeq: from},
		Concurrency: 8,
	}
}

// run replays, which must not fail.
func run(ctx context.Context, t testing.TB, s *store, target replay.Target, o replay.Options) replay.Summary {
	t.Helper()
	summary, err := replay.Run(ctx, s.conn, target, o)
	if err != nil {
		t.Fatalf("%v\n%+v", err, summary)
	}
	return summary
}

// atRead calls do once so many messages have been read.
func atRead(n int, do func()) func(replay.Progress) {
	var once sync.Once
	return func(p replay.Progress) {
		if p.Read >= n {
			once.Do(do)
		}
	}
}

// seen are the ids of events that have arrived somewhere, and how often.
type seen struct {
	mu    sync.Mutex
	order []string
	times map[string]int
}

func (s *seen) add(id string) (times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times == nil {
		s.times = make(map[string]int)
	}
	s.order = append(s.order, id)
	s.times[id]++
	return s.times[id]
}

// wantCounts holds a summary's counts against delivered, failed, skipped, unfinished
// and the sequence from which to resume.
func wantCounts(t testing.TB, s replay.Summary, delivered, failed, skipped, unfinished int, resume uint64) {
	t.Helper()
	if s.Delivered != delivered || s.Failed != failed || s.Skipped != skipped || s.Unfinished != unfinished || s.ResumeSequence != resume {
		var b strings.Builder
		_ = s.WriteText(&b)
		t.Errorf("want %d delivered, %d failed, %d skipped, %d unfinished, resume %d:\n%s", delivered, failed, skipped, unfinished, resume, b.String())
	}
}

// writer calls itself with each write.
type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

var _ io.Writer = writer(nil)

func message(subject string, header map[string][]string, data string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: header, Data: []byte(data)}
}
