package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/apixo-relay/apixo-relay/relay"
	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

// environ are settings with free ports and a folder of the test.
func environ(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{
		"RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0",
		"RELAY_EMBEDDED_ADDR=127.0.0.1:0", "RELAY_DATA_DIR=" + t.TempDir(),
	}, more...)
}

func load(t *testing.T, environ []string) config.Config {
	t.Helper()
	cfg, err := config.Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func start(t *testing.T, environ []string) *relay.Relay {
	t.Helper()
	r, err := relay.Start(t.Context(), load(t, environ), "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r) })
	return r
}

func stop(t *testing.T, r *relay.Relay) {
	t.Helper()
	if err := r.Stop(context.Background()); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// client keeps connections of its own, so that they end with the test.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func webhook(id string) string {
	return `{"code":200,"message":"success","data":{"taskId":"` + id + `","state":"success","resultJson":"{\"resultUrls\":[\"u\"]}"}}`
}

type receipt struct {
	TaskID    string
	Stream    string
	Sequence  uint64
	Duplicate bool
}

func post(c *http.Client, r *relay.Relay, body string) (status int, got receipt, err error) {
	resp, err := c.Post("http://"+r.Addr()+"/webhook/apixo", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, got, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&got)
	return resp.StatusCode, got, err
}

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// What was acknowledged is there after a restart, and a repeat is still known.
func TestEventsAndTheirIDsSurviveARestart(t *testing.T) {
	t.Parallel()
	env := environ(t)
	c := client(t)
	first := start(t, env)
	for i := range 10 {
		status, got, err := post(c, first, webhook(fmt.Sprintf("task_%d", i)))
		if err != nil || status != 200 || got.Sequence != uint64(i+1) || got.Duplicate {
			t.Fatalf("%d %+v %v", status, got, err)
		}
	}
	stop(t, first)
	second := start(t, env)
	status, got, err := post(c, second, webhook("task_3"))
	if err != nil || status != 200 || got.Sequence != 4 || !got.Duplicate || got.Stream != "APIXO" || got.TaskID != "task_3" {
		t.Errorf("the repeat got %d %+v %v", status, got, err)
	}
	stream, err := natstest.JetStream(t, second.BrokerURL()).Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 10 {
		t.Errorf("%d events are stored, want 10", n)
	}
}

func TestAdminEndpoint(t *testing.T) {
	t.Parallel()
	r := start(t, environ(t))
	c := client(t)
	for path, want := range map[string]string{"/healthz": `"ok"`, "/readyz": `"ready"`, "/metrics": "apixo_relay_broker_connected 1"} {
		if status, body := get(t, c, "http://"+r.AdminAddr()+path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	off := start(t, environ(t, "RELAY_ADMIN_ADDR=off"))
	if off.AdminAddr() != "" {
		t.Errorf("off, and at %s", off.AdminAddr())
	}
}

// Without its broker a relay is alive but not ready, answers 503, and says why.
func TestWithoutABroker(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	r := start(t, environ(t, "NATS_URL="+s.ClientURL()))
	c := client(t)
	if status, _, err := post(c, r, webhook("task_1")); err != nil || status != 200 {
		t.Fatalf("%d %v", status, err)
	}
	natstest.Stop(s)
	resp, err := c.Post("http://"+r.Addr()+"/webhook/apixo", "application/json", strings.NewReader(webhook("task_2")))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if status, body := get(t, c, "http://"+r.AdminAddr()+"/readyz"); status != 503 || !strings.Contains(body, "no connection to the broker") {
		t.Errorf("readyz: %d %s", status, body)
	}
	if status, body := get(t, c, "http://"+r.AdminAddr()+"/healthz"); status != 200 {
		t.Errorf("healthz: %d %s", status, body)
	}
}

// A failed start gives back all that it had taken: the same settings work as
// soon as the cause is mended.
func TestFailedStartRollsBack(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, natstest.Options(t))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	holder := environ(t)
	start(t, holder)
	heldDir := strings.TrimPrefix(holder[3], "RELAY_DATA_DIR=")
	for name, tt := range map[string]struct {
		environ []string
		want    string
	}{
		"webhook port taken": {[]string{"RELAY_LISTEN_ADDR=" + taken.Addr().String()}, "RELAY_LISTEN_ADDR"},
		"admin port taken":   {[]string{"RELAY_ADMIN_ADDR=" + taken.Addr().String()}, "RELAY_ADMIN_ADDR"},
		"broker port taken":  {[]string{"RELAY_EMBEDDED_ADDR=" + taken.Addr().String()}, "NATS_URL=nats://" + taken.Addr().String()},
		"folder in use":      {[]string{"RELAY_DATA_DIR=" + heldDir}, "another relay"},
		"stream missing":     {[]string{"NATS_URL=" + s.ClientURL(), "RELAY_STREAM_POLICY=require"}, "does not exist"},
	} {
		env := environ(t, tt.environ...)
		_, err := relay.Start(t.Context(), load(t, env), "test", slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want it to name %s", name, err, tt.want)
		}
		// The folder and the ports are free again; free ports stand in for the taken ones.
		again := append(env, "RELAY_LISTEN_ADDR=127.0.0.1:0", "RELAY_ADMIN_ADDR=127.0.0.1:0", "RELAY_EMBEDDED_ADDR=127.0.0.1:0", "RELAY_STREAM_POLICY=create")
		if name == "folder in use" {
			again = append(again, env[3])
		}
		stop(t, start(t, again))
	}
}

// Stopping under load: whoever has a 200 has his event, and nobody hangs.
func TestStopUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	env := environ(t)
	r := start(t, env)
	var acknowledged sync.Map
	var count, started atomic.Int64
	underWay := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 16 {
		c := client(t)
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("task_%d_%d", worker, i)
				status, _, err := post(c, r, webhook(id))
				if err != nil {
					return // the relay is gone
				}
				if status == 200 {
					acknowledged.Store(id, true)
					count.Add(1)
				}
				if started.Add(1) == 200 {
					close(underWay)
				}
			}
		})
	}
	<-underWay
	stop(t, r)
	wg.Wait()

	second := start(t, env)
	stream, err := natstest.JetStream(t, second.BrokerURL()).Stream(t.Context(), "APIXO")
	if err != nil {
		t.Fatal(err)
	}
	stored := make(map[string]int)
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		stored[msg.Header.Get(jetstream.MsgIDHeader)]++
	}
	acknowledged.Range(func(id, _ any) bool {
		if stored[id.(string)] != 1 {
			t.Errorf("%s was acknowledged and is stored %d times", id, stored[id.(string)])
		}
		return true
	})
	if count.Load() < 200 {
		t.Errorf("only %d were acknowledged", count.Load())
	}
}

// A connection to the admin endpoint on which nothing ever comes, as some probes
// make, holds up no end.
func TestStopWithASilentProbe(t *testing.T) {
	t.Parallel()
	r, err := relay.Start(t.Context(), load(t, environ(t, "RELAY_SHUTDOWN_TIMEOUT=4s")), "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	probe, err := net.Dial("tcp", r.AdminAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	if status, _ := get(t, client(t), "http://"+r.AdminAddr()+"/healthz"); status != http.StatusOK {
		t.Fatalf("healthz says %d", status) // so that the probe has been accepted, too
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// Run ends in order when its context does.
func TestRun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan *relay.Relay, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- relay.Run(ctx, load(t, environ(t)), "test", slog.New(slog.DiscardHandler), func(r *relay.Relay) { started <- r })
	}()
	r := <-started
	if status, _, err := post(client(t), r, webhook("task_1")); err != nil || status != 200 {
		t.Errorf("%d %v", status, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if conn, err := net.DialTimeout("tcp", r.Addr(), time.Second); err == nil {
		conn.Close()
		t.Error("still listening")
	}
}

// Who ends it before it is ready has not met a failure.
func TestRunThatIsEndedWhileItStarts(t *testing.T) {
	t.Parallel()
	away := "NATS_URL=nats://127.0.0.1:1"
	for _, more := range [][]string{nil, {away}, {away, "RELAY_OUTBOX=true"}} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := relay.Run(ctx, load(t, environ(t, more...)), "test", slog.New(slog.DiscardHandler), nil); err != nil {
			t.Errorf("%q: %v", more, err)
		}
	}
}
