package send

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestRetrySchedule(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		scale float64
		want  []time.Duration
	}{
		{1, []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute}},
		{0.001, []time.Duration{30 * time.Millisecond, 120 * time.Millisecond, 600 * time.Millisecond}},
		{0, []time.Duration{0, 0, 0}},
		{1000, []time.Duration{30000 * time.Second, 2000 * time.Minute, 10000 * time.Minute}},
	} {
		got, err := RetrySchedule(test.scale)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("scale %v: %v, %v; want %v", test.scale, got, err, test.want)
		}
	}
	for _, scale := range []float64{-1, 1001, math.NaN(), math.Inf(1)} {
		if got, err := RetrySchedule(scale); err == nil {
			t.Errorf("scale %v gives %v", scale, got)
		}
	}
}

func TestWaitingList(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var w retryQueue
	for number, seconds := range []int{5, 1, 3, 1, 4} {
		w.add(delivery{number: number, due: now.Add(time.Duration(seconds) * time.Second)})
	}
	var order []int
	for w.len() > 0 {
		order = append(order, w.first().number)
		w.removeFirst()
	}
	if want := []int{1, 3, 2, 4, 0}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}
