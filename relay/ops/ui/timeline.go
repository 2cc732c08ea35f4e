package ui

import (
	"slices"
	"time"

	"github.com/apixo-relay/apixo-relay/schema"
)

// step is a point in the life of a task.
type step struct {
	Name, Note string
	At         time.Time
	Future     bool
}

// timeline is the life of a task, as far as it is told.
func timeline(t schema.Task, stored, now time.Time) (steps []step) {
	add := func(name string, at time.Time, note string) {
		if !at.IsZero() {
			steps = append(steps, step{Name: name, At: at, Note: note, Future: at.After(now)})
		}
	}
	add("created", t.CreateTime, "")
	note := ""
	if !t.CreateTime.IsZero() && t.CompleteTime.After(t.CreateTime) {
		note = elapsed(t.CompleteTime.Sub(t.CreateTime)) + " later"
	}
	add("completed", t.CompleteTime, note)
	note = ""
	if !t.CompleteTime.IsZero() && stored.After(t.CompleteTime) {
		note = elapsed(stored.Sub(t.CompleteTime)) + " later"
	}
	add("stored", stored, note)
	if t.State == schema.StateSuccess && !t.CompleteTime.IsZero() {
		expires := t.CompleteTime.Add(schema.AddressLife)
		note = elapsed(now.Sub(expires)) + " ago"
		if expires.After(now) {
			note = "in " + elapsed(expires.Sub(now))
		}
		add("addresses expire", expires, note)
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.At.Compare(b.At) })
	return steps
}
