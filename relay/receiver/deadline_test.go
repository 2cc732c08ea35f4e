package receiver

import (
	"context"
	"testing"
	"time"
)

func TestDeadlines(t *testing.T) {
	t.Parallel()
	closing, end := context.WithCancel(t.Context())
	defer end()
	base := time.Now()
	d := deadlines{closing: closing, base: base}
	hour := base.Add(time.Hour)

	first, _ := d.until(hour)
	later, _ := d.until(hour.Add(deadlineGrain - 1))
	if first != later {
		t.Error("two that come together do not share a context")
	}
	next, _ := d.until(hour.Add(deadlineGrain))
	slow, done := d.until(hour.Add(-time.Second))
	if next == first || slow == first || slow == next {
		t.Error("two that come far from each other share a context")
	}
	done()
	if slow.Err() == nil || first.Err() != nil || next.Err() != nil {
		t.Errorf("one that is done ends the context of others: %v, %v, %v", slow.Err(), first.Err(), next.Err())
	}
	for offset := range 3 * deadlineGrain / time.Millisecond {
		at := hour.Add(time.Minute + offset*time.Millisecond)
		ctx, _ := d.until(at)
		if deadline, ok := ctx.Deadline(); !ok || deadline.After(at) || at.Sub(deadline) >= deadlineGrain {
			t.Errorf("the deadline is %v, want %v or a little earlier", deadline, at)
		}
	}

	ending, _ := d.until(base.Add(2 * time.Hour))
	end()
	if next.Err() == nil || ending.Err() == nil {
		t.Error("a context outlives the receiver")
	}

	d = deadlines{closing: t.Context(), base: base}
	past, _ := d.until(base.Add(-time.Second))
	soon, _ := d.until(time.Now().Add(20 * time.Millisecond))
	if <-soon.Done(); past.Err() != context.DeadlineExceeded || soon.Err() != context.DeadlineExceeded {
		t.Errorf("after the deadlines: %v, %v", past.Err(), soon.Err())
	}
}
