package send

import (
	"container/heap"
	"fmt"
	"time"
)

// maxPending bounds the webhooks that are begun and not ended, which are those
// in flight and those waiting for their next attempt: a waiting one takes some
// 150 bytes, so all of them stay under 20 MB while a receiver is down. It is
// well above what MaxConcurrency lets fly.
const maxPending = 1 << 17

// maxTimeScale keeps scaled delays far from overflowing; the longest is then
// about a week.
const maxTimeScale = 1000

// RetrySchedule gives the delays after which APIXO tries again, 30 seconds, 2
// minutes and 10 minutes, each multiplied by scale. APIXO's own scale is 1; a
// smaller one shows the same behaviour sooner, and 0 at once. An error says
// that the scale is not from 0 to 1000.
func RetrySchedule(scale float64) ([]time.Duration, error) {
	if !(scale >= 0 && scale <= maxTimeScale) {
		return nil, fmt.Errorf("time scale %v is not between 0 and %d", scale, maxTimeScale)
	}
	delays := []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute}
	for i, d := range delays {
		delays[i] = time.Duration(scale * float64(d))
	}
	return delays, nil
}

// delivery is one webhook on its way. What it does not hold is made again from
// it for each attempt, because very many may be waiting.
type delivery struct {
	number   int    // of the webhook in this run, from 0
	attempts int    // made so far
	taskID   string // both empty until the first attempt
	made     time.Time
	began    time.Time // the first attempt
	due      time.Time // when it is to be tried again
}

// retryQueue holds the deliveries that wait for their next attempt, the one
// that is due first in front.
type retryQueue struct{ h deliveryHeap }

func (w *retryQueue) len() int        { return len(w.h) }
func (w *retryQueue) add(d delivery)  { heap.Push(&w.h, d) }
func (w *retryQueue) first() delivery { return w.h[0] }
func (w *retryQueue) removeFirst()    { heap.Pop(&w.h) }

// deliveryHeap implements heap.Interface.
type deliveryHeap []delivery

func (h deliveryHeap) Len() int      { return len(h) }
func (h deliveryHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *deliveryHeap) Push(x any)   { *h = append(*h, x.(delivery)) }

func (h deliveryHeap) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].number < h[j].number
	}
	return h[i].due.Before(h[j].due)
}

func (h *deliveryHeap) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = delivery{} // lets go of its strings
	*h = (*h)[:last]
	return d
}
