package groupcommit

import "time"

// costs are what storing was last measured to take. They decide how messages
// travel.
//
// A message that is alone is sent at once. Each one more of those that are on
// their way singly takes the broker `single` longer. A batch takes it `batch`:
// much to begin with, and then little for each message.
//
// So messages are sent singly while those on their way would not be stored sooner
// as a batch. Once they would, what comes waits until those are through, and goes
// as one batch; the next gathers while that one is being stored.
//
// What is not chosen is believed to become a little cheaper each time, until it is
// tried again: so neither a first impression nor a bad moment lasts.
type costs struct {
	single, batch time.Duration // 0 until they are known
	gaps          time.Duration // between the last few messages that were stored singly
	gapCount      int
}

const (
	// gapsAtOnce is how many gaps are taken together: acknowledgements come in
	// bunches.
	gapsAtOnce = 64
	// memory is over how many measurements a cost is averaged.
	memory = 4
	// hiccup is how many times its average a measurement counts for at most: a disk
	// that is held up once tells little about the next time.
	hiccup = 2
	// By these shares the cost of the way that is not chosen shrinks with each
	// choice: so seldom that trying it again takes about a hundredth of the time.
	singleOblivion = 256
	batchOblivion  = 4096
)

// average takes a measurement into a cost.
func average(cost *time.Duration, measured time.Duration) {
	if *cost == 0 {
		*cost = measured
		return
	}
	*cost += (min(measured, hiccup**cost) - *cost) / memory
}

// sawGap takes how long the broker was at work on a message, with others on their way.
func (c *costs) sawGap(d time.Duration) {
	c.gaps += d
	if c.gapCount++; c.gapCount == gapsAtOnce {
		average(&c.single, c.gaps/gapsAtOnce)
		c.gaps, c.gapCount = 0, 0
	}
}

// sawBatch takes how long a batch took.
func (c *costs) sawBatch(d time.Duration) { average(&c.batch, d) }

// batchPays reports whether n messages are stored sooner as a batch than singly.
func (c *costs) batchPays(n int) bool { return n > 1 && time.Duration(n)*c.single > c.batch }

// chose notes which way was taken where there was a choice.
func (c *costs) chose(batch bool) {
	if batch {
		c.single -= c.single / singleOblivion
	} else {
		c.batch -= c.batch / batchOblivion
	}
}
