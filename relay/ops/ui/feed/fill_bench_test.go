package feed

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
	"github.com/apixo-relay/apixo-relay/schema"
)

// brokerFolder is the variable by which the test binary is told to be a broker.
const brokerFolder = "FEED_BENCHMARK_BROKER"

// benchmarkBroker runs a broker as a process of its own, as it is mostly, since one in the same
// process would share its garbage collector; and fills its stream.
func benchmarkBroker(b *testing.B, n int) *nats.Conn {
	b.Helper()
	folder := b.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchmarkBroker$", "-test.v")
	cmd.Env = append(os.Environ(), brokerFolder+"="+folder)
	end, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = end.Close()
		_ = cmd.Wait()
	})
	url := ""
	for !strings.HasPrefix(url, "nats://") {
		if _, err := fmt.Fscanln(out, &url); errors.Is(err, io.EOF) {
			b.Fatal("the broker does not start")
		}
	}
	js := natstest.JetStream(b, url)
	if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: schema.DefaultStream, Subjects: []string{schema.TaskSubjects(schema.DefaultPrefix)}}); err != nil {
		b.Fatal(err)
	}
	data, header := task(b, "task_0123456789abcdef0123", schema.StateSuccess, 0).Data, task(b, "t", schema.StateSuccess, 0).Header
	for i := range n {
		msg := &nats.Msg{Subject: "apixo.task.success", Data: data, Header: nats.Header{jetstream.MsgIDHeader: {fmt.Sprintf("task_%020d", i)}}}
		for name, values := range header {
			msg.Header[name] = values
		}
		if _, err := js.PublishMsgAsync(msg, jetstream.WithStallWait(patience)); err != nil {
			b.Fatal(err)
		}
		if i%2000 == 0 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
	return js.Conn()
}

// TestBenchmarkBroker is the broker of [benchmarkBroker].
func TestBenchmarkBroker(t *testing.T) {
	folder := os.Getenv(brokerFolder)
	if folder == "" {
		t.Skip("it is for a benchmark")
	}
	s := natstest.Start(t, &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: folder, NoLog: true, NoSigs: true})
	fmt.Println(s.ClientURL())
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// BenchmarkFill tells how many ids a second the index is filled with, beside the floor: how many
// messages a second a plain push consumer brings whose messages are dropped. n is the stream's length.
func BenchmarkFill(b *testing.B) {
	const n = 300_000
	conn := benchmarkBroker(b, n)
	var floor, fill time.Duration
	rounds := 0
	for b.Loop() {
		began := time.Now()
		drain(b, conn, n)
		floor += time.Since(began)
		began = time.Now()
		f := New(Options{Conn: conn, Stream: schema.DefaultStream, Quarantine: schema.DefaultQuarantine, Index: n, Log: slog.New(slog.DiscardHandler)})
		if err := f.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		await(b, f, "it is filled", func() bool { return f.Status().Events.Indexed == n })
		fill += time.Since(began)
		rounds++
		stop(b, f)
	}
	b.ReportMetric(float64(rounds*n)/fill.Seconds(), "ids/s")
	b.ReportMetric(float64(rounds*n)/floor.Seconds(), "floor/s")
	b.ReportMetric(floor.Seconds()/fill.Seconds(), "of-floor")
}

func drain(b *testing.B, conn *nats.Conn, n int) {
	b.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	inbox, done, got := conn.NewInbox(), make(chan struct{}), 0
	sub, err := conn.Subscribe(inbox, func(m *nats.Msg) {
		if m.Header.Get("Status") != "" {
			if m.Reply != "" {
				_ = m.Respond(nil)
			}
			return
		}
		if got++; got == n {
			close(done)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		b.Fatal(err)
	}
	_, err = js.CreateConsumer(b.Context(), schema.DefaultStream, jetstream.ConsumerConfig{
		DeliverSubject: inbox, AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, FlowControl: true, IdleHeartbeat: 2 * time.Second, MemoryStorage: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	<-done
}
