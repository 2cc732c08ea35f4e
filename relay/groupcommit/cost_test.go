package groupcommit

import (
	"testing"
	"time"
)

// measured are costs after a broker took so long for one message and for a batch.
func measured(single, batch time.Duration) *costs {
	c := &costs{}
	for range gapsAtOnce {
		c.sawGap(single)
	}
	c.sawBatch(batch)
	return c
}

func TestWhatPays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		single, batch time.Duration
		from          int // the smallest number that pays
	}{
		{"a disk that fsyncs fast", 200 * time.Microsecond, 3 * time.Millisecond, 16},
		{"a disk that fsyncs slowly", 5 * time.Millisecond, 12 * time.Millisecond, 3},
		{"no fsync", 15 * time.Microsecond, 3 * time.Millisecond, 201},
		{"a batch that is faster than a message", 5 * time.Millisecond, time.Millisecond, 2},
	} {
		costs := measured(c.single, c.batch)
		for n := range 1000 {
			if got := costs.batchPays(n); got != (n >= c.from) {
				t.Errorf("%s: %d messages: %v", c.name, n, got)
			}
		}
	}
}

// Until it is known what a batch costs it is worth a try, and until it is known
// what a message costs it is not.
func TestWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	c := &costs{}
	if c.batchPays(1000) {
		t.Error("a batch pays before anything is known")
	}
	for range gapsAtOnce {
		c.sawGap(time.Microsecond)
	}
	if c.batchPays(1) || !c.batchPays(2) {
		t.Error("a batch is not tried")
	}
}

// What is not chosen is tried again, seldom if it is much worse, and a bad moment
// of the disk does not decide for long.
func TestSecondChance(t *testing.T) {
	t.Parallel()
	choices := func(c *costs, n int) (count int) {
		for way := c.batchPays(n); c.batchPays(n) == way && count < 100_000; count++ {
			c.chose(way)
		}
		return count
	}
	if n := choices(measured(200*time.Microsecond, 3*time.Millisecond), 8); n < 500 || n > 10_000 {
		t.Errorf("a batch of 8 is tried again after %d messages", n)
	}
	if n := choices(measured(15*time.Microsecond, 3*time.Millisecond), 8); n < 5_000 || n > 50_000 {
		t.Errorf("where nothing is fsynced, a batch of 8 is tried again after %d messages", n)
	}
	if n := choices(measured(200*time.Microsecond, 3*time.Millisecond), 128); n < 100 || n > 2_000 {
		t.Errorf("128 messages are tried singly again after %d batches", n)
	}
	c := measured(200*time.Microsecond, 3*time.Millisecond)
	c.sawBatch(10 * time.Second)
	if !c.batchPays(32) {
		t.Errorf("after a hiccup of 10 s a batch is taken to cost %v", c.batch)
	}
}
