package groupcommit

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// sendAll sends what is to be sent now, in the test's own goroutine.
func (b *bench) sendAll() {
	for b.sendNext() {
	}
}

// Without a connection nothing is sent, and everybody knows at once that it was
// not. What was on its way when it got lost may be stored.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	sendings := b.SendInOrder(messages(0, 3))
	b.sendAll()
	later := b.SendInOrder(messages(3, 6)) // which wait for the batch
	b.Lost()
	var notSent *NotSentError
	for _, s := range sendings {
		if _, err := s.Wait(within(t, 10*time.Second)); !errors.Is(err, nats.ErrDisconnected) || errors.As(err, &notSent) {
			t.Errorf("on its way: %v", err)
		}
	}
	b.run(t)
	for _, s := range append(later, b.Send(message(7))) {
		if _, err := s.Wait(within(t, 10*time.Second)); !errors.Is(err, nats.ErrDisconnected) || !errors.As(err, &notSent) {
			t.Errorf("not on its way: %v", err)
		}
	}
	b.Attach(b.conn)
	for i, ack := range mustWait(t, b.SendInOrder(messages(0, 3))) {
		if ack.Sequence != uint64(i+1) || !ack.Duplicate {
			t.Errorf("%+v", ack)
		}
	}
}

// A broker that does not answer is given up on, and what waits behind is not sent
// past what may have failed.
func TestSilence(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	sendings := b.SendInOrder(messages(0, 3))
	b.sendAll()
	later := b.SendInOrder(messages(3, 6))
	b.giveUp(errNoAck, func(f *flight) bool { return time.Since(f.sent) > ackTimeout })
	select {
	case o := <-sendings[0].done:
		t.Errorf("it was given up on too early: %+v", o)
	default:
	}
	b.locked(func() {
		for _, f := range b.flights {
			f.sent = f.sent.Add(-ackTimeout)
		}
	})
	b.giveUp(errNoAck, func(f *flight) bool { return time.Since(f.sent) > ackTimeout })
	for _, s := range append(sendings, later...) {
		if _, err := s.Wait(within(t, 10*time.Second)); !errors.Is(err, errNoAck) {
			t.Errorf("%v", err)
		}
	}
}

// What nobody waits for any more is not sent.
func TestAbandoned(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	var kept []*Sending
	for i := range 9 {
		s := b.Send(message(i))
		if i%3 == 1 {
			kept = append(kept, s)
			continue
		}
		var notSent *NotSentError
		if _, err := s.Wait(over); !errors.As(err, &notSent) || !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	b.run(t)
	mustWait(t, kept)
	if n := b.count(t); n != 3 {
		t.Errorf("%d messages are stored", n)
	}
}

// After a message that could not be sent none is sent that waited behind it.
func TestConnectionThatTakesNothing(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	sendings := b.SendInOrder(messages(0, 3))
	b.sendNext() // which opens the inbox
	b.conn.Close()
	b.sendNext()
	b.locked(func() {
		if n := len(b.waiting); n > 0 || b.batchable != 0 || len(b.flights) > 0 {
			t.Errorf("%d wait, and %d are on their way", n, len(b.flights))
		}
	})
	for _, s := range sendings {
		var notSent *NotSentError
		if _, err := s.Wait(within(t, 10*time.Second)); !errors.As(err, &notSent) || !errors.Is(err, nats.ErrConnectionClosed) {
			t.Errorf("%v", err)
		}
	}
}
