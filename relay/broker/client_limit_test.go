package broker

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/descriptors"
	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// enough bounds the wait for what comes at once, and on a busy machine later.
const enough = 2 * time.Minute

// clients are the most that the server of a small broker takes.
const clients = 8

// small is an embedded broker that takes few clients, and its log.
func small(t *testing.T) (*Broker, *natstest.Log) {
	t.Helper()
	cfg := load(t)
	options, err := embeddedOptions(cfg)
	if err != nil {
		t.Fatal(err)
	}
	options.MaxConn = clients
	own, err := clientOptions(cfg.NATS)
	if err != nil {
		t.Fatal(err)
	}
	log := new(natstest.Log)
	b := &Broker{log: slog.New(slog.NewTextHandler(log, nil)), ended: make(chan struct{})}
	b.options = append(own, b.handlers()...)
	if err := b.start(t.Context(), cfg.Embedded, "test", options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b, log
}

func (b *Broker) addr() string { return strings.TrimPrefix(b.URL(), "nats://") }

// fill takes all places that are left, by clients that say that they are some.
func fill(t *testing.T, b *Broker) {
	t.Helper()
	for b.embedded.server.NumClients() < clients {
		if conn, err := nats.Connect(b.URL(), nats.NoReconnect()); err == nil { // else it is full
			t.Cleanup(conn.Close)
		}
	}
}

// However many others there are, and however fast they come, the relay gets into its
// own broker.
func TestOwnConnectionGetsIn(t *testing.T) {
	t.Parallel()
	for name, flooders := range map[string]int{"full": 0, "flooded": 16} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _ := small(t)
			ctx, cancel := context.WithCancel(t.Context())
			var flooding sync.WaitGroup
			defer flooding.Wait()
			defer cancel()
			for range flooders {
				flooding.Go(func() {
					for ctx.Err() == nil {
						conn, err := new(net.Dialer).DialContext(ctx, "tcp", b.addr())
						if err != nil {
							continue
						}
						stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
						_, _ = io.Copy(io.Discard, conn) // until it is closed, by whomever
						stop()
						_ = conn.Close()
					}
				})
			}
			if flooders == 0 {
				fill(t, b)
			}
			for i := range 10 {
				conn, err := nats.Connect("", b.options...)
				if err != nil {
					t.Fatalf("connection %d is not let in: %v", i+1, err)
				}
				if err := conn.FlushTimeout(enough); err != nil {
					t.Fatal(err)
				}
				conn.Close()
				if flooders == 0 {
					fill(t, b)
				}
			}
			if !b.Conn().IsConnected() {
				t.Error("the relay's own connection has made way")
			}
		})
	}
}

// Who connects and says nothing keeps no place for long while others are refused, and
// the log says once that they are.
func TestMuteClientsMakeWay(t *testing.T) {
	t.Parallel()
	b, log := small(t)
	for range clients {
		conn, err := net.Dial("tcp", b.addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	log.Await(t, "clients of the embedded broker are refused")
	for end := time.Now().Add(enough); ; {
		conn, err := nats.Connect(b.URL(), nats.NoReconnect())
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "are refused"); n != 1 {
		t.Errorf("the log says so %d times: %s", n, log)
	}
	if !strings.Contains(log.String(), "ulimit -n") || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log is %s", log)
	}
}

// Who has said something is no stranger, however long that is ago.
func TestIdleClientsStay(t *testing.T) {
	t.Parallel()
	b, log := small(t)
	fill(t, b)
	others := b.embedded.door.others()
	for range 3 {
		b.embedded.door.sweep(time.Now().Add(time.Hour))
	}
	if n := len(b.embedded.door.others()); n != len(others) || n != clients-ownConnections {
		t.Errorf("of %d clients %d are left: %s", len(others), n, log)
	}
}

// Strangers cannot fill the log.
func TestLinesAboutClientsAreFew(t *testing.T) {
	t.Parallel()
	log := new(natstest.Log)
	l := newServerLog(slog.New(slog.NewTextHandler(log, nil)), 1)
	for range 100 {
		l.Errorf("%s - %s", "127.0.0.1:1 - cid:7", server.ErrAuthentication)
	}
	l.Warnf("the disk is slow")
	if n := strings.Count(log.String(), server.ErrAuthentication.Error()); n != clientLogBurst {
		t.Errorf("%d lines about clients", n)
	}
	if !strings.Contains(log.String(), "the disk is slow") {
		t.Error("others are left out as well")
	}
}

func TestEmbeddedBrokerIsBounded(t *testing.T) {
	t.Parallel()
	cfg := load(t)
	options, err := embeddedOptions(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if options.MaxConn != descriptors.ForConfig(cfg).Broker+ownConnections {
		t.Errorf("it takes %d clients", options.MaxConn)
	}
}
