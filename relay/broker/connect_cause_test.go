package broker

import (
	"bufio"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// secured are the options of a server with TLS, and its certificate's file.
func secured(t *testing.T, first bool) (*server.Options, string) {
	t.Helper()
	cert, key := certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	options := natstest.Options(t)
	options.TLS, options.TLSHandshakeFirst, options.TLSTimeout = true, first, 2
	options.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	return options, cert
}

func TestTLSFirst(t *testing.T) {
	t.Parallel()
	options, cert := secured(t, true)
	s := natstest.Start(t, options)
	environ := []string{"NATS_URL=" + s.ClientURL(), "NATS_CA=" + cert, "NATS_TLS_FIRST=true"}
	if b := mustOpen(t, load(t, environ...)); !b.Conn().IsConnected() {
		t.Error("not connected")
	}
	conn, err := Connect(load(t, environ...), "test")
	if err != nil {
		t.Fatalf("a command: %v", err)
	}
	conn.Close()
	if _, err := Connect(load(t, environ[:2]...), "test"); err == nil || !strings.Contains(err.Error(), "it expects TLS first, or is no NATS server; set NATS_TLS_FIRST=true") {
		t.Errorf("without the setting: %v", err)
	}
}

// somebody answers every connection with a line, and closes it at its end.
func somebody(t *testing.T, line string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(line))
			if line != "" {
				_, _ = bufio.NewReader(conn).ReadByte()
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return "nats://" + l.Addr().String()
}

// Whatever is wrong, a command says it, and the relay's log, with what to look at.
func TestCauses(t *testing.T) {
	t.Parallel()
	full := natstest.Options(t)
	full.MaxConn = 1
	fullServer := natstest.Start(t, full)
	natstest.JetStream(t, fullServer.ClientURL())
	upgraded, _ := secured(t, false)
	plain := natstest.Start(t, natstest.Options(t)).ClientURL()
	_, cert := secured(t, false)
	for name, tt := range map[string]struct {
		environ       []string
		problem, hint string
	}{
		"no host":        {[]string{"NATS_URL=nats://nowhere.invalid:4222"}, "nowhere.invalid", "name servers"},
		"refused":        {[]string{"NATS_URL=nats://127.0.0.1:1"}, "connection refused", "look at NATS_URL"},
		"full":           {[]string{"NATS_URL=" + fullServer.ClientURL()}, "maximum connections exceeded", "raise max_connections"},
		"other protocol": {[]string{"NATS_URL=" + somebody(t, "SSH-2.0-OpenSSH_9.2\r\n")}, "no NATS server", "4222"},
		"ends":           {[]string{"NATS_URL=" + somebody(t, "")}, "without a word (EOF)", "look at its log"},
		"TLS first":      {[]string{"NATS_URL=" + plain, "NATS_TLS_FIRST=true"}, "does not expect TLS first", "unset NATS_TLS_FIRST"},
		"no TLS":         {[]string{"NATS_URL=" + strings.Replace(plain, "nats://", "tls://", 1)}, "does not offer TLS", "write nats://"},
		"untrusted":      {[]string{"NATS_URL=" + natstest.Start(t, upgraded).ClientURL(), "NATS_CA=" + cert}, "certificate is not trusted", "NATS_CA"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Connect(load(t, tt.environ...), "test")
			if err == nil || !strings.Contains(err.Error(), tt.problem) || !strings.Contains(err.Error(), tt.hint) {
				t.Errorf("a command says %v", err)
			}
			var log natstest.Log
			b, err := Open(t.Context(), load(t, tt.environ...), "test", slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil { // that waiting would not mend
				if !strings.Contains(err.Error(), tt.problem) || !strings.Contains(err.Error(), tt.hint) {
					t.Errorf("the start says %v", err)
				}
				return
			}
			defer func() { _ = b.Close(t.Context()) }()
			if err := b.Cause(); err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("the cause is %v", err)
			}
			if got := log.String(); !strings.Contains(got, tt.problem) || !strings.Contains(got, tt.hint) {
				t.Errorf("the log is %s", got)
			}
		})
	}
}

// The log tells the cause once, again when it is another one, and readiness nothing
// more when there is a connection.
func TestCauseIsToldWhenItChanges(t *testing.T) {
	t.Parallel()
	options := natstest.Options(t)
	s := natstest.Start(t, options)
	options.Port = s.Addr().(*net.TCPAddr).Port
	url := s.ClientURL()
	natstest.Stop(s)
	var log natstest.Log
	b, err := Open(t.Context(), load(t, "NATS_URL="+url), "test", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close(t.Context()) }()
	connected := b.Conn().StatusChanged(nats.CONNECTED)
	log.Await(t, "connection refused")

	secret := *options
	secret.Authorization = "t-oken"
	s = natstest.Start(t, &secret)
	log.Await(t, "does not let this user in")
	natstest.Stop(s)
	busy := *options
	busy.MaxConn = 1
	s = natstest.Start(t, &busy)
	first, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	log.Await(t, "maximum connections exceeded")
	first.Close()
	<-connected
	log.Await(t, "connection refused")
	if n := strings.Count(log.String(), "maximum connections exceeded"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	if err := b.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Cause(); err != nil {
		t.Errorf("with a connection there is a cause: %v", err)
	}
}
