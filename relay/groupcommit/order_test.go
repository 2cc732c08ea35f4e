package groupcommit

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Nothing is held back for good, however many repeats go by.
func TestFreshAmidAStormOfRepeats(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.run(t)
	mustWait(t, []*Sending{b.Send(message(0))})
	b.favour(true)
	ctx, cancel := context.WithCancel(t.Context())
	var storm sync.WaitGroup
	for range 20 {
		storm.Go(func() {
			for ctx.Err() == nil {
				if ack, err := b.Send(message(0)).Wait(within(t, 20*time.Second)); err != nil || !ack.Duplicate {
					t.Errorf("%+v, %v", ack, err)
					return
				}
			}
		})
	}
	for i := 1; i < 100; i += 3 {
		mustWait(t, b.SendInOrder(messages(i, i+3)))
	}
	cancel()
	storm.Wait()
}

// What waits goes as a batch after those that were waiting before it, and after no
// others.
func TestWhoGoesFirst(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	b.favour(true)
	b.SendInOrder(messages(0, 3))
	b.locked(func() {
		b.singles, b.ahead = 1, 1
		if f := b.board(); f != nil {
			t.Errorf("%d messages go before one that waited longer", len(f.members))
		}
		b.singles, b.ahead = 5, 0
		if f := b.board(); f == nil || len(f.members) != 3 {
			t.Error("they wait for repeats")
		}
	})
}

// What has left a queue is not held by it: messages may be large.
func TestQueuesLetGo(t *testing.T) {
	t.Parallel()
	c := New(func() bool { return true }, func(Stored) any { return nil })
	c.SendInOrder(messages(0, 3))
	queue := c.waiting
	c.board()
	c.costs = costs{single: time.Hour, batch: time.Microsecond}
	c.ahead = 0
	c.board()
	for i, s := range queue {
		if s != nil {
			t.Errorf("the queue holds message %d", i)
		}
	}
}
