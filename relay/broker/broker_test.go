package broker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/apixo-relay/apixo-relay/relay/config"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }

func load(t *testing.T, environ ...string) config.Config {
	t.Helper()
	cfg, err := config.Load(append([]string{
		"RELAY_DATA_DIR=" + t.TempDir(), "RELAY_EMBEDDED_ADDR=127.0.0.1:0",
	}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func mustOpen(t *testing.T, cfg config.Config) *Broker {
	t.Helper()
	b, err := Open(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}

func TestEmbeddedBrokerLetsConsumersIn(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, load(t))
	js := natstest.JetStream(t, b.URL())
	if _, err := js.AccountInfo(t.Context()); err != nil {
		t.Errorf("no JetStream at %s: %v", b.URL(), err)
	}
	if err := b.Health(); err != nil {
		t.Errorf("health: %v", err)
	}
	if !b.Conn().IsConnected() || !strings.HasPrefix(b.URL(), "nats://127.0.0.1:") {
		t.Errorf("at %q, %v", b.URL(), b.Conn().Status())
	}
}

func TestEmbeddedBrokerSyncsAsItIsTold(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]bool{"": true, "always": true, "interval": false} {
		b := mustOpen(t, load(t, "RELAY_EMBEDDED_SYNC="+setting))
		if got := b.embedded.server.JetStreamConfig().SyncAlways; got != want {
			t.Errorf("RELAY_EMBEDDED_SYNC=%q: syncs always: %v, want %v", setting, got, want)
		}
	}
}

// The largest body that is let in must fit into a message, whatever the limit.
func TestEmbeddedBrokerTakesTheLargestEvent(t *testing.T) {
	t.Parallel()
	cfg := load(t, "RELAY_MAX_BODY_BYTES=3000000")
	b := mustOpen(t, cfg)
	if limit, need := b.Conn().MaxPayload(), MaxMessageBytes(cfg.Webhooks.MaxBodyBytes); limit < need {
		t.Errorf("messages of %d bytes are taken, %d are needed", limit, need)
	}
}

func TestEmbeddedBrokerAsksForCredentials(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		environ []string
		option  nats.Option
	}{
		{[]string{"NATS_TOKEN=a-token-of-some-length"}, nats.Token("a-token-of-some-length")},
		{[]string{"NATS_USER=relay", "NATS_PASSWORD=secret-of-some-length"}, nats.UserInfo("relay", "secret-of-some-length")},
	} {
		b := mustOpen(t, load(t, tt.environ...))
		if conn, err := nats.Connect(b.URL()); err == nil {
			conn.Close()
			t.Errorf("%s: let in without credentials", tt.environ)
		}
		conn, err := nats.Connect(b.URL(), tt.option)
		if err != nil {
			t.Errorf("%s: %v", tt.environ, err)
			continue
		}
		conn.Close()
	}
}

func TestPortTakenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := load(t, "RELAY_EMBEDDED_ADDR="+l.Addr().String())
	_, err = Open(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "NATS_URL=nats://"+l.Addr().String()) || !strings.Contains(err.Error(), "RELAY_EMBEDDED_ADDR=") {
		t.Errorf("got %v", err)
	}
	// The failed start has given the folder back.
	cfg.Embedded.Addr = "127.0.0.1:0"
	mustOpen(t, cfg)
}

func TestFolderInUseSaysWhatToDo(t *testing.T) {
	t.Parallel()
	cfg := load(t)
	first := mustOpen(t, cfg)
	_, err := Open(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "RELAY_DATA_DIR") || !strings.Contains(err.Error(), "another relay") {
		t.Errorf("got %v", err)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, cfg)
}

func TestFolderThatCannotBeMadeSaysWhatToDo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), load(t, "RELAY_DATA_DIR="+file+"/data"), "test", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "RELAY_DATA_DIR") {
		t.Errorf("got %v", err)
	}
}

func TestServerLinesGoThroughTheLog(t *testing.T) {
	t.Parallel()
	var buf natstest.Log
	cfg := load(t)
	b, err := Open(t.Context(), cfg, "test", slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(buf.String(), "from=broker") || !strings.Contains(buf.String(), "Server is ready") {
		t.Errorf("the log is\n%s", buf.String())
	}
}

// Every way of the NATS_ variables to prove who one is, against a server that asks for it.
func TestExternalBrokerCredentials(t *testing.T) {
	t.Parallel()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seedFile := filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		server  func(*server.Options)
		environ []string
	}{
		{"user", func(o *server.Options) { o.Username, o.Password = "u", "p-word" }, []string{"NATS_USER=u", "NATS_PASSWORD=p-word"}},
		{"token", func(o *server.Options) { o.Authorization = "t-oken" }, []string{"NATS_TOKEN=t-oken"}},
		{"nkey", func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} }, []string{"NATS_NKEY=" + seedFile}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			options := natstest.Options(t)
			tt.server(options)
			s := natstest.Start(t, options)
			b := mustOpen(t, load(t, append(tt.environ, "NATS_URL="+s.ClientURL())...))
			if !b.Conn().IsConnected() {
				t.Error("not connected")
			}
			// Without them the start fails, rather than try for ever.
			_, err := Open(t.Context(), load(t, "NATS_URL="+s.ClientURL()), "test", slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), "NATS_CREDS") {
				t.Errorf("without credentials: %v", err)
			}
			conn, err := Connect(load(t, append(tt.environ, "NATS_URL="+s.ClientURL())...), "test")
			if err != nil {
				t.Errorf("a command is not let in: %v", err)
			} else {
				conn.Close()
			}
		})
	}
}

// An external broker that is away is waited for, and errors of the start do not
// show what is in the URL.
func TestExternalBrokerAway(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	s := natstest.Start(t, options)
	options.Port = s.Addr().(*net.TCPAddr).Port
	natstest.Stop(s)
	b := mustOpen(t, load(t, fmt.Sprintf("NATS_URL=nats://127.0.0.1:%d", options.Port)))
	connected := b.Conn().StatusChanged(nats.CONNECTED)
	if b.Conn().IsConnected() {
		t.Fatal("connected to nothing")
	}
	natstest.Start(t, options)
	select {
	case <-connected:
	case <-time.After(2 * time.Minute):
		t.Error("never connected")
	}
}

func TestConnectSaysWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := Connect(load(t, "RELAY_EMBEDDED_ADDR=127.0.0.1:1"), "test")
	if err == nil || !strings.Contains(err.Error(), "start the relay") {
		t.Errorf("got %v", err)
	}
	_, err = Connect(load(t, "NATS_URL=nats://sec-ret@127.0.0.1:1"), "test")
	if err == nil || !strings.Contains(err.Error(), "NATS_URL") || strings.Contains(err.Error(), "sec-ret") {
		t.Errorf("got %v", err)
	}
}

// A browser that a web page sends to the broker's port gets nowhere: the server ends
// at the first line of HTTP, and never comes to orders that stand in a body.
func TestEmbeddedBrokerTakesNoOrdersFromWebPages(t *testing.T) {
	t.Parallel()
	b := mustOpen(t, load(t))
	conn, err := nats.Connect(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	heard, err := conn.SubscribeSync("page.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	// speak writes what a client says, and returns once the server has ended the
	// connection or answered the last order.
	speak := func(words string) (answer string) {
		t.Helper()
		c, err := net.Dial("tcp", strings.TrimPrefix(b.URL(), "nats://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, words) // whose rest may meet a closed connection
		said := bufio.NewReader(c)
		for {
			line, err := said.ReadString('\n')
			answer += line
			if err != nil || line == "PONG\r\n" {
				return answer
			}
		}
	}
	orders := func(by string) string {
		return "CONNECT {\"verbose\":false}\r\nPUB page." + by + " 2\r\nhi\r\nPING\r\n"
	}
	for _, method := range []string{"POST", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "PRI"} {
		body := orders(method)
		answer := speak(fmt.Sprintf("%s / HTTP/1.1\r\nHost: %s\r\nOrigin: https://evil.example\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
			method, strings.TrimPrefix(b.URL(), "nats://"), len(body), body))
		if strings.Contains(answer, "PONG") {
			t.Errorf("%s was answered with %q", method, answer)
		}
	}
	if answer := speak(orders("client")); !strings.Contains(answer, "PONG") {
		t.Fatalf("the same orders of a client were answered with %q", answer)
	}
	msg, err := heard.NextMsg(30 * time.Second)
	if err != nil || msg.Subject != "page.client" {
		t.Errorf("heard %+v, %v; want what the client published alone", msg, err)
	}
}
