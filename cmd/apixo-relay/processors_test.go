package main

import "testing"

func TestOneProcessorUnlessThereAreMany(t *testing.T) {
	t.Parallel()
	many, changes := false, 0
	p := &processors{set: func(now bool) { many = now; changes++ }}
	for i, step := range []struct {
		webhooks int64
		want     bool
		changes  int
	}{
		{0, false, 0}, {1, false, 0}, {32, false, 0}, {33, true, 1}, {256, true, 1}, {17, true, 1}, {16, false, 2}, {32, false, 2}, {0, false, 2},
	} {
		if p.tune(step.webhooks); many != step.want || changes != step.changes {
			t.Errorf("step %d, %d webhooks: many %t after %d changes, want %t after %d", i, step.webhooks, many, changes, step.want, step.changes)
		}
	}
}
