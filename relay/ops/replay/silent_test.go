package replay_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"

	"github.com/apixo-relay/apixo-relay/relay/event"
	"github.com/apixo-relay/apixo-relay/relay/ops/replay"
)

// swallowing is a way to the broker that swallows everything from some moment on.
type swallowing struct{ silent atomic.Bool }

func (s *swallowing) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return &swallowed{conn, s}, err
}

type swallowed struct {
	net.Conn
	by *swallowing
}

func (c *swallowed) Write(p []byte) (int, error) {
	if c.by.silent.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// A broker that says nothing any more is asked once, and not for each event that is
// in flight when the replay is ended.
func TestSilentBrokerIsNotWaitedForAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 1000)
	way := new(swallowing)
	conn, err := nats.Connect(s.server.ClientURL(), nats.SetCustomDialer(way), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	target, _, err := replay.NATS(t.Context(), conn, replay.NATSOptions{
		Subject: "elsewhere", Prefix: "apixo", Concurrency: 256, AckTimeout: time.Second, RetryTimeout: time.Hour,
		// On a slow machine the silence is noticed, and all the rest held back, before
		// the 500th is read.
		Backoff: func() backoff.BackOff { return backoffFunc(func() time.Duration { cancel(); return 0 }) },
	})
	if err != nil {
		t.Fatal(err)
	}
	o := all(1)
	o.Concurrency = 256
	o.OnProgress = func(p replay.Progress) {
		if p.Read == 300 {
			way.silent.Store(true)
		}
		if p.Read == 500 {
			cancel()
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := replay.Run(ctx, conn, target, o)
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, replay.ErrStopped) {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute): // for each of them it would be 200
		t.Fatal("it does not end")
	}
}

// A rate that no clock can keep event by event is kept in bursts of a hundredth.
func TestBurst(t *testing.T) {
	t.Parallel()
	for rate, want := range map[float64]int{0.1: 1, 1: 1, 50: 1, 199: 1, 500: 5, 20000: 200, 1e12: 1e6} {
		if got := replay.Burst(rate); got != want {
			t.Errorf("%g/s: %d, want %d", rate, got, want)
		}
	}
}

// Where no event would get through, the first one tells.
func TestReceiverThatCannotBeReachedAtAll(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.tasks(t, event.Structured, 1, 200)
	plain := consumer(t, nil)
	o := to(t, strings.Replace(plain.URL.String(), "http://", "https://", 1))
	summary, err := replay.Run(t.Context(), s.conn, replay.HTTP(o), all(1))
	if err == nil || !strings.Contains(err.Error(), "no TLS at that address") {
		t.Errorf("%v", err)
	}
	if summary.Failed != 0 || summary.Delivered != 0 || summary.Unfinished > 2*all(1).Concurrency || summary.ResumeSequence != 1 {
		t.Errorf("%+v", summary)
	}
}
